import Jobs
import Kernel
import Storage
import TestKit
import Testing

@Suite("quarantined jobs")
struct JobServiceTests {
    private func quarantine(_ labels: [String], in harness: Harness) async throws {
        let runner = try harness.runner(1) {
            $0.handle(ReplyWork.self) { job, _ in throw JobFailure.permanent(job.label) }
        }
        for label in labels {
            try await harness.enqueue([ReplyWork(label: label)], uniqueKey: label)
            try await runner.runOnce(.interactive)
            harness.clock.advance(by: .seconds(1))
        }
    }

    @Test("are listed in pages, the last first, to their organization only", arguments: TestDatabase.kinds)
    func list(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await quarantine(["a", "b", "c"], in: harness)
            let service = JobService(database: harness.database, now: { [clock = harness.clock] in clock.now })
            let first = try await service.listQuarantined(in: harness.organization, PageRequest(limit: 2))
            #expect(first.items.map(\.reason) == ["c", "b"])
            let second = try await service.listQuarantined(
                in: harness.organization,
                PageRequest(limit: 2, after: first.next)
            )
            #expect(second.items.map(\.reason) == ["a"])
            #expect(second.next == nil)
            #expect(try await service.listQuarantined(in: .job(of: ID()), PageRequest()).items.isEmpty)
        }
    }

    @Test("are kept for 90 days", arguments: TestDatabase.kinds)
    func retention(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await quarantine(["a", "b", "c", "d", "e"], in: harness)
            let first = harness.now - .seconds(5)
            try await harness.enqueue([ReplyWork(label: "waits")])
            let purge = Purge.quarantinedJobs(batch: 2)
            let age = Duration.seconds(90 * 86_400)
            #expect(try await purge.run(harness.database, first + age) == 0)
            #expect(try await purge.run(harness.database, first + age + .seconds(3)) == 3)
            let left = try await harness.jobs()
            #expect(left.map(\.lastError) == ["d", "e", nil])
            #expect(try await purge.run(harness.database, first + age * 2) == 2)
            #expect(try await harness.jobs().map(\.state) == ["ready"])
        }
    }

    @Test("can be tried again and discarded", arguments: TestDatabase.kinds)
    func retryAndDiscard(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await quarantine(["a", "b"], in: harness)
            let service = JobService(database: harness.database, now: { [clock = harness.clock] in clock.now })
            let jobs = try await service.listQuarantined(in: harness.organization, PageRequest()).items
            let (b, a) = (jobs[0].id, jobs[1].id)
            let stranger = OrganizationScope.job(of: ID())
            await #expect(throws: JobError.unknown(a)) { try await service.retry(a, in: stranger) }
            await #expect(throws: JobError.unknown(a)) { try await service.discard(a, in: stranger) }

            try await service.retry(a, in: harness.organization)
            await #expect(throws: JobError.unknown(a)) { try await service.retry(a, in: harness.organization) }
            let ran = Log<(String, Int)>()
            let runner = try harness.runner {
                $0.handle(ReplyWork.self) { job, context in ran.append((job.label, context.attempt)) }
            }
            #expect(try await runner.runOnce(.interactive) == 1)
            #expect(ran.all.map(\.0) == ["a"])
            #expect(ran.all.map(\.1) == [1])

            try await service.discard(b, in: harness.organization)
            await #expect(throws: JobError.unknown(b)) { try await service.discard(b, in: harness.organization) }
            #expect(try await harness.jobs().isEmpty)
        }
    }

    @Test("are not tried again while the same work is waiting", arguments: TestDatabase.kinds)
    func duplicate(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await quarantine(["a"], in: harness)
            try await harness.enqueue([ReplyWork(label: "a")], uniqueKey: "a")
            let service = JobService(database: harness.database)
            let job = try #require(
                try await service.listQuarantined(in: harness.organization, PageRequest()).items.first
            )
            await #expect(throws: JobError.duplicate(job.id)) {
                try await service.retry(job.id, in: harness.organization)
            }
        }
    }
}
