import Kernel
import Storage
import Synchronization
import TestKit
import Testing

@testable import Jobs

@Suite("Occupancy of a lane")
struct OccupancyTests {
    private let organizations = (1...8).map { ID<OrganizationEntity>(high: 0, low: UInt64($0)) }

    @Test("each that comes may hold half of what the others leave")
    func halves() {
        var occupancy = Occupancy(size: 256)
        var held: [Int] = []
        for organization in organizations {
            let count = occupancy.allowance(of: organization)
            occupancy.take(count, for: organization)
            held.append(count)
            #expect(occupancy.allowance(of: organization) == 0)
        }
        #expect(held == [128, 64, 32, 16, 8, 4, 2, 1])
        #expect(occupancy.free == 1)
        #expect(occupancy.full.count == organizations.count)
    }

    @Test("everybody may hold one while there is one", arguments: [(1, 1), (2, 2), (3, 3), (8, 8)])
    func atLeastOne(size: Int, served: Int) {
        var occupancy = Occupancy(size: size)
        for organization in organizations where occupancy.allowance(of: organization) > 0 {
            occupancy.take(1, for: organization)
        }
        #expect(occupancy.total == served)
        #expect(occupancy.allowance(of: ID()) == (size > served ? 1 : 0))
    }

    @Test("work of the product itself may use every slot, and counts")
    func platform() {
        var occupancy = Occupancy(size: 4)
        #expect(occupancy.allowance(of: .zero) == 4)
        occupancy.take(3, for: .zero)
        #expect(occupancy.allowance(of: .zero) == 1)
        #expect(occupancy.allowance(of: organizations[0]) == 1)
        #expect(occupancy.full.isEmpty)
    }

    @Test("what is released may be had again; more than was taken is not released")
    func release() {
        var occupancy = Occupancy(size: 8)
        occupancy.take(4, for: organizations[0])
        #expect(occupancy.allowance(of: organizations[0]) == 0)
        occupancy.release(organizations[0])
        #expect(occupancy.allowance(of: organizations[0]) == 1)
        occupancy.release(organizations[1])
        #expect(occupancy.total == 3)
        for _ in 0..<9 { occupancy.release(organizations[0]) }
        #expect(occupancy.total == 0 && occupancy.held.isEmpty)
    }

    @Test("a claim's slots are given in turns, within what each may hold and what is asked for")
    func shares() {
        let occupancy = Occupancy(size: 16)
        #expect(occupancy.shares(among: [organizations[0]]) == [8])
        #expect(occupancy.shares(among: Array(organizations.prefix(3))) == [4, 4, 4])
        #expect(occupancy.shares(among: Array(organizations.prefix(3)), limit: 4) == [2, 1, 1])
        #expect(occupancy.shares(among: []) == [])
        #expect(occupancy.shares(among: [.zero]) == [16])
    }
}

@Suite("A lane with greedy organizations")
struct GreedyOrganizationTests {
    @Test(
        "has a slot for whoever comes later, behind six with more work than they may hold",
        arguments: TestDatabase.kinds
    )
    func sixGreedy(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let greedy = (0..<6).map { _ in OrganizationScope.job(of: ID()) }
            let late = (0..<20).map { _ in OrganizationScope.job(of: ID()) }
            let never = Gate()
            let (began, served) = (Log<ID<OrganizationEntity>>(), Log<ID<OrganizationEntity>>())
            let runner = try harness.runner(256) {
                $0.handle(ReplyWork.self) { job, context in
                    guard job.label == "hangs" else { return served.append(context.scope.id) }
                    began.append(context.scope.id)
                    try await never.pass()
                }
            }
            let run = Task { try await runner.run() }
            for scope in greedy {
                try await harness.enqueue((0..<300).map { _ in ReplyWork(label: "hangs") }, in: scope)
            }
            _ = try await eventually("the greedy hold what they may") {
                Set(began.all).count == 6 && began.all.count >= 200 ? () : nil
            }
            for scope in late { try await harness.enqueue([ReplyWork(label: "quick")], in: scope) }
            _ = try await eventually("all that came later are served") { served.all.count == late.count ? () : nil }
            #expect(Set(served.all) == Set(late.map(\.id)))
            for scope in greedy { #expect(began.all.count { $0 == scope.id } <= 128) }
            #expect(began.all.count < 256)
            run.cancel()
            _ = await run.result
        }
    }

    @Test("goes on with the work of one when a slot of its own is free", arguments: TestDatabase.kinds)
    func ownSlot(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let gates = (0..<5).map { _ in Gate() }
            let began = Log<Int>()
            let runner = try harness.runner(4) {
                $0.handle(ReplyWork.self) { job, _ in
                    let number = Int(job.label) ?? 0
                    began.append(number)
                    try await gates[number].pass()
                }
            }
            try await harness.enqueue((0..<5).map { ReplyWork(label: "\($0)") })
            let run = Task { try await runner.run() }
            for done in 0..<5 {
                let running = min(done + 2, 5)
                _ = try await eventually("\(running) have begun") { began.all.count == running ? () : nil }
                gates[done].open()
            }
            _ = try await eventually("all are done") { try await harness.jobs().isEmpty ? () : nil }
            run.cancel()
            _ = await run.result
        }
    }

    @Test("a job's own time is when its attempt ends", arguments: TestDatabase.kinds)
    func ownDeadline(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let times: [Int64?] = [nil, 1_500, 5_000_000, 0, -7, .max]
            for time in times { try await harness.enqueue([TimedWork(time: time)]) }
            let deadlines = Log<Duration>()
            let now = harness.now
            let runner = try harness.runner {
                $0.handle(TimedWork.self) { _, context in deadlines.append(context.deadline - now) }
            }
            #expect(try await runner.runOnce(.interactive) == times.count)
            let expected: [Duration] = [60, 60, 60, 60].map { .seconds($0) } + [.milliseconds(1_500), .seconds(5_000)]
            #expect(deadlines.all.sorted() == expected.sorted())
        }
    }

    @Test(
        "the time that is said with the handler comes before the kind's, after the job's own",
        arguments: TestDatabase.kinds
    )
    func handlersDeadline(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            for time: Int64? in [nil, 1_500] { try await harness.enqueue([TimedWork(time: time)]) }
            let deadlines = Log<Duration>()
            let now = harness.now
            let runner = try harness.runner {
                $0.handle(TimedWork.self, timeout: .seconds(90)) { _, context in
                    deadlines.append(context.deadline - now)
                }
            }
            #expect(try await runner.runOnce(.interactive) == 2)
            #expect(deadlines.all.sorted() == [.milliseconds(1_500), .seconds(90)])
        }
    }
}

/// Work that says how long an attempt may take.
private struct TimedWork: Job {
    static let kind = "test.timed"
    static let lane = Lane.interactive

    let time: Int64?

    var timeout: Duration? { time.map { .milliseconds($0) } }
    var payload: JSON { [:] }

    init(time: Int64?) { self.time = time }
    init(payload: JSON) { time = nil }
}
