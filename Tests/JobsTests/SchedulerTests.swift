import Jobs
import Kernel
import Storage
import TestKit
import Testing

@Suite("schedules")
struct SchedulerTests {
    private func scheduler(_ harness: Harness) -> Scheduler {
        Scheduler(
            database: harness.database,
            schedules: [Schedule("test.purge", every: .seconds(60), PurgeWork())],
            logger: Harness.logger,
            now: { [clock = harness.clock] in clock.now }
        )
    }

    @Test("a tick fires once with two schedulers", arguments: TestDatabase.kinds)
    func once(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let schedulers = [scheduler(harness), scheduler(harness)]
            let ran = Log<Int>()
            let runner = try harness.runner { $0.handle(PurgeWork.self) { _, context in ran.append(context.attempt) } }
            for scheduler in schedulers { #expect(try await scheduler.runOnce().isEmpty) }
            for tick in 1...5 {
                harness.clock.advance(by: .seconds(60))
                let ticked = try await withThrowingTaskGroup(of: [String].self) { group in
                    for scheduler in schedulers { group.addTask { try await scheduler.runOnce() } }
                    return try await group.reduce(into: []) { $0 += $1 }
                }
                #expect(ticked == ["test.purge"])
                try await runner.runOnce(.maintenance)
                #expect(ran.all.count == tick)
            }
        }
    }

    @Test("missed ticks fire once, and the grid is kept", arguments: TestDatabase.kinds)
    func missed(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let scheduler = scheduler(harness)
            try await scheduler.runOnce()
            harness.clock.advance(by: .seconds(60 * 7 + 30))
            #expect(try await scheduler.runOnce() == ["test.purge"])
            #expect(try await scheduler.runOnce().isEmpty)
            harness.clock.advance(by: .seconds(29))
            #expect(try await scheduler.runOnce().isEmpty)
            harness.clock.advance(by: .seconds(1))
            #expect(try await scheduler.runOnce() == ["test.purge"])
            // The job of the tick before has not run yet.
            #expect(try await harness.jobs().count == 1)
        }
    }
}
