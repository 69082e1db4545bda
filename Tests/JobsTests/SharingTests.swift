import Kernel
import Storage
import TestKit
import Testing

@testable import Jobs

@Suite("several workers")
struct SharingTests {
    @Test("two runners share 500 jobs and each runs once", arguments: TestDatabase.kinds)
    func twoRunners(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            for index in 0..<10 {
                try await harness.enqueue(
                    (0..<50).map { ReplyWork(label: "\(index)-\($0)") },
                    in: .job(of: ID())
                )
            }
            let ran = Log<String>()
            let runners = try (0..<2).map { _ in
                try harness.runner { $0.handle(ReplyWork.self) { job, _ in ran.append(job.label) } }
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for runner in runners {
                    group.addTask { while try await runner.runOnce(.interactive) > 0 {} }
                }
                try await group.waitForAll()
            }
            // A claim that meets the other's locks may come back empty while there is still work.
            while try await runners[0].runOnce(.interactive) > 0 {}
            #expect(ran.all.count == 500)
            #expect(Set(ran.all).count == 500)
            #expect(try await harness.jobs().isEmpty)
        }
    }

    @Test("two running services share 300 jobs and each runs once", arguments: TestDatabase.kinds)
    func twoServices(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let (ran, all) = (Log<String>(), Gate())
            let runners = try (0..<2).map { _ in
                try harness.runner {
                    $0.handle(ReplyWork.self) { job, _ in
                        ran.append(job.label)
                        if ran.all.count >= 300 { all.open() }
                    }
                }
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for runner in runners { group.addTask { try await runner.run() } }
                for index in 0..<30 {
                    try await harness.enqueue((0..<10).map { ReplyWork(label: "\(index)-\($0)") }, in: .job(of: ID()))
                }
                try await all.pass()
                for runner in runners { runner.stop() }
                try await group.waitForAll()
            }
            #expect(ran.all.count == 300)
            #expect(Set(ran.all).count == 300)
            #expect(try await harness.jobs().isEmpty)
        }
    }

    /// Claims, crashes, sweeps, failures and jumps of the clock in random order.
    @Test("nothing can stay running for ever", arguments: TestDatabase.kinds, [UInt64(1), 2, 3, 4])
    func nothingStaysRunning(on kind: TestDatabase.Kind, seed: UInt64) async throws {
        try await withHarness(on: kind) { harness in
            var random = SeededGenerator(seed: seed)
            let organizations = (0..<4).map { _ in OrganizationScope.job(of: ID()) }
            let finished = Log<String>()
            let chance = Log<Int>()
            var registry = JobRegistry()
            let body: @Sendable (String) throws -> Void = { label in
                chance.append(1)
                // Decides by what it is asked, so that a seed means the same run.
                switch (label.utf8.reduce(0) { $0 &* 31 &+ Int($1) } &+ chance.all.count &* 7) % 5 {
                case 0, 1: finished.append(label)
                case 2: throw JobFailure.retry(after: .seconds(40), reason: "busy")
                case 3: throw JobFailure.permanent("no")
                default: throw JobError.foreignScope
                }
            }
            registry.handle(ReplyWork.self) { job, _ in try body(job.label) }
            registry.handle(FragileWork.self) { job, _ in try body(job.label) }
            let runner = try JobRunner(
                database: harness.database,
                registry: registry,
                configuration: .init(slots: [.interactive: 3]),
                logger: Harness.logger,
                now: { [clock = harness.clock] in clock.now },
                jitter: { 0.5 }
            )
            let doomed = LaneWorker(
                lane: .interactive,
                plan: ClaimPlan(lane: .interactive, entries: registry.entries.values),
                slots: 3
            )

            var total = 0
            for _ in 0..<120 {
                switch Int.random(in: 0..<6, using: &random) {
                case 0, 1:
                    let scope = organizations[Int.random(in: 0..<4, using: &random)]
                    total += 2
                    try await harness.enqueue([ReplyWork(label: "r\(total)")], in: scope)
                    try await harness.enqueue([FragileWork(label: "f\(total)")], in: scope)
                case 2: try await runner.runOnce(.interactive)
                case 3:
                    // A worker that dies with its claims.
                    _ = try await doomed.claim(
                        from: harness.database,
                        limit: Int.random(in: 1...3, using: &random),
                        now: harness.now
                    )
                case 4: try await runner.sweep()
                default: harness.clock.advance(by: .seconds(Int.random(in: 0...60, using: &random)))
                }
            }
            var rounds = 0
            while try await harness.jobs().contains(where: { $0.state != "quarantined" }) {
                rounds += 1
                try #require(rounds < 1_000)
                harness.clock.advance(by: .seconds(30))
                try await runner.sweep()
                try await runner.runOnce(.interactive)
            }
            let left = try await harness.jobs()
            #expect(left.allSatisfy { $0.lastError != nil && $0.leaseEnd == nil && $0.deadline == nil })
            #expect(left.allSatisfy { $0.attempt <= ($0.kind == ReplyWork.kind ? 3 : 1) })
            #expect(left.count + finished.all.count == total)
            #expect(Set(finished.all).count == finished.all.count)
        }
    }

    /// Organizations in the order of their ids, each with one job.
    private func enqueue(
        _ runAts: [Timestamp],
        in harness: Harness
    ) async throws -> [OrganizationScope] {
        let scopes = runAts.map { _ in OrganizationScope.job(of: ID()) }.sorted { $0.id < $1.id }
        let now = harness.now
        try await harness.database.write(for: .queue) { tx in
            for (scope, runAt) in zip(scopes, runAts) {
                try tx.enqueue(ReplyWork(label: "x"), in: scope, runAt: runAt, now: now)
            }
        }
        return scopes
    }

    private func lane(
        of type: ReplyWork.Type = ReplyWork.self,
        reach: ClaimPlan.Reach = ClaimPlan.Reach()
    ) -> LaneWorker {
        var registry = JobRegistry()
        registry.handle(type) { _, _ in }
        let plan = ClaimPlan(lane: .interactive, entries: registry.entries.values, reach: reach)
        return LaneWorker(lane: .interactive, plan: plan, slots: 16)
    }

    @Test("one due job is found among many that wait for their time", arguments: TestDatabase.kinds)
    func needle(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let later = harness.now + .seconds(600)
            var runAts = Array(repeating: later, count: 3_000)
            runAts[1_700] = harness.now
            let scopes = try await enqueue(runAts, in: harness)
            let lane = lane()
            let first = try await lane.claim(from: harness.database, limit: 4, now: harness.now)
            #expect(first.claims.map(\.organization) == [scopes[1_700].id])
            let second = try await lane.claim(from: harness.database, limit: 4, now: harness.now)
            #expect(second.claims.isEmpty)
            #expect(!second.mayHaveMore)
            #expect(second.nextRunAt == later)
        }
    }

    /// One organization with the first due jobs, two with one each behind them, and between these many whose jobs wait.
    @Test("a walk that is cut short comes to everybody and wastes no slot", arguments: TestDatabase.kinds)
    func shortWalks(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let now = harness.now
            var runAts = Array(repeating: now + .seconds(600), count: 61)
            (runAts[0], runAts[30], runAts[60]) = (now - .seconds(9), now, now)
            let scopes = try await enqueue(runAts, in: harness)
            try await harness.enqueue(
                (0..<20).map { ReplyWork(label: "\($0)") },
                in: scopes[0],
                runAt: now - .seconds(9)
            )
            let lane = lane(reach: .init(window: 4, steps: 5))
            var served: [ID<OrganizationEntity>] = []
            for _ in 0..<23 {
                let claims = try await lane.claim(from: harness.database, limit: 1, now: now).claims
                #expect(claims.count == 1)
                served += claims.map(\.organization)
            }
            // A round takes 13 walks of five steps, and a few more for the places where one ends early.
            #expect(served.prefix(18).contains(scopes[30].id))
            #expect(served.prefix(18).contains(scopes[60].id))
            #expect(try await lane.claim(from: harness.database, limit: 1, now: now).claims.isEmpty)
        }
    }

    @Test("jobs that only other nodes do hide nobody behind them", arguments: TestDatabase.kinds)
    func behindUnknown(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let now = harness.now
            var runAts = Array(repeating: now + .seconds(600), count: 20)
            runAts[18] = now
            let scopes = try await enqueue(runAts, in: harness)
            try await harness.enqueue((0..<9).map { FragileWork(label: "\($0)") }, runAt: now - .seconds(9))
            let lane = lane(reach: .init(window: 4, steps: 5))
            var claims: [Claim] = []
            for _ in 0..<4 where claims.isEmpty {
                let found = try await lane.claim(from: harness.database, limit: 4, now: now)
                claims = found.claims
                // So that the runner asks again at once.
                #expect(found.mayHaveMore || !claims.isEmpty)
            }
            #expect(claims.map(\.organization) == [scopes[18].id])
            var rests = 0
            for _ in 0..<12 {
                let found = try await lane.claim(from: harness.database, limit: 4, now: now)
                #expect(found.claims.isEmpty)
                if !found.mayHaveMore { rests += 1 }
            }
            #expect((1...4).contains(rests))
        }
    }

    @Test("quarantined jobs are counted up to a limit", arguments: TestDatabase.kinds)
    func countLimit(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.enqueue((0..<3).map { ReplyWork(label: "\($0)") })
            let runner = try harness.runner {
                $0.handle(ReplyWork.self) { _, _ in throw JobFailure.permanent("no") }
            }
            #expect(try await runner.runOnce(.interactive) == 3)
            let now = harness.now
            let counts = try await harness.database.read(for: .queue) { tx in
                try [2, 3, 4].map { limit in
                    try tx.value(JobStore.statistics(of: .interactive, now: now, limit: limit)[2], as: Int.self)
                }
            }
            #expect(counts == [2, 3, 3])
        }
    }

    @Test("the statements of the queue use their indexes", arguments: TestDatabase.kinds)
    func plans(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            for _ in 0..<10 {
                try await harness.enqueue((0..<300).map { ReplyWork(label: "\($0)") }, in: .job(of: ID()))
            }
            try await harness.enqueue((0..<50).map { ReplyWork(label: "\($0)") })
            var registry = JobRegistry()
            registry.handle(ReplyWork.self) { _, _ in }
            let plan = ClaimPlan(lane: .interactive, entries: registry.entries.values)
            let (now, organization) = (harness.now, harness.organization.id)
            _ = try await LaneWorker(lane: .interactive, plan: plan, slots: 16)
                .claim(from: harness.database, limit: 16, now: now)
            try await harness.database.migrate { tx in try tx.run("ANALYZE jobs") }
            let statements: [(SQL, index: String)] = [
                (
                    JobStore.dueOrganizations(plan, after: organization, through: nil, limit: 8, now: now),
                    "jobs_ready_idx"
                ),
                (JobStore.firstOrganizations(plan, now: now), "jobs_run_at_idx"),
                (JobStore.claim(plan, of: organization, limit: 8, token: ID(), now: now), "jobs_ready_idx"),
                (JobStore.nextRunAt(in: .interactive, now: now), "jobs_run_at_idx"),
                (JobStore.expired(plan.kinds, limit: 8, now: now), "jobs_lease_idx"),
                (JobStore.statistics(of: .interactive, now: now)[0], "jobs_run_at_idx"),
                (JobStore.statistics(of: .interactive, now: now)[2], "jobs_quarantined_"),
                (JobStore.deleteQuarantined(before: now, limit: 8), "jobs_quarantined_at_idx"),
            ]
            for (statement, index) in statements {
                let explain: SQL = "\(Fragment(sqlite: "EXPLAIN QUERY PLAN ", postgres: "EXPLAIN "))" + statement
                let lines = try await harness.database.write(for: .queue) { tx in
                    try tx.stayOnIndexes()
                    return try tx.rows(explain) { row in
                        if tx.dialect == .sqlite { for _ in 0..<3 { row.skip() } }
                        return try row.next(String.self)
                    }
                }
                let text = lines.joined(separator: "\n")
                #expect(text.contains(index), "\(text)")
                #expect(!text.contains("Seq Scan on jobs") && !text.contains("SCAN jobs"), "\(text)")
            }
        }
    }
}

/// SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
