import Jobs
import Kernel
import Storage
import TestKit
import Testing

@Suite("the queue")
struct QueueTests {
    private struct Refused: Error {}

    @Test("organizations take turns", arguments: TestDatabase.kinds)
    func fairness(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let scopes = (0..<5).map { _ in OrganizationScope.job(of: ID()) }
            for (index, scope) in scopes.enumerated() {
                try await harness.enqueue(
                    (0..<(index == 0 ? 40 : 2)).map { ReplyWork(label: "\($0)") },
                    in: scope
                )
            }
            let served = Log<ID<OrganizationEntity>>()
            let one = try harness.runner(1) {
                $0.handle(ReplyWork.self) { _, context in served.append(context.scope.id) }
            }
            for _ in 0..<10 { #expect(try await one.runOnce(.interactive) == 1) }
            // Two whole rounds, each of all five.
            #expect(Set(served.all.prefix(5)).count == 5)
            #expect(served.all.prefix(5) == served.all.suffix(5))
            // What is left is of the one with many, which may use half of the slots.
            let many = try harness.runner(16) {
                $0.handle(ReplyWork.self) { _, context in served.append(context.scope.id) }
            }
            #expect(try await many.runOnce(.interactive) == 8)
            #expect(Set(served.all.suffix(8)) == [scopes[0].id])
        }
    }

    @Test("several organizations share the slots of one claim", arguments: TestDatabase.kinds)
    func shares(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let scopes = (0..<3).map { _ in OrganizationScope.job(of: ID()) }
            for scope in scopes { try await harness.enqueue((0..<20).map { ReplyWork(label: "\($0)") }, in: scope) }
            let served = Log<ID<OrganizationEntity>>()
            let runner = try harness.runner(8) {
                $0.handle(ReplyWork.self) { _, context in served.append(context.scope.id) }
            }
            #expect(try await runner.runOnce(.interactive) == 6)
            let counts = scopes.map { scope in served.all.count { $0 == scope.id } }
            #expect(counts == [2, 2, 2])
        }
    }

    @Test("jobs run in the order in which they are due", arguments: TestDatabase.kinds)
    func order(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            for label in ["a", "b", "c", "d"] {
                try await harness.enqueue([ReplyWork(label: label)])
                harness.clock.advance(by: .milliseconds(5))
            }
            let log = Log<String>()
            let runner = try harness.runner(1) { $0.handle(ReplyWork.self) { job, _ in log.append(job.label) } }
            while try await runner.runOnce(.interactive) > 0 {}
            #expect(log.all == ["a", "b", "c", "d"])
        }
    }

    @Test("a unique key admits one ready or running job of a kind", arguments: TestDatabase.kinds)
    func uniqueKey(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let other = OrganizationScope.job(of: ID())
            try await harness.enqueue([ReplyWork(label: "1"), ReplyWork(label: "2")], uniqueKey: "x")
            try await harness.enqueue([ReplyWork(label: "3")], uniqueKey: "x")
            try await harness.enqueue([ReplyWork(label: "4")], uniqueKey: "y")
            try await harness.enqueue([FragileWork(label: "5")], uniqueKey: "x")
            try await harness.enqueue([ReplyWork(label: "6")], in: other, uniqueKey: "x")
            #expect(try await harness.jobs().count == 4)
            let log = Log<String>()
            let runner = try harness.runner {
                $0.handle(ReplyWork.self) { job, _ in
                    // Still counts while it runs.
                    try await harness.enqueue([ReplyWork(label: "7")], uniqueKey: "x")
                    log.append(job.label)
                }
                $0.handle(FragileWork.self) { job, _ in log.append(job.label) }
            }
            #expect(try await runner.runOnce(.interactive) == 4)
            #expect(log.all.sorted() == ["1", "4", "5", "6"])
            #expect(try await harness.jobs().isEmpty)
            try await harness.enqueue([ReplyWork(label: "8")], uniqueKey: "x")
            #expect(try await harness.jobs().count == 1)
        }
    }

    @Test("the same id asks once", arguments: TestDatabase.kinds)
    func sameID(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let (id, scope, now) = (ID<JobEntity>(), harness.organization, harness.now)
            for _ in 0..<2 {
                try await harness.database.write(scope) { tx in
                    try tx.enqueue(ReplyWork(label: "once"), in: scope, id: id, now: now)
                }
            }
            #expect(try await harness.jobs().map(\.id) == [id])
        }
    }

    @Test("a delayed job waits for its time", arguments: TestDatabase.kinds)
    func delayed(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "later")], runAt: harness.now + .seconds(60))
            let runner = try harness.runner { $0.handle(ReplyWork.self) { _, _ in } }
            harness.clock.advance(by: .milliseconds(59_999))
            #expect(try await runner.runOnce(.interactive) == 0)
            harness.clock.advance(by: .milliseconds(1))
            #expect(try await runner.runOnce(.interactive) == 1)
        }
    }

    @Test("a transaction that fails enqueues nothing", arguments: TestDatabase.kinds)
    func rollback(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let (scope, now) = (harness.organization, harness.now)
            await #expect(throws: Refused.self) {
                try await harness.database.write(scope) { tx -> Void in
                    try tx.enqueue(ReplyWork(label: "never"), in: scope, now: now)
                    throw Refused()
                }
            }
            let jobs = try await harness.jobs()
            #expect(jobs.isEmpty)
        }
    }

    @Test("a transaction enqueues for its own organization only", arguments: TestDatabase.kinds)
    func foreignScope(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let (scope, other, now) = (harness.organization, OrganizationScope.job(of: ID()), harness.now)
            await #expect(throws: JobError.foreignScope) {
                try await harness.database.write(scope) { tx in
                    try tx.enqueue(ReplyWork(label: "x"), in: other, now: now)
                }
            }
            await #expect(throws: JobError.foreignScope) {
                try await harness.database.write(scope) { tx in try tx.enqueue(PurgeWork(), now: now) }
            }
            await #expect(throws: JobError.foreignScope) {
                try await harness.database.write(for: .maintenance) { tx in
                    try tx.enqueue(ReplyWork(label: "x"), in: scope, now: now)
                }
            }
        }
    }

    @Test("platform jobs run without an organization", arguments: TestDatabase.kinds)
    func platformJob(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let (log, now) = (Log<Int>(), harness.now)
            try await harness.database.write(for: .queue) { tx in try tx.enqueue(PurgeWork(), now: now) }
            let runner = try harness.runner {
                $0.handle(PurgeWork.self) { _, context in
                    try await harness.database.write(for: .queue) { tx in try context.finish(in: tx) }
                    log.append(context.attempt)
                }
            }
            #expect(try await runner.runOnce(.maintenance) == 1)
            #expect(log.all == [1])
            #expect(try await harness.jobs().isEmpty)
        }
    }

    @Test("a kind without a handler is left to other nodes and blocks nobody", arguments: TestDatabase.kinds)
    func unknownKind(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            for _ in 0..<3 {
                try await harness.enqueue([FragileWork(label: "new")], in: .job(of: ID()))
            }
            try await harness.enqueue([FragileWork(label: "new")])
            try await harness.enqueue([ReplyWork(label: "old")])
            let log = Log<String>()
            let runner = try harness.runner(1) { $0.handle(ReplyWork.self) { job, _ in log.append(job.label) } }
            #expect(try await runner.runOnce(.interactive) == 1)
            #expect(log.all == ["old"])
            #expect(try await harness.jobs().allSatisfy { $0.state == "ready" && $0.attempt == 0 })
        }
    }

    @Test("two handlers for a kind are refused", arguments: TestDatabase.kinds)
    func duplicateKind(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            #expect(throws: JobError.duplicateKinds([ReplyWork.kind])) {
                _ = try harness.runner {
                    $0.handle(ReplyWork.self) { _, _ in }
                    $0.handle(ReplyWork.self) { _, _ in }
                }
            }
        }
    }

    @Test("lanes are counted", arguments: TestDatabase.kinds)
    func statistics(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "1"), ReplyWork(label: "2")])
            try await harness.enqueue([ReplyWork(label: "3")], runAt: harness.now + .seconds(600))
            try await harness.enqueue([FragileWork(label: "4")])
            let runner = try harness.runner {
                $0.handle(FragileWork.self) { _, _ in throw JobFailure.permanent("no") }
            }
            #expect(try await runner.runOnce(.interactive) == 1)
            harness.clock.advance(by: .seconds(7))
            let statistics = try await runner.statistics()
            #expect(statistics[.interactive]?.ready == 2)
            #expect(statistics[.interactive]?.running == 0)
            #expect(statistics[.interactive]?.quarantined == 1)
            #expect(statistics[.interactive]?.oldest == .seconds(7))
            #expect(statistics[.bulk]?.ready == 0)
            #expect(statistics[.bulk]?.oldest == nil)
        }
    }
}
