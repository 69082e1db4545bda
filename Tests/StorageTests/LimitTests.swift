import Kernel
import Storage
import TestKit
import Testing

@Suite("Limits")
struct LimitTests {
    @Test("a call that waits is given up when its task is cancelled", arguments: TestDatabase.kinds)
    func cancellation(on kind: TestDatabase.Kind) async throws {
        var limits = TestDatabase.Limits()
        limits.connections = 1
        try await Conformance.with(kind, limits: limits) { database in
            let (hasBegun, mayEnd) = (Gate(), Gate())
            async let first: Void = database.write(Conformance.scope) { tx in
                try tx.run(insertParent("first"))
                hasBegun.open()
                try mayEnd.passInBody()
            }
            try await hasBegun.pass()
            let second = Task {
                try await database.write(Conformance.scope) { tx in try tx.run(insertParent("second")) }
            }
            try await database.hasWaiting(1)
            second.cancel()
            await #expect(throws: CancellationError.self) { try await second.value }
            mayEnd.open()
            try await first
            #expect(try await database.parents() == ["first"])
        }
    }

    @Test("a call of a cancelled task does nothing", arguments: TestDatabase.kinds)
    func cancelledBefore(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let isCancelled = Gate()
            let task = Task {
                // It may not pass on what it was told; the database has to see it.
                try? await isCancelled.pass()
                try await database.write(Conformance.scope) { tx in try tx.run(insertParent("never")) }
            }
            task.cancel()
            isCancelled.open()
            await #expect(throws: CancellationError.self) { try await task.value }
            let parents = try await database.parents()
            #expect(parents == [])
        }
    }

    @Test("waiting for a connection has an end", arguments: TestDatabase.kinds)
    func patience(on kind: TestDatabase.Kind) async throws {
        var limits = TestDatabase.Limits()
        limits.connections = 1
        limits.patience = .seconds(10)
        try await Conformance.with(kind, limits: limits) { database in
            let (hasBegun, mayEnd) = (Gate(), Gate())
            async let first: Void = database.write(Conformance.scope) { tx in
                try tx.run(insertParent("first"))
                hasBegun.open()
                try mayEnd.passInBody()
            }
            try await hasBegun.pass()
            let error = await storageError {
                try await database.write(Conformance.scope) { tx in try tx.run(insertParent("second")) }
            }
            if case .unavailable? = error {} else { Issue.record("\(String(describing: error))") }
            mayEnd.open()
            try await first
            #expect(try await database.parents() == ["first"])
        }
    }

    @Test("a body that takes too long is interrupted", arguments: TestDatabase.kinds)
    func deadline(on kind: TestDatabase.Kind) async throws {
        var limits = TestDatabase.Limits()
        limits.body = .seconds(1)
        try await Conformance.with(kind, limits: limits) { database in
            func expectTimedOut(_ body: () async throws -> Void) async {
                let error = await storageError(body)
                if case .timedOut? = error {} else { Issue.record("\(String(describing: error))") }
            }
            await expectTimedOut {
                _ = try await database.read(Conformance.scope) { tx in try tx.value(endlessStatement, as: Int64.self) }
            }
            await expectTimedOut {
                _ = try await database.write(Conformance.scope) { tx in
                    try tx.run(insertParent("a"))
                    return try tx.value(endlessStatement, as: Int64.self)
                }
            }
            // Time that goes by between statements counts too.
            await expectTimedOut {
                try await database.write(Conformance.scope) { tx in
                    try tx.run(insertParent("b"))
                    let start = ContinuousClock.now
                    while start.duration(to: .now) < .milliseconds(1_100) {}
                    try tx.run(insertParent("c"))
                }
            }
            // These have a second each too, and may need another.
            let before = try await patiently(for: .seconds(60)) { try await database.parents() }
            #expect(before == [])
            try await patiently(for: .seconds(60)) {
                try await database.write(Conformance.scope) { tx in try tx.run(insertParent("d")) }
            }
            let after = try await patiently(for: .seconds(60)) { try await database.parents() }
            #expect(after == ["d"])
        }
    }

    @Test("a closed database says so", arguments: TestDatabase.kinds)
    func closed(on kind: TestDatabase.Kind) async throws {
        var limits = TestDatabase.Limits()
        limits.connections = 1
        try await Conformance.with(kind, limits: limits) { database in
            let (hasBegun, mayEnd) = (Gate(), Gate())
            async let running: Void = database.write(Conformance.scope) { tx in
                try tx.run(insertParent("a"))
                hasBegun.open()
                try mayEnd.passInBody()
            }
            try await hasBegun.pass()
            let waiting = Task { try await database.write(Conformance.scope) { tx in try tx.run(insertParent("b")) } }
            try await database.hasWaiting(1)
            async let closing: Void = database.close()
            func expectClosed(_ body: () async throws -> Void) async {
                let error = await storageError(body)
                if case .closed? = error {} else { Issue.record("\(String(describing: error))") }
            }
            // What has begun is done, what waits is not.
            await expectClosed { try await waiting.value }
            mayEnd.open()
            try await running
            await closing
            await expectClosed { _ = try await database.parents() }
            await expectClosed { try await database.write(Conformance.scope) { _ in } }
            await expectClosed { try await database.migrate { _ in } }
            await database.close()
        }
    }

    @Test("a transaction ends with its body", arguments: TestDatabase.kinds)
    func escaped(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let escaped = Escaped()
            try await database.write(Conformance.scope) { tx in escaped.transaction = tx }
            #expect(throws: (any Error).self) { try escaped.transaction?.execute(insertParent("late")) }
            #expect(try await database.parents() == [])
        }
    }
}

/// `@unchecked Sendable`: written in a body whose end the test awaits before it reads.
private final class Escaped: @unchecked Sendable {
    var transaction: (any Transaction)?
}
