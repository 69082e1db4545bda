import Events
import Jobs
import Kernel
import Storage
import TestKit
import Testing

/// Whatever one row holds, the rows of others are handled, and it is seen.
@Suite("rows that nobody can read")
struct HostileRowTests {
    // MARK: Jobs

    private static let states = ["ready", "running", "quarantined"]

    @Test("a job that cannot be read stops nobody, and is listed", arguments: TestDatabase.kinds, states)
    func jobs(on kind: TestDatabase.Kind, in state: String) async throws {
        try await withHarness(on: kind) { harness in
            let ran = Log<String>()
            let runner = try harness.runner { registry in
                registry.handle(
                    ReplyWork.self,
                    abandoned: { _, _, _ in },
                    { job, _ in ran.append(job.label) }
                )
            }
            var count = HostileCount()
            for value in try SchemaDocument.hostileValues(of: "jobs", on: kind) {
                let queue = JobQueue(harness: harness, runner: runner, state: state, number: count.stored)
                guard try await harness.database.store(&count, { tx in try queue.fill(tx, with: value) }) else {
                    continue
                }
                do {
                    try await queue.run()
                    #expect(ran.all.contains(queue.label("ready")), "\(value)")
                    #expect(ran.all.contains(queue.label("running")), "\(value)")
                    try await queue.check(value, isDone: ran.all.contains(queue.label("hostile")))
                } catch {
                    Issue.record("\(value) of a job that is \(state): \(error)")
                }
                harness.clock.advance(by: .seconds(100))
            }
            print("jobs (\(state)) on \(kind): \(count)")
            #expect(count.stored > 0)
        }
    }

    /// One hostile row of one organization, and healthy ones of another.
    private struct JobQueue: Sendable {
        let harness: Harness
        let runner: JobRunner
        let state: String
        let number: Int
        let hostile = OrganizationScope.job(of: ID())
        let healthy = OrganizationScope.job(of: ID())
        let quarantined = ID<JobEntity>()

        func label(_ name: String) -> String { "\(name) \(number)" }

        func fill(_ tx: any Transaction, with value: HostileValue) throws {
            let now = harness.now
            try tx.run("DELETE FROM jobs")
            let id = ID<JobEntity>()
            try insert(tx, id, of: hostile, state, "hostile", at: now - .seconds(10))
            try tx.execute(value.update + "WHERE id = \(id)")
            try insert(tx, ID(), of: healthy, "ready", "ready", at: now)
            try insert(tx, ID(), of: healthy, "running", "running", at: now)
            // Older than the hostile one, so that it stands behind it in the list of the same organization.
            try insert(tx, quarantined, of: hostile, "quarantined", "quarantined", at: now - .seconds(20))
        }

        private func insert(
            _ tx: any Transaction,
            _ id: ID<JobEntity>,
            of scope: OrganizationScope,
            _ state: String,
            _ name: String,
            at time: Timestamp
        ) throws {
            let isRunning = state == "running"
            let payload: JSON = ["label": .string(label(name))]
            try tx.run(
                """
                INSERT INTO jobs (organization_id, id, lane, kind, payload, state, run_at, attempt, max_attempts, token,
                    lease_expires_at, deadline_at, created_at, updated_at)
                VALUES (\(scope.id), \(id), \(ReplyWork.lane), \(ReplyWork.kind), \(payload), \(state), \(time),
                    \(isRunning ? 1 : 0), 3, \(isRunning ? ID<JobTokenEntity>() : nil), \(isRunning ? time : nil),
                    \(isRunning ? time + .seconds(3_600) : nil), \(time), \(time))
                """
            )
        }

        func run() async throws {
            _ = try await runner.sweep()
            try await runner.runOnce(.interactive)
            _ = try await runner.statistics()
            harness.clock.advance(by: .seconds(30))
            for _ in 0..<2 { try await runner.runOnce(.interactive) }
        }

        func check(_ value: HostileValue, isDone: Bool) async throws {
            let service = JobService(database: harness.database, now: { [harness] in harness.now })
            // Not by a purge yet: lists show what they can.
            let first = try await service.listQuarantined(in: hostile, PageRequest(limit: 10))
            #expect(first.items.contains { $0.id == quarantined }, "\(value)")
            if state == "quarantined", value.column != "organization_id", value.column != "state" {
                #expect(first.items.count > 1, "\(value)")
            }
            _ = try await service.listQuarantinedPlatformJobs(PageRequest(limit: 10))

            _ = try await Purge.unreadableJobs.run(harness.database, harness.now)
            var jobs: [QuarantinedJob] = []
            var page = PageRequest(limit: 1)
            for _ in 0..<10 {
                let part = try await service.listQuarantined(in: hostile, page)
                jobs += part.items
                guard let next = part.next else { break }
                page = PageRequest(limit: 1, after: next)
            }
            #expect(jobs.contains { $0.id == quarantined }, "\(value)")
            #expect(Set(jobs.map(\.id)).count == jobs.count, "\(value)")
            jobs += try await service.listQuarantinedPlatformJobs(PageRequest(limit: 10)).items
            let isListed = jobs.contains { $0.id != quarantined && $0.kind != "test.reply.abandoned" }
            if !isDone, !isListed {
                // It waits for somebody else, and can be read then.
                let waiting = try await harness.database.migrate { tx in
                    try tx.rows(
                        """
                        SELECT organization_id, id, lane, kind, state, run_at, created_at, updated_at FROM jobs
                        WHERE organization_id <> \(healthy.id) AND id <> \(quarantined)
                        """
                    ) { row in
                        _ = (try row.next(ID<OrganizationEntity>.self), try row.next(ID<JobEntity>.self))
                        _ = (try row.next(String.self), try row.next(String.self), try row.next(String.self))
                        _ = (try row.next(Timestamp.self), try row.next(Timestamp.self), try row.next(Timestamp.self))
                    }.count
                }
                #expect(waiting > 0, "\(value) is neither done nor listed nor waiting")
            }
            // All that is left can be listed again, discarded or retried.
            for job in jobs {
                #expect(job.id != .zero || value.column == "id", "\(value)")
                #expect(job.quarantinedAt > .earliest && job.quarantinedAt < .latest, "\(value)")
            }
        }
    }

    // MARK: Schedules

    @Test("a schedule that cannot be read stops no other, and goes on", arguments: TestDatabase.kinds)
    func schedules(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let scheduler = Scheduler(
                database: harness.database,
                schedules: ["a", "b"].map { Schedule($0, every: .seconds(60), PurgeWork()) },
                logger: Harness.logger,
                now: { [clock = harness.clock] in clock.now }
            )
            var count = HostileCount()
            for value in try SchemaDocument.hostileValues(of: "job_schedules", on: kind) {
                try await harness.database.migrate { tx in
                    try tx.run("DELETE FROM jobs")
                    try tx.execute("DELETE FROM job_schedules")
                }
                try await scheduler.runOnce()
                guard
                    try await harness.database.store(
                        &count,
                        { tx in try tx.execute(value.update + "WHERE name = 'a'") }
                    )
                else { continue }
                do {
                    harness.clock.advance(by: .seconds(60))
                    #expect(try await scheduler.runOnce().contains("b"), "\(value)")
                    try await harness.database.migrate { tx in try tx.run("DELETE FROM jobs") }
                    harness.clock.advance(by: .seconds(60))
                    let ticked = try await scheduler.runOnce()
                    #expect(ticked.contains("a"), "\(value)")
                    #expect(ticked.contains("b"), "\(value)")
                    #expect(try await scheduler.runOnce().isEmpty, "\(value)")
                } catch {
                    Issue.record("\(value): \(error)")
                }
            }
            print("job_schedules on \(kind): \(count)")
            #expect(count.stored > 0)
        }
    }

    // MARK: Events

    @Test("an event that cannot be read stops nobody, and is set aside", arguments: TestDatabase.kinds)
    func events(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let setAside = SetAsideEvents(database: harness.database)
            var count = HostileCount()
            var failures = 0
            for value in try SchemaDocument.hostileValues(of: "events", on: kind) where failures < 4 {
                let (hostile, healthy) = (OrganizationScope.job(of: ID()), OrganizationScope.job(of: ID()))
                let now = harness.now
                let isStored = try await harness.database.store(&count) { tx in
                    for table in ["jobs", "events", "set_aside_events", "event_consumers"] {
                        try tx.run("DELETE FROM \(SQL(trusted: table))")
                    }
                    try tx.record(Self.event, in: hostile, now: now)
                    try tx.execute(value.update + "WHERE subject_id = 'subject'")
                    try tx.record(Self.event, in: healthy, now: now)
                }
                guard isStored else { continue }
                let loop = EventConsumerLoop(
                    database: harness.database,
                    consumer: Storing(now: now),
                    logger: Harness.logger,
                    now: { now }
                )
                // No database gives out such numbers, and PostgreSQL reads up to the oldest open transaction.
                let isOutOfReach = kind == .postgres && value.column == "transaction_number"
                do {
                    _ = try await eventually(within: .seconds(5), "\(value)") {
                        // What a running loop logs, before it tries again.
                        do { try await loop.runOnce() } catch is StorageError {}
                        let organizations: [ID<OrganizationEntity>] = try await harness.database.migrate { tx in
                            try tx.values("SELECT organization_id FROM jobs")
                        }
                        guard organizations.contains(healthy.id) else { return Bool?.none }
                        if isOutOfReach || organizations.contains(where: { $0 != healthy.id }) { return true }
                        let listed = try await setAside.list(in: hostile) + setAside.list(in: .job(of: .zero))
                        return listed.isEmpty ? nil : true
                    }
                    _ = try await setAside.count()
                } catch {
                    failures += 1
                    Issue.record("\(value): \(error)")
                }
            }
            print("events on \(kind): \(count)")
            #expect(count.stored > 0)
        }
    }

    /// PostgreSQL reads only up to the oldest open transaction.
    @Test("a number that cannot be read brings no event again on SQLite, also as the last")
    func lastNumber() async throws {
        try await withHarness(on: .sqlite) { harness in
            var count = HostileCount()
            let now = harness.now
            let scope = OrganizationScope.job(of: ID())
            let values = try SchemaDocument.hostileValues(of: "events", on: .sqlite)
            for value in values where value.column == "transaction_number" {
                let isStored = try await harness.database.store(&count) { tx in
                    for table in ["jobs", "events", "set_aside_events", "event_consumers"] {
                        try tx.run("DELETE FROM \(SQL(trusted: table))")
                    }
                    for _ in 1...2 { try tx.record(Self.event, in: scope, now: now) }
                    try tx.execute(value.update + "WHERE position = (SELECT max(position) FROM events)")
                }
                guard isStored else { continue }
                let loop = EventConsumerLoop(
                    database: harness.database,
                    consumer: Storing(now: now),
                    logger: Harness.logger,
                    now: { now }
                )
                #expect(try await loop.runOnce() == 2, "\(value)")
                #expect(try await loop.runOnce() == 0, "\(value)")
            }
            #expect(count.stored > 0)
        }
    }

    private static let event = Event(
        EventType(
            "conversation.closed",
            resource: "conversation",
            "A conversation was closed.",
            data: .object([.required("number", .integer())]),
            example: ["number": 1]
        ),
        subject: "subject",
        data: ["number": 1]
    )

    /// Writes down what it reads, as consumers do.
    private struct Storing: EventConsumer {
        let name = "test"
        let start = ConsumerStart.beginning
        let now: Timestamp

        func consume(_ events: [RecordedEvent], in tx: any Transaction) throws {
            for event in events {
                let label = "\(event.type) \(event.resource) \(event.subject) \(event.data.text)"
                try tx.enqueue(ReplyWork(label: label), in: .job(of: event.organization), now: now)
            }
        }
    }

    @Test("a consumer whose place cannot be read goes on", arguments: TestDatabase.kinds)
    func places(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            var count = HostileCount()
            var failures = 0
            let purge = Purge.events(passedBy: ["test"])
            for value in try SchemaDocument.hostileValues(of: "event_consumers", on: kind) where failures < 4 {
                let now = harness.now
                let healthy = OrganizationScope.job(of: ID())
                try await harness.database.migrate { tx in
                    for table in ["jobs", "events", "event_consumers"] {
                        try tx.run("DELETE FROM \(SQL(trusted: table))")
                    }
                }
                let loop = EventConsumerLoop(
                    database: harness.database,
                    consumer: Storing(now: now),
                    logger: Harness.logger,
                    now: { now }
                )
                try await loop.runOnce()
                guard try await harness.database.store(&count, { tx in try tx.execute(value.update) }) else { continue }
                do {
                    _ = try await purge.run(harness.database, now)
                    try await harness.database.write(healthy) { tx in try tx.record(Self.event, in: healthy, now: now) }
                    _ = try await eventually(within: .seconds(5), "\(value)") {
                        try await loop.runOnce()
                        return try await harness.jobs().isEmpty ? Bool?.none : true
                    }
                } catch {
                    failures += 1
                    Issue.record("\(value): \(error)")
                }
            }
            print("event_consumers on \(kind): \(count)")
            #expect(count.stored > 0)
        }
    }

    @Test("the list of events that were set aside shows those that cannot be read", arguments: TestDatabase.kinds)
    func setAside(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let setAside = SetAsideEvents(database: harness.database)
            var count = HostileCount()
            for value in try SchemaDocument.hostileValues(of: "set_aside_events", on: kind) {
                let (scope, now) = (harness.organization, harness.now)
                let isStored = try await harness.database.store(&count) { tx in
                    try tx.run("DELETE FROM set_aside_events")
                    for (consumer, position) in [("hostile", 1), ("healthy", 2)] {
                        try tx.run(
                            """
                            INSERT INTO set_aside_events (organization_id, consumer, position, transaction_number, type,
                                reason, created_at)
                            VALUES (\(scope.id), \(consumer), \(position), 1, 'a.b', 'why', \(now))
                            """
                        )
                    }
                    try tx.execute(value.update + "WHERE consumer = 'hostile'")
                }
                guard isStored else { continue }
                do {
                    let listed = try await setAside.list(in: scope)
                    #expect(listed.contains { $0.consumer == "healthy" }, "\(value)")
                    if value.column != "organization_id" { #expect(listed.count == 2, "\(value)") }
                    #expect(try await setAside.count() == 2, "\(value)")
                    _ = try await Purge.setAsideEvents.run(harness.database, now)
                } catch {
                    Issue.record("\(value): \(error)")
                }
            }
            print("set_aside_events on \(kind): \(count)")
            #expect(count.stored > 0)
        }
    }
}
