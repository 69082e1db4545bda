import Events
import Jobs
import Kernel
import Storage
import Synchronization
import TestKit
import Testing

private let closed = EventType(
    "conversation.closed",
    resource: "conversation",
    "A conversation was closed.",
    data: .object([.required("number", .integer())]),
    example: ["number": 1]
)

private func event(_ number: Int) -> Event {
    Event(closed, subject: "\(number)", data: ["number": .integer(Int64(number))])
}

extension Harness {
    fileprivate func record(_ numbers: some Sequence<Int> & Sendable, in scope: OrganizationScope? = nil) async throws {
        let (scope, now) = (scope ?? organization, now)
        try await database.write(scope) { tx in
            for number in numbers { try tx.record(event(number), in: scope, now: now) }
        }
    }

    fileprivate func feed(after place: EventPlace = .beginning, limit: Int = 1_000) async throws -> [RecordedEvent] {
        try await database.write(for: .feed, isolation: .readCommitted) { tx in
            try EventFeed.read(after: place, limit: limit, in: tx)
        }
    }

    /// What an organization's own transaction sees.
    fileprivate func feedAndEnd(
        of scope: OrganizationScope
    ) async throws -> (events: [RecordedEvent], end: EventPlace) {
        try await database.write(scope, isolation: .readCommitted) { tx in
            (
                try EventFeed.read(after: .beginning, of: scope, limit: 10, in: tx),
                try EventFeed.end(of: scope, in: tx)
            )
        }
    }

    fileprivate func heldBackSince() async throws -> Timestamp? {
        try await database.write(for: .feed, isolation: .readCommitted) { tx in try EventFeed.heldBackSince(in: tx) }
    }

    /// The feed once it has so many events.
    ///
    /// On PostgreSQL it ends before the oldest transaction that may be one of this database, and what other tests have open
    /// is not known to be of theirs until a moment after it began.
    fileprivate func feed(reaching count: Int) async throws -> [RecordedEvent] {
        try await eventually("\(count) events in the feed") {
            let events = try await feed()
            return events.count >= count ? events : nil
        }
    }
}

/// Enqueues a job for each event, so that an event consumed twice shows.
private struct Counting: EventConsumer {
    struct Refused: Error {}

    let name: String
    var start = ConsumerStart.beginning
    let now: Timestamp
    var refuses: @Sendable (RecordedEvent) -> Bool = { _ in false }

    func consume(_ events: [RecordedEvent], in tx: any Transaction) throws {
        for event in events {
            try tx.enqueue(ReplyWork(label: event.subject), in: .job(of: event.organization), now: now)
            if refuses(event) { throw Refused() }
        }
    }
}

@Suite("the event feed")
struct EventTests {
    @Test("the catalogue refuses a name twice and an example that does not fit")
    func catalogue() throws {
        #expect(throws: EventCatalogue.Failure.duplicate("conversation.closed")) {
            try EventCatalogue([closed, closed])
        }
        let wrong = EventType("a.b", resource: "a", "", data: .object([.required("x", .boolean)]), example: ["x": 1])
        #expect(throws: EventCatalogue.Failure.self) { try EventCatalogue([wrong]) }
        let catalogue = try EventCatalogue([closed])
        #expect(catalogue["conversation.closed"]?.resource == "conversation")
        #expect(catalogue["conversation.opened"] == nil)
    }

    @Test("a place survives its text", arguments: ["0-0", "742-1093", "9223372036854775807-1"])
    func place(text: String) throws {
        #expect(try #require(EventPlace(text)).description == text)
    }

    @Test(
        "other texts are no place",
        arguments: ["", "-", "1", "-1--1", "1-2-3", "9223372036854775808-1", "a-b", " 1-2"]
    )
    func noPlace(text: String) { #expect(EventPlace(text) == nil) }

    @Test("an event keeps what was recorded", arguments: TestDatabase.kinds)
    func contents(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let user = ID<UserEntity>()
            let scope = OrganizationScope.authenticated(
                harness.organization.id,
                as: Actor(ActorKind("user"), id: user.description),
                from: RequestOrigin(requestID: "r1", address: "192.0.2.7", userAgent: "curl/8")
            )
            let now = harness.now
            try await harness.database.write(scope) { tx in
                try tx.record(
                    Event(closed, subject: "c1", data: ["number": 7], changes: ["status": ["before": "active"]]),
                    in: scope,
                    now: now
                )
            }
            let event = try #require(try await harness.feed(reaching: 1).first)
            #expect(event.organization == scope.id)
            #expect(event.type == "conversation.closed")
            #expect(event.resource == "conversation")
            #expect(event.subject == "c1")
            #expect(event.actorKind == "user")
            #expect(event.actorID == user.description)
            #expect(event.data == ["number": 7])
            #expect(event.changes == ["status": ["before": "active"]])
            #expect(event.requestID == "r1")
            #expect(event.address == "192.0.2.7")
            #expect(event.userAgent == "curl/8")
            #expect(event.createdAt == now)
        }
    }

    @Test("is read in order, in pieces, by all or by one organization", arguments: TestDatabase.kinds)
    func order(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let other = OrganizationScope.job(of: ID())
            try await harness.record(1...3)
            try await harness.record(4...5, in: other)
            try await harness.record(6...7)
            let all = try await harness.feed(reaching: 7)
            try #require(all.count == 7)
            let expected = (1...7).map { String($0) }
            #expect(all.map(\.subject) == expected)
            #expect(all.map(\.place) == all.map(\.place).sorted())
            #expect(try await harness.feed(after: all[1].place, limit: 3).map(\.subject) == ["3", "4", "5"])
            #expect(try await harness.feed(after: all[6].place).isEmpty)
            // Even after all were seen: a transaction of another test may have begun a moment ago.
            try await eventually("the organization's events and their end") {
                let (own, end) = try await harness.feedAndEnd(of: other)
                return own.map(\.subject) == ["4", "5"] && end == all[4].place ? () : nil
            }
        }
    }

    @Test("an organization's transaction sees its own events only")
    func isolation() async throws {
        try await withHarness(on: .postgres) { harness in
            try await harness.record(1...3)
            let seen = try await harness.database.read(.job(of: ID())) { tx in
                try tx.value("SELECT count(*) FROM events", as: Int.self)
            }
            #expect(seen == 0)
        }
    }

    /// SQLite has one writer, so transactions cannot overlap there.
    @Test("a transaction that began earlier and commits later is not skipped")
    func slowTransaction() async throws {
        try await withHarness(on: .postgres) { harness in
            let (scope, now) = (harness.organization, harness.now)
            let (hasWritten, mayCommit) = (Gate(), Gate())
            let begun = Mutex(false)
            async let slow: Void = harness.database.write(scope) { tx in
                try tx.record(event(1), in: scope, now: now)
                // A statement that waits, so that the one before is sent.
                _ = try tx.value("SELECT 1", as: Int64.self)
                let isFirst = begun.withLock { flag in
                    defer { flag = true }
                    return !flag
                }
                guard isFirst else { return }
                hasWritten.open()
                try mayCommit.passInBody()
            }
            try await hasWritten.pass()
            try await harness.record(2...3, in: .job(of: ID()))
            let early = try await harness.feed()
            let loop = EventConsumerLoop(
                database: harness.database,
                consumer: Counting(name: "early", now: now),
                logger: Harness.logger
            )
            let consumedEarly = try await loop.runOnce()
            mayCommit.open()
            try await slow
            #expect(early.isEmpty)
            #expect(consumedEarly == 0)
            #expect(try await harness.feed(reaching: 3).map(\.subject) == ["1", "2", "3"])
            #expect(try await loop.runOnce() == 3)
        }
    }

    @Test("a transaction of another database of the cluster does not hold up the feed, one of this database does")
    func otherDatabases() async throws {
        try await withDatabase(on: .postgres, migrations: [Migration(1, "nothing", TestDatabase.preparation)]) {
            other in
            try await withHarness(on: .postgres) { harness in
                let now = harness.now
                let loop = EventConsumerLoop(
                    database: harness.database,
                    consumer: Counting(name: "test", now: now),
                    logger: Harness.logger
                )
                try await holdingNumber(in: other) {
                    try await harness.record(1...3)
                    // Other tests have transactions of their own, and end them.
                    #expect(try await harness.feed(reaching: 3).map(\.subject) == ["1", "2", "3"])
                    try await eventually("the events are consumed") { try await loop.runOnce() == 3 ? () : nil }
                    let scope = harness.organization
                    try await eventually("the organization's events, and nothing held back") {
                        let (own, end) = try await harness.feedAndEnd(of: scope)
                        let isAll = own.map(\.subject) == ["1", "2", "3"] && end == own.last?.place
                        let heldBackSince = try await harness.heldBackSince()
                        return isAll && heldBackSince == nil ? () : nil
                    }
                    // The number is older than that of the next events, but it is one of this database.
                    try await holdingNumber(in: harness.database) {
                        try await harness.record(4...4)
                        #expect(try await harness.feed(reaching: 3).map(\.subject) == ["1", "2", "3"])
                        #expect(try await loop.runOnce() == 0)
                        #expect(try await harness.heldBackSince() == now)
                    }
                    #expect(try await harness.feed(reaching: 4).count == 4)
                    try await eventually("nothing is held back") {
                        try await harness.heldBackSince() == nil ? () : nil
                    }
                }
            }
        }
    }

    /// Runs `body` while a transaction with a number is open in a database.
    private func holdingNumber(in database: any Database, _ body: () async throws -> Void) async throws {
        let (hasNumber, mayEnd) = (Gate(), Gate())
        let isFirst = Mutex(true)
        async let open: Void = database.write(for: .maintenance, isolation: .readCommitted) { tx in
            _ = try tx.value("SELECT \(.transactionNumber)", as: Int64.self)
            let isHeld = isFirst.withLock { isFirst in
                defer { isFirst = false }
                return isFirst
            }
            guard isHeld else { return }
            hasNumber.open()
            try mayEnd.passInBody()
        }
        let result: Result<Void, any Error>
        do {
            try await hasNumber.pass()
            result = .success(try await body())
        } catch {
            result = .failure(error)
        }
        mayEnd.open()
        try await open
        try result.get()
    }

    @Test("readers meet no gap while many write", arguments: TestDatabase.kinds)
    func noGaps(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let seen = Log<Int>()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in 0..<4 {
                    group.addTask {
                        let scope = OrganizationScope.job(of: ID())
                        for round in 0..<25 {
                            try await harness.record(
                                [writer * 100 + round * 2, writer * 100 + round * 2 + 1],
                                in: scope
                            )
                        }
                    }
                }
                group.addTask {
                    var place = EventPlace.beginning
                    while seen.all.count < 200 {
                        for event in try await harness.feed(after: place, limit: 7) {
                            place = event.place
                            if let number = Int(event.subject) { seen.append(number) }
                        }
                        await Task.yield()
                    }
                }
                try await group.waitForAll()
            }
            for writer in 0..<4 {
                #expect(seen.all.filter { $0 / 100 == writer } == (0..<50).map { writer * 100 + $0 })
            }
        }
    }

    @Test("a consumer meets each event once with two loops", arguments: TestDatabase.kinds)
    func exactlyOnce(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            for batch in 0..<10 { try await harness.record((batch * 50)..<(batch * 50 + 50), in: .job(of: ID())) }
            _ = try await harness.feed(reaching: 500)
            let consumer = Counting(name: "test", now: harness.now)
            let loops = (0..<2).map { _ in
                EventConsumerLoop(database: harness.database, consumer: consumer, logger: Harness.logger)
            }
            let counts = Log<Int>()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for loop in loops {
                    group.addTask {
                        // One that meets the other at work gets none.
                        try await eventually("all events are consumed") {
                            counts.append(try await loop.runOnce())
                            return counts.all.reduce(0, +) >= 500 ? () : nil
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect(counts.all.reduce(0, +) == 500)
            let labels = try await harness.database.read(for: .queue) { tx in
                try tx.values("SELECT payload FROM jobs", as: JSON.self).compactMap { $0["label"]?.string }
            }
            #expect(labels.count == 500)
            #expect(Set(labels).count == 500)
        }
    }

    @Test(
        "what keeps failing is set aside with its reason, and all others are handled once",
        arguments: TestDatabase.kinds
    )
    func setAside(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let other = OrganizationScope.job(of: ID())
            try await harness.record(1...3)
            try await harness.record(4...5, in: other)
            _ = try await harness.feed(reaching: 5)
            let failing = EventConsumerLoop(
                database: harness.database,
                consumer: FailingConsumer(isBroken: { true }, now: harness.now),
                logger: Harness.logger,
                now: { [clock = harness.clock] in clock.now }
            )
            var refused = 0
            try await eventually("the others are handled") {
                do { _ = try await failing.runOnce() } catch is Counting.Refused { refused += 1 }
                return try await harness.jobs().count == 4 ? () : nil
            }
            #expect(refused == EventConsumerLoop.tries - 1)
            let labels = try await harness.database.read(for: .queue) { tx in
                try tx.values("SELECT payload FROM jobs", as: JSON.self).compactMap { $0["label"]?.string }
            }
            #expect(labels.sorted() == ["1", "2", "4", "5"])
            let events = SetAsideEvents(database: harness.database)
            let aside = try await events.list(in: harness.organization)
            #expect(aside.map(\.type) == ["conversation.closed"])
            #expect(aside.map(\.consumer) == ["failing"])
            #expect(aside.map(\.reason) == ["Refused"])
            #expect(try await events.list(in: other).isEmpty)
            #expect(try await events.count() == 1)

            // Whole batches again.
            try await harness.record(6...8)
            _ = try await harness.feed(reaching: 8)
            try await eventually("the next ones are read") { try await failing.runOnce() == 3 ? () : nil }
            harness.clock.advance(by: .seconds(91 * 86_400))
            #expect(try await Purge.setAsideEvents.run(harness.database, harness.now) == 1)
        }
    }

    @Test(
        "what the database refuses of a consumer is set aside, and all others are handled",
        arguments: TestDatabase.kinds
    )
    func refusedStatement(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.record(1...5)
            _ = try await harness.feed(reaching: 5)
            let loop = EventConsumerLoop(
                database: harness.database,
                consumer: RefusedConsumer(now: harness.now),
                logger: Harness.logger
            )
            try await eventually("the others are handled") {
                do { _ = try await loop.runOnce() } catch is StorageError {}
                return try await harness.jobs().count == 4 ? () : nil
            }
            let aside = try await SetAsideEvents(database: harness.database).list(in: harness.organization)
            #expect(aside.count == 1)
            #expect(aside.first?.reason.hasPrefix("StorageError") == true)
        }
    }

    /// Runs a statement that nobody waits for and that the database refuses.
    private struct RefusedConsumer: EventConsumer {
        let name = "refused"
        let start = ConsumerStart.beginning
        let now: Timestamp

        func consume(_ events: [RecordedEvent], in tx: any Transaction) throws {
            try Counting(name: name, now: now).consume(events, in: tx)
            for event in events where event.subject == "3" {
                let missing: Int64? = nil
                try tx.run(
                    """
                    INSERT INTO set_aside_events (organization_id, consumer, position, transaction_number, type, reason,
                        created_at)
                    VALUES (\(event.organization), 'other', \(missing), 1, 'x', 'x', \(now))
                    """
                )
            }
        }
    }

    @Test(
        "a consumer whose trouble is over handles what failed, and others go on meanwhile",
        arguments: TestDatabase.kinds
    )
    func failure(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.record(1...5)
            _ = try await harness.feed(reaching: 5)
            let isBroken = Mutex(true)
            let failing = EventConsumerLoop(
                database: harness.database,
                consumer: FailingConsumer(isBroken: { isBroken.withLock { $0 } }, now: harness.now),
                logger: Harness.logger
            )
            let other = EventConsumerLoop(
                database: harness.database,
                consumer: Counting(name: "other", now: harness.now),
                logger: Harness.logger
            )
            // The batch, then one by one up to the one that fails.
            await #expect(throws: Counting.Refused.self) { while true { _ = try await failing.runOnce() } }
            #expect(try await harness.jobs().count == 2)
            try await eventually("the other reads all") { try await other.runOnce() == 5 ? () : nil }
            isBroken.withLock { $0 = false }
            try await eventually("all are handled") {
                _ = try await failing.runOnce()
                return try await harness.jobs().count == 10 ? () : nil
            }
            #expect(try await SetAsideEvents(database: harness.database).list(in: harness.organization).isEmpty)
        }
    }

    @Test("a new consumer begins now unless it says otherwise", arguments: TestDatabase.kinds)
    func start(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.record(1...3)
            _ = try await harness.feed(reaching: 3)
            let loops = [ConsumerStart.now, .beginning].map { start in
                EventConsumerLoop(
                    database: harness.database,
                    consumer: Counting(name: "\(start)", start: start, now: harness.now),
                    logger: Harness.logger
                )
            }
            #expect(try await loops[0].runOnce() == 0)
            try await harness.record(4...5)
            _ = try await harness.feed(reaching: 5)
            try await eventually("what came later is read") { try await loops[0].runOnce() == 2 ? () : nil }
            try await eventually("all is read") { try await loops[1].runOnce() == 5 ? () : nil }
        }
    }

    private struct FailingConsumer: EventConsumer {
        let name = "failing"
        let start = ConsumerStart.beginning
        let isBroken: @Sendable () -> Bool
        let now: Timestamp

        func consume(_ events: [RecordedEvent], in tx: any Transaction) throws {
            var counting = Counting(name: name, now: now)
            counting.refuses = { [isBroken] event in event.subject == "3" && isBroken() }
            try counting.consume(events, in: tx)
        }
    }

    @Test("only what is old and passed by all is purged", arguments: TestDatabase.kinds)
    func retention(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            try await harness.record(1...3)
            _ = try await harness.feed(reaching: 3)
            let purge = Purge.events(passedBy: ["quick", "slow"], keeping: .seconds(86_400))
            let loops = ["quick", "slow", "removed"].map { name in
                EventConsumerLoop(
                    database: harness.database,
                    consumer: Counting(name: name, now: harness.now),
                    logger: Harness.logger
                )
            }
            try await loops[0].runOnce()
            harness.clock.advance(by: .seconds(86_401))
            try await harness.record(4...4)
            _ = try await harness.feed(reaching: 4)
            // The slow one has not begun.
            #expect(try await purge.run(harness.database, harness.now) == 0)
            try await loops[1].runOnce()
            #expect(try await purge.run(harness.database, harness.now) == 3)
            #expect(try await harness.feed().map(\.subject) == ["4"])
            #expect(try await purge.run(harness.database, harness.now) == 0)
        }
    }
}
