package import Kernel
package import Logging
import Metrics
import ServiceLifecycle
package import Storage
import Synchronization

/// Somebody who reads the whole feed, every event once.
package protocol EventConsumer: Sendable {
    /// Names its place, for ever: `audit`.
    var name: String { get }

    /// Takes note of events, in order, in the transaction (`SystemPurpose.feed`) that moves the place behind them. May be
    /// called again with the same events after a failure, whose effects are gone then; outside work is a job. An error keeps the
    /// place where it is: the feed waits for this consumer to get over an event.
    func consume(_ events: [RecordedEvent], in tx: any Transaction) throws
}

/// Feeds one consumer.
///
/// Any number of nodes may run it.
package final class EventConsumerLoop: Service {
    private static let batchLimit = 200

    private let database: any Database
    private let consumer: any EventConsumer
    private let logger: Logger
    private let now: @Sendable () -> Timestamp
    private let hasPlace = Mutex(false)
    private let consumed: Counter
    private let failed: Counter

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
                    if count == Self.batchLimit { continue }
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

    /// Hands over the next events, at most 200.
    ///
    /// - Returns: How many; 0 also while another node is at it.
    @discardableResult
    package func runOnce() async throws -> Int {
        let (consumer, now) = (consumer, now())
        if !hasPlace.withLock({ $0 }) {
            try await database.write(for: .feed, isolation: .readCommitted) { tx in
                try tx.run(
                    """
                    INSERT INTO event_consumers (name, transaction_number, position, updated_at)
                    VALUES (\(consumer.name), \(EventPlace.beginning.transactionNumber), \(EventPlace.beginning.position),
                        \(now))
                    ON CONFLICT DO NOTHING
                    """
                )
            }
            hasPlace.withLock { $0 = true }
        }
        // Each statement has to see what was committed before it: the events those before the lock was had.
        let count = try await database.write(for: .feed, isolation: .readCommitted) { tx in
            try tx.stayOnIndexes()
            let places = try tx.rows(
                """
                SELECT transaction_number, position FROM event_consumers WHERE name = \(consumer.name) \(.skipLocked)
                """
            ) { row in EventPlace(transactionNumber: try row.next(), position: try row.next()) }
            guard let place = places.first else { return 0 }
            let events = try EventFeed.read(after: place, limit: Self.batchLimit, in: tx)
            guard let last = events.last else { return 0 }
            try consumer.consume(events, in: tx)
            try tx.run(
                """
                UPDATE event_consumers SET transaction_number = \(last.place.transactionNumber),
                    position = \(last.place.position), updated_at = \(now)
                WHERE name = \(consumer.name)
                """
            )
            return events.count
        }
        if count > 0 { consumed.increment(by: count) }
        return count
    }
}
