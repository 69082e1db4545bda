import Jobs
import Kernel
import Storage
import TestKit
import Testing

@Suite("attempts at a job")
struct AttemptTests {
    private struct Refused: Error {}

    private struct LeakyError: Error, CustomStringConvertible {
        var description: String { "the key is sk-secret" }
    }

    @Test(
        "a failing job is tried again after the back-off, then quarantined with its reason",
        arguments: TestDatabase.kinds
    )
    func retries(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "x")])
            let attempts = Log<(Int, Bool)>()
            let runner = try harness.runner {
                $0.handle(ReplyWork.self) { _, context in
                    attempts.append((context.attempt, context.isLastAttempt))
                    throw LeakyError()
                }
            }
            for wait in [10, 20] {
                #expect(try await runner.runOnce(.interactive) == 1)
                let job = try #require(try await harness.jobs().first)
                #expect(job.state == "ready")
                #expect(job.runAt == harness.now + .seconds(wait))
                #expect(job.lastError == "LeakyError")
                #expect(try await runner.runOnce(.interactive) == 0)
                harness.clock.advance(by: .seconds(wait))
            }
            #expect(try await runner.runOnce(.interactive) == 1)
            let job = try #require(try await harness.jobs().first)
            #expect(job.state == "quarantined")
            #expect(job.attempt == 3)
            #expect(job.lastError == "LeakyError")
            #expect(attempts.all.map(\.0) == [1, 2, 3])
            #expect(attempts.all.map(\.1) == [false, false, true])
            harness.clock.advance(by: .seconds(86_400))
            #expect(try await runner.sweep() == 0)
            #expect(try await runner.runOnce(.interactive) == 0)
        }
    }

    @Test("a permanent failure is quarantined at once", arguments: TestDatabase.kinds)
    func permanent(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "x")])
            let runner = try harness.runner {
                $0.handle(ReplyWork.self) { _, _ in throw JobFailure.permanent("the channel\u{0} is gone") }
            }
            #expect(try await runner.runOnce(.interactive) == 1)
            let job = try #require(try await harness.jobs().first)
            #expect(job.state == "quarantined")
            #expect(job.lastError == "the channel is gone")
        }
    }

    @Test("an unreadable payload is quarantined", arguments: TestDatabase.kinds)
    func unreadable(on kind: TestDatabase.Kind) async throws {
        struct OldReplyWork: Job {
            static let kind = ReplyWork.kind
            static let lane = Lane.interactive
            var payload: JSON { ["name": "of an older version"] }
            init() {}
            init(payload: JSON) {}
        }
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([OldReplyWork()])
            let runner = try harness.runner { $0.handle(ReplyWork.self) { _, _ in } }
            #expect(try await runner.runOnce(.interactive) == 1)
            let job = try #require(try await harness.jobs().first)
            #expect(job.state == "quarantined")
            #expect(job.lastError == "unreadable payload (no label)")
        }
    }

    @Test("a provider's Retry-After is honoured within bounds", arguments: TestDatabase.kinds)
    func retryAfter(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "120"), ReplyWork(label: "172800"), ReplyWork(label: "1")])
            let runner = try harness.runner {
                $0.handle(ReplyWork.self) { job, _ in
                    throw JobFailure.retry(after: .seconds(Int(job.label) ?? 0), reason: "busy")
                }
            }
            #expect(try await runner.runOnce(.interactive) == 3)
            let waits = try await harness.jobs().map { $0.runAt - harness.now }
            #expect(waits == [.seconds(120), .seconds(172_800), .seconds(10)])
        }
    }

    @Test("finishing in the handler's transaction is one with its effect", arguments: TestDatabase.kinds)
    func finishInTransaction(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "x")])
            let runner = try harness.runner {
                $0.handle(ReplyWork.self) { _, context in
                    let now = harness.now
                    try await harness.database.write(context.scope) { tx in
                        try tx.enqueue(FragileWork(label: "effect"), in: context.scope, now: now)
                        try context.finish(in: tx)
                        if context.attempt == 1 { throw Refused() }
                    }
                }
            }
            #expect(try await runner.runOnce(.interactive) == 1)
            #expect(try await harness.jobs().map(\.kind) == [ReplyWork.kind])
            harness.clock.advance(by: .seconds(10))
            #expect(try await runner.runOnce(.interactive) == 1)
            #expect(try await harness.jobs().map(\.kind) == [FragileWork.kind])
        }
    }

    @Test("retrying in the handler's transaction counts as an attempt", arguments: TestDatabase.kinds)
    func retryInTransaction(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "x")])
            let runner = try harness.runner {
                $0.handle(ReplyWork.self) { _, context in
                    let now = harness.now
                    try await harness.database.write(context.scope) { tx in
                        try context.retry(in: tx, after: .seconds(50), reason: "not yet", now: now)
                    }
                }
            }
            for attempt in 1...3 {
                #expect(try await runner.runOnce(.interactive) == 1)
                let job = try #require(try await harness.jobs().first)
                #expect(job.attempt == attempt)
                #expect(job.state == (attempt < 3 ? "ready" : "quarantined"))
                #expect(job.lastError == "not yet")
                harness.clock.advance(by: .seconds(50))
            }
        }
    }

    @Test("jobs that fail together come back one by one", arguments: TestDatabase.kinds)
    func spread(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let jitter = RisingJitter()
            let (scopes, now) = ((0..<4).map { _ in OrganizationScope.job(of: ID()) }, harness.now)
            for scope in scopes { try await harness.enqueue([ReplyWork(label: "x")], in: scope) }
            let runner = try harness.runner(jitter: jitter.next) {
                $0.handle(ReplyWork.self) { _, context in
                    guard scopes.prefix(2).contains(where: { $0.id == context.scope.id }) else {
                        throw JobFailure.retry(after: .zero, reason: "busy")
                    }
                    try await harness.database.write(context.scope) { tx in
                        try context.retry(in: tx, after: .zero, reason: "busy", now: now)
                    }
                }
            }
            #expect(try await runner.runOnce(.interactive) == 4)
            let waits = try await harness.jobs().map { ($0.runAt - now).wholeMilliseconds }
            // 10 s, moved by up to 20 %.
            #expect(waits.sorted() == [8_000, 8_200, 8_400, 8_600])
        }
    }

    @Test("what a dead worker leaves behind comes back one by one", arguments: TestDatabase.kinds)
    func spreadSweep(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let (started, never) = (Gate(), Gate())
            let begun = Log<String>()
            try await harness.enqueue((0..<3).map { ReplyWork(label: "\($0)") })
            let dead = try harness.runner {
                $0.handle(ReplyWork.self) { job, _ in
                    begun.append(job.label)
                    if begun.all.count >= 3 { started.open() }
                    try await never.pass()
                }
            }
            let running = Task { try await dead.runOnce(.interactive) }
            try await started.pass()
            harness.clock.advance(by: .seconds(31))
            let jitter = RisingJitter()
            let runner = try harness.runner(jitter: jitter.next) { $0.handle(ReplyWork.self) { _, _ in } }
            #expect(try await runner.sweep() == 3)
            let waits = try await harness.jobs().map { ($0.runAt - harness.now).wholeMilliseconds }
            #expect(waits.sorted() == [8_000, 8_200, 8_400])
            running.cancel()
            _ = await running.result
        }
    }

    @Test(
        "after a lost lease the job runs elsewhere and the late worker can finish nothing",
        arguments: TestDatabase.kinds
    )
    func lostLease(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "x")])
            let (started, mayGoOn) = (Gate(), Gate())
            let outcomes = Log<String>()
            @Sendable func effect(_ context: JobContext, _ worker: String) async throws {
                let now = harness.now
                do {
                    try await harness.database.write(context.scope) { tx in
                        try tx.enqueue(FragileWork(label: worker), in: context.scope, now: now)
                        try context.finish(in: tx)
                    }
                    outcomes.append("\(worker) finished")
                } catch JobError.leaseLost(let id) {
                    outcomes.append("\(worker) lost")
                    throw JobError.leaseLost(id)
                }
            }
            let late = try harness.runner {
                $0.handle(ReplyWork.self) { _, context in
                    started.open()
                    try await mayGoOn.pass()
                    try await effect(context, "late")
                }
            }
            let other = try harness.runner {
                $0.handle(ReplyWork.self) { _, context in try await effect(context, "other") }
            }

            async let lateRun = late.runOnce(.interactive)
            try await started.pass()
            #expect(try await other.sweep() == 0)
            harness.clock.advance(by: .seconds(30))
            #expect(try await other.sweep() == 1)
            let swept = try #require(try await harness.jobs().first)
            #expect(swept.state == "ready")
            #expect(swept.lastError == "worker lost")
            #expect(swept.runAt == harness.now + .seconds(10))
            harness.clock.advance(by: .seconds(10))
            #expect(try await other.runOnce(.interactive) == 1)
            mayGoOn.open()
            #expect(try await lateRun == 1)
            #expect(outcomes.all == ["other finished", "late lost"])
            #expect(try await harness.jobs().map(\.kind) == [FragileWork.kind])
        }
    }

    @Test("a late worker that only returns changes nothing", arguments: TestDatabase.kinds)
    func lateReturn(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "x")])
            let (started, mayGoOn) = (Gate(), Gate())
            let late = try harness.runner {
                $0.handle(ReplyWork.self) { _, _ in
                    started.open()
                    try await mayGoOn.pass()
                }
            }
            async let lateRun = late.runOnce(.interactive)
            try await started.pass()
            harness.clock.advance(by: .seconds(31))
            #expect(try await late.sweep() == 1)
            mayGoOn.open()
            _ = try await lateRun
            #expect(try await harness.jobs().map(\.state) == ["ready"])
        }
    }

    @Test("a sign of life extends the lease, but not past the deadline", arguments: TestDatabase.kinds)
    func heartbeat(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "x")])
            let (started, mayGoOn) = (Gate(), Gate())
            let runner = try harness.runner {
                $0.handle(ReplyWork.self) { _, _ in
                    started.open()
                    try await mayGoOn.pass()
                }
                $0.handle(FragileWork.self) { _, _ in }
            }
            let begin = harness.now
            async let run = runner.runOnce(.interactive)
            try await started.pass()
            var job = try #require(try await harness.jobs().first)
            #expect(job.leaseEnd == begin + .seconds(30))
            #expect(job.deadline == begin + .seconds(60))
            for _ in 0..<2 {
                harness.clock.advance(by: .seconds(25))
                try await runner.heartbeat()
                job = try #require(try await harness.jobs().first)
                #expect(job.leaseEnd == harness.now + .seconds(30))
                #expect(try await runner.sweep() == 0)
            }
            // 50 s have passed; at 75 the deadline is over and the lease runs out at 80.
            harness.clock.advance(by: .seconds(25))
            try await runner.heartbeat()
            harness.clock.advance(by: .seconds(5))
            #expect(try await runner.sweep() == 1)
            #expect(try await harness.jobs().first?.lastError == "timed out")
            mayGoOn.open()
            _ = try await run
            #expect(try await harness.jobs().map(\.state) == ["ready"])
        }
    }

    @Test("an attempt past its deadline is cancelled and counts as failed", arguments: TestDatabase.kinds)
    func deadline(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "x")])
            let (started, never) = (Gate(), Gate())
            let runner = try harness.runner {
                $0.handle(ReplyWork.self) { _, _ in
                    started.open()
                    try await never.pass()
                }
            }
            async let run = runner.runOnce(.interactive)
            try await started.pass()
            harness.clock.advance(by: .milliseconds(59_999))
            runner.cancelOverdue()
            #expect(try await harness.jobs().first?.state == "running")
            harness.clock.advance(by: .milliseconds(1))
            runner.cancelOverdue()
            #expect(try await run == 1)
            let job = try #require(try await harness.jobs().first)
            #expect(job.state == "ready")
            #expect(job.attempt == 1)
            #expect(job.lastError == "timed out")
        }
    }

    @Test("a worker whose claim is gone is told to stop", arguments: TestDatabase.kinds)
    func tokenGone(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "x")])
            let (started, never) = (Gate(), Gate())
            let cancelled = Log<Bool>()
            let runner = try harness.runner {
                $0.handle(ReplyWork.self) { _, _ in
                    started.open()
                    do { try await never.pass() } catch {
                        cancelled.append(true)
                        throw error
                    }
                }
            }
            async let run = runner.runOnce(.interactive)
            try await started.pass()
            harness.clock.advance(by: .seconds(31))
            #expect(try await runner.sweep() == 1)
            try await runner.heartbeat()
            _ = try await run
            #expect(cancelled.all == [true])
            let job = try #require(try await harness.jobs().first)
            #expect(job.state == "ready")
            #expect(job.lastError == "worker lost")
        }
    }

    @Test("what a handler does after it has finished its job is not cancelled", arguments: TestDatabase.kinds)
    func afterFinish(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "x")])
            let (finished, mayGoOn) = (Gate(), Gate())
            let ends = Log<Bool>()
            let runner = try harness.runner {
                $0.handle(ReplyWork.self) { _, context in
                    try await harness.database.write(context.scope) { tx in try context.finish(in: tx) }
                    finished.open()
                    try await mayGoOn.pass()
                    ends.append(!Task.isCancelled)
                }
            }
            async let run = runner.runOnce(.interactive)
            try await finished.pass()
            try await runner.heartbeat()
            mayGoOn.open()
            #expect(try await run == 1)
            #expect(ends.all == [true])
            #expect(try await harness.jobs().isEmpty)
        }
    }

    @Test("a shutdown hands running jobs back without counting the attempt", arguments: TestDatabase.kinds)
    func handBack(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "x")])
            let (started, never) = (Gate(), Gate())
            let runner = try harness.runner(grace: .zero) {
                $0.handle(ReplyWork.self) { _, _ in
                    started.open()
                    try await never.pass()
                }
            }
            async let run: Void = runner.run()
            try await started.pass()
            runner.stop()
            try await run
            let job = try #require(try await harness.jobs().first)
            #expect(job.state == "ready")
            #expect(job.attempt == 0)
            #expect(job.runAt == harness.now)
        }
    }

    @Test("a cancelled service hands back all that ran", arguments: TestDatabase.kinds)
    func handBackMany(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            // More than the outcomes of one transaction.
            let count = 300
            try await harness.enqueue((0..<count).map { ReplyWork(label: "\($0)") })
            let (started, never) = (Gate(), Gate())
            let begun = Log<String>()
            // One organization holds half of the slots.
            let runner = try harness.runner(2 * count) {
                $0.handle(ReplyWork.self) { job, _ in
                    begun.append(job.label)
                    if begun.all.count >= count { started.open() }
                    try await never.pass()
                }
            }
            let run = Task { try await runner.run() }
            try await started.pass()
            run.cancel()
            _ = await run.result
            let jobs = try await harness.jobs()
            #expect(jobs.count == count)
            #expect(jobs.allSatisfy { $0.state == "ready" && $0.attempt == 0 })
        }
    }

    @Test(
        "counting that takes long delays no deadline and no sign of life",
        .timeLimit(.minutes(5)),
        arguments: TestDatabase.kinds
    )
    func slowCount(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([FragileWork(label: "x")])
            let (started, never, counted) = (Gate(), Gate(), Gate())
            // Reads of the queue take as long as the gate is closed.
            let slow = InterceptedDatabase(harness.database) { scope in
                if case .system(.queue) = scope { try await counted.pass() }
            }
            let runner = try harness.runner(on: slow) {
                $0.handle(FragileWork.self) { _, _ in
                    started.open()
                    try await never.pass()
                }
                $0.handle(BriefWork.self) { _, _ in }
            }
            let run = Task { try await runner.run() }
            try await started.pass()
            harness.clock.advance(by: .seconds(60))
            let extended = harness.now + FragileWork.policy.lease
            try await eventually("the lease is extended") {
                try await harness.jobs().first?.leaseEnd == extended ? () : nil
            }
            harness.clock.advance(by: .seconds(540))
            try await eventually("the job is given up") {
                try await harness.jobs().first?.state == "quarantined" ? () : nil
            }
            #expect(try await harness.jobs().first?.lastError == "timed out")
            run.cancel()
            _ = await run.result
        }
    }

    @Test("a shutdown lets running jobs end, and claims no more", arguments: TestDatabase.kinds)
    func graceful(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue([ReplyWork(label: "1"), ReplyWork(label: "2")])
            let (started, mayGoOn) = (Gate(), Gate())
            let runner = try harness.runner(1) {
                $0.handle(ReplyWork.self) { _, _ in
                    started.open()
                    try await mayGoOn.pass()
                }
            }
            async let run: Void = runner.run()
            try await started.pass()
            runner.stop()
            mayGoOn.open()
            try await run
            let jobs = try await harness.jobs()
            #expect(jobs.map(\.state) == ["ready"])
            #expect(jobs.first?.attempt == 0)
        }
    }

    @Test("a running service is woken by the signal of an enqueued job", arguments: TestDatabase.kinds)
    func service(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let done = Gate()
            let runner = try harness.runner { $0.handle(ReplyWork.self) { _, _ in done.open() } }
            async let run: Void = runner.run()
            try await harness.enqueue([ReplyWork(label: "x")])
            try await done.pass()
            runner.stop()
            try await run
            #expect(try await harness.jobs().isEmpty)
        }
    }
}
