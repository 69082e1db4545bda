package import Kernel
package import Logging
import Metrics
import ServiceLifecycle
package import Storage
import Synchronization

/// Feeds one consumer.
///
/// Any number of nodes may run it. When a batch fails its events are handed over one by one; one that fails
/// ``EventConsumerLoop/tries`` times is set aside, so that it does not hold up those behind it.
package final class EventConsumerLoop: Service {
    private static let batchLimit = 200
    /// How often an event is handed over before it is set aside.
    package static let tries = 3

    private struct State {
        var hasPlace = false
        /// Whether it had one before that is gone.
        var hasLostPlace = false
        /// The event that failed last, and how often.
        var failing: (place: EventPlace, failures: Int)?
        /// Up to here events are handed over one by one.
        var oneByOneThrough: EventPlace?
    }

    private let database: any Database
    private let consumer: any EventConsumer
    private let logger: Logger
    private let now: @Sendable () -> Timestamp
    private let state = Mutex(State())
    private let consumed: Counter
    private let failed: Counter
    private let setAside: Counter
    /// The same for all consumers, who see the same end of the feed.
    private let delay = Gauge(label: "kuvend_events_delay_seconds")

    package init(
        database: any Database,
        consumer: any EventConsumer,
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp = { .now() }
    ) {
        self.database = database
        self.consumer = consumer
        var logger = logger
        logger[metadataKey: "consumer"] = "\(consumer.name)"
        self.logger = logger
        self.now = now
        consumed = Counter(label: "kuvend_events_consumed_total", dimensions: [("consumer", consumer.name)])
        failed = Counter(label: "kuvend_event_batches_failed_total", dimensions: [("consumer", consumer.name)])
        setAside = Counter(label: "kuvend_events_set_aside_total", dimensions: [("consumer", consumer.name)])
    }

    package func run() async throws {
        let waiter = database.signals.waiter(for: .events)
        try? await cancelWhenGracefulShutdown {
            // A signal comes when its transaction has ended, but an older one may still be open and hide its events. So the
            // feed is looked at a few more times soon after a signal.
            var looks = 0
            var failures = 0
            while !Task.isCancelled {
                do {
                    let count = try await self.runOnce()
                    failures = 0
                    looks = count > 0 ? 0 : looks + 1
                    if count > 0, self.isBehind(count) { continue }
                } catch is CancellationError {
                    return
                } catch {
                    self.failed.increment()
                    failures += 1
                    self.logger.error(
                        "events could not be consumed and will be again",
                        metadata: ["error": "\(JobReason.of(error))"]
                    )
                    try await Task.sleep(
                        for: RetryPolicy(ceiling: .seconds(30)).wait(afterAttempt: failures, jitter: 0)
                    )
                    continue
                }
                await waiter.wait(atMost: looks <= 8 ? .milliseconds(250) : .seconds(1))
            }
        }
    }

    /// Whether there may be more to read at once.
    private func isBehind(_ count: Int) -> Bool {
        count == Self.batchLimit || state.withLock { $0.oneByOneThrough != nil }
    }

    /// Hands over the next events, at most 200.
    ///
    /// - Returns: How many, those that were set aside among them; 0 also while another node is at it.
    @discardableResult
    package func runOnce() async throws -> Int {
        try await findPlace()
        let isOneByOne = state.withLock { $0.oneByOneThrough != nil }
        // What the transaction was about when it failed; the error itself belongs to the database's driver as well.
        let attempted = Mutex<Attempted?>(nil)
        do {
            let batch = try await hand(over: isOneByOne ? 1 : Self.batchLimit) { value in
                attempted.withLock { $0 = value }
            }
            if let last = batch.last { passed(last) }
            for entry in batch.unreadable { tell(entry) }
            if batch.isPlaceLost {
                logger.error("the consumer's place is lost and will be found anew")
                state.withLock { state in
                    state.hasPlace = false
                    state.hasLostPlace = true
                }
            }
            if batch.isLooked {
                let wait = batch.heldBackSince.map { max(now() - $0, .zero) } ?? .zero
                delay.record(Double(wait.wholeMilliseconds) / 1_000)
            }
            if batch.count > 0 { consumed.increment(by: batch.count) }
            return batch.count
        } catch {
            guard let attempted = attempted.withLock({ $0 }) else { throw error }
            return try await failed(attempted, error)
        }
    }

    // MARK: Steps

    private struct Batch: Sendable {
        var count = 0
        var last: EventPlace?
        var unreadable: [UnreadableEntry] = []
        /// Whether the feed was looked at; not while another node is at it.
        var isLooked = false
        /// The consumer's row is gone, or has another name.
        var isPlaceLost = false
        /// See ``EventFeed/FeedPage/heldBackSince``.
        var heldBackSince: Timestamp?
    }

    /// The events that were handed over.
    private struct Attempted: Sendable {
        let first: FeedEntry
        let last: EventPlace
        let count: Int
    }

    private func hand(
        over limit: Int,
        note: @escaping @Sendable (Attempted?) -> Void
    ) async throws -> Batch {
        let (consumer, now) = (consumer, now())
        // Each statement has to see what was committed before it: the events those before the lock was had.
        return try await database.write(for: .feed, isolation: .readCommitted) { tx in
            try tx.stayOnIndexes()
            guard let place = try Self.place(of: consumer.name, tx) else {
                let isThere: Int? = try tx.value("SELECT 1 FROM event_consumers WHERE name = \(consumer.name)")
                return Batch(isPlaceLost: isThere == nil)
            }
            let page = try EventFeed.page(after: place, limit: limit, in: tx)
            let entries = page.entries
            guard let first = entries.first, let last = entries.last else {
                return Batch(isLooked: true, heldBackSince: page.heldBackSince)
            }
            if consumer.planner == .free { try tx.planFreely() }
            note(Attempted(first: first, last: last.place, count: entries.count))
            // What cannot be read is no event that a consumer could handle.
            let unreadable = entries.compactMap(\.unreadable)
            for entry in unreadable { try Self.setAside(entry, for: consumer.name, tx, at: now) }
            let events = entries.compactMap(\.event)
            if !events.isEmpty { try consumer.consume(events, in: tx) }
            try Self.move(consumer.name, to: last.place, tx, at: now)
            return Batch(
                count: entries.count,
                last: last.place,
                unreadable: unreadable,
                isLooked: true,
                heldBackSince: page.heldBackSince
            )
        }
    }

    /// Decides what becomes of events that the consumer could not handle.
    ///
    /// - Returns: How many events were set aside.
    private func failed(_ attempted: Attempted, _ error: any Error) async throws -> Int {
        if case StorageError.timedOut = error, attempted.count > 1 {
            // So many do not fit into one transaction.
        } else if !Self.isOfEvents(error) {
            throw error
        }
        guard attempted.count == 1 else {
            state.withLock { $0.oneByOneThrough = attempted.last }
            return 0
        }
        let failures = state.withLock { state in
            let before = state.failing?.place == attempted.first.place ? state.failing?.failures ?? 0 : 0
            state.failing = (attempted.first.place, before + 1)
            return before + 1
        }
        guard failures >= Self.tries else { throw error }
        let entry = UnreadableEntry(
            place: attempted.first.place,
            organization: attempted.first.organization,
            type: attempted.first.type,
            reason: JobReason.of(error)
        )
        let (name, now) = (consumer.name, now())
        let isMine = try await database.write(for: .feed, isolation: .readCommitted) { tx in
            guard let place = try Self.place(of: name, tx), place < entry.place else { return false }
            try Self.setAside(entry, for: name, tx, at: now)
            try Self.move(name, to: entry.place, tx, at: now)
            return true
        }
        guard isMine else { return 0 }
        tell(entry)
        passed(entry.place)
        return 1
    }

    /// Whether an error says something about the events, and not about the database.
    private static func isOfEvents(_ error: any Error) -> Bool {
        switch error {
        case is CancellationError: false
        case let error as StorageError:
            switch error {
            case .violation, .unexpectedValue, .unstorable, .database: true
            default: false
            }
        default: true
        }
    }

    private func tell(_ entry: UnreadableEntry) {
        setAside.increment()
        logger.error(
            "an event could not be handled and is set aside",
            metadata: [
                "event": "\(entry.place)", "event_type": "\(entry.type ?? "unreadable")", "reason": "\(entry.reason)",
            ]
        )
    }

    private func passed(_ place: EventPlace) {
        state.withLock { state in
            state.failing = nil
            if let end = state.oneByOneThrough, end <= place { state.oneByOneThrough = nil }
        }
    }

    // MARK: Rows

    /// Gives a new consumer its place.
    private func findPlace() async throws {
        let (hasPlace, hasLostPlace) = state.withLock { ($0.hasPlace, $0.hasLostPlace) }
        guard !hasPlace else { return }
        let (consumer, now) = (consumer, now())
        try await database.write(for: .feed, isolation: .readCommitted) { tx in
            // Handing events over again is better than losing them.
            let start = consumer.start == .now && !hasLostPlace ? try EventFeed.end(in: tx) : .beginning
            try tx.run(
                """
                INSERT INTO event_consumers (name, transaction_number, position, updated_at)
                VALUES (\(consumer.name), \(start.transactionNumber), \(start.position), \(now)) ON CONFLICT DO NOTHING
                """
            )
        }
        state.withLock { $0.hasPlace = true }
    }

    /// The place, which is this node's until the transaction ends; nil while another node is at it.
    ///
    /// One that cannot be read is begun anew at the beginning: handing events over again is better than losing them.
    private static func place(of name: String, _ tx: any Transaction) throws -> EventPlace? {
        try tx.rows(
            "SELECT transaction_number, position FROM event_consumers WHERE name = \(name) \(.skipLocked)"
        ) { row in EventPlace(ofConsumer: &row) ?? .beginning }.first
    }

    private static func move(_ name: String, to place: EventPlace, _ tx: any Transaction, at now: Timestamp) throws {
        // Waits for its answer, so that what the consumer only sent fails here and not with the commit.
        try tx.execute(
            """
            UPDATE event_consumers SET transaction_number = \(place.transactionNumber), position = \(place.position),
                updated_at = \(now)
            WHERE name = \(name)
            """
        )
    }

    private static func setAside(
        _ entry: UnreadableEntry,
        for name: String,
        _ tx: any Transaction,
        at now: Timestamp
    ) throws {
        // What SQLite lets others write is not what may be stored.
        let type = entry.type?.replacing("\0", with: "\u{FFFD}") ?? "unreadable"
        try tx.run(
            """
            INSERT INTO set_aside_events (organization_id, consumer, position, transaction_number, type, reason, created_at)
            VALUES (\(entry.organization ?? .zero), \(name), \(entry.place.position), \(entry.place.transactionNumber),
                \(type), \(entry.reason), \(now))
            ON CONFLICT DO NOTHING
            """
        )
    }
}
