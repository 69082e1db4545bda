import Jobs
import Kernel
import Storage
import TestKit
import Testing

@Suite("the follow-up of a job that is given up")
struct FollowUpTests {
    private func register(
        _ registry: inout JobRegistry,
        _ notes: Log<String>,
        _ body: @escaping @Sendable (FragileWork, JobContext) async throws -> Void
    ) {
        registry.handle(
            FragileWork.self,
            abandoned: { work, reason, context in
                notes.append("\(work.label): \(reason) in \(context.scope.id)")
            },
            body
        )
    }

    @Test("runs once, in the organization, with the job and the reason", arguments: TestDatabase.kinds)
    func afterFailure(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let notes = Log<String>()
            try await harness.enqueue([FragileWork(label: "x \"quoted\"")])
            let runner = try harness.runner { register(&$0, notes) { _, _ in throw JobFailure.permanent("no way") } }
            #expect(try await runner.runOnce(.interactive) == 1)
            #expect(notes.all.isEmpty)
            #expect(try await runner.runOnce(.interactive) == 1)
            #expect(notes.all == ["x \"quoted\": no way in \(harness.organization.id)"])
            #expect(try await runner.runOnce(.interactive) == 0)
            #expect(try await harness.jobs().map(\.state) == ["quarantined"])
        }
    }

    @Test("runs as well when the worker died in its last attempt", arguments: TestDatabase.kinds)
    func afterDeath(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let notes = Log<String>()
            try await harness.enqueue([FragileWork(label: "x")])
            // Another node's claim, of which nothing more is heard.
            let dead = try harness.runner {
                register(&$0, notes) { _, _ in try await Task.sleep(for: .seconds(36_000)) }
            }
            let running = Task { try await dead.runOnce(.interactive) }
            while try await harness.jobs().first?.state != "running" { await Task.yield() }
            harness.clock.advance(by: .seconds(91))
            let runner = try harness.runner { register(&$0, notes) { _, _ in } }
            #expect(try await runner.sweep() == 1)
            #expect(try await runner.runOnce(.interactive) == 1)
            #expect(notes.all == ["x: worker lost in \(harness.organization.id)"])
            running.cancel()
            _ = await running.result
        }
    }

    @Test("is left to nodes that know the kind, for an hour", arguments: TestDatabase.kinds, [true, false])
    func unknownKind(on kind: TestDatabase.Kind, isKnownSomewhere: Bool) async throws {
        try await withHarness(on: kind) { harness in
            let (notes, begun) = (Log<String>(), Log<String>())
            let (started, never) = (Gate(), Gate())
            @Sendable func hang(_ label: String) async throws {
                begun.append(label)
                if begun.all.count == 2 { started.open() }
                try await never.pass()
            }
            try await harness.enqueue([FragileWork(label: "last")])
            try await harness.enqueue([ReplyWork(label: "first of three")])
            let dead = try harness.runner {
                register(&$0, notes) { work, _ in try await hang(work.label) }
                $0.handle(ReplyWork.self) { work, _ in try await hang(work.label) }
            }
            let running = Task { try await dead.runOnce(.interactive) }
            try await started.pass()
            let old = try harness.runner { $0.handle(BriefWork.self) { _, _ in } }
            harness.clock.advance(by: FragileWork.policy.lease)
            #expect(try await old.sweep() == 1)
            #expect(try await harness.jobs().map(\.state) == ["running", "ready"])
            harness.clock.advance(by: .milliseconds(3_599_999))
            #expect(try await old.sweep() == 0)
            if isKnownSomewhere {
                let new = try harness.runner { register(&$0, notes) { _, _ in } }
                #expect(try await new.sweep() == 1)
                #expect(try await new.runOnce(.interactive) == 1)
                #expect(notes.all == ["last: timed out in \(harness.organization.id)"])
            } else {
                harness.clock.advance(by: .milliseconds(1))
                #expect(try await old.sweep() == 1)
                #expect(notes.all.isEmpty)
            }
            #expect(try await harness.jobs().map(\.state) == ["quarantined", "ready"])
            running.cancel()
            _ = await running.result
        }
    }

    @Test("runs as well when the handler ended its last attempt itself", arguments: TestDatabase.kinds)
    func afterLastRetry(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let notes = Log<String>()
            try await harness.enqueue([FragileWork(label: "x")])
            let runner = try harness.runner {
                register(&$0, notes) { _, context in
                    try await harness.database.write(context.scope) { tx in
                        try context.retry(in: tx, after: .zero, reason: "enough", now: harness.now)
                    }
                }
            }
            #expect(try await runner.runOnce(.interactive) == 1)
            #expect(try await runner.runOnce(.interactive) == 1)
            #expect(notes.all == ["x: enough in \(harness.organization.id)"])
        }
    }
}
