package import Kernel
package import Storage

/// Deletes old events that every consumer has passed.
package struct EventRetention: Sendable {
    private static let batchLimit = 1_000

    private let database: any Database
    private let consumers: [String]
    private let age: Duration

    /// - Parameters:
    ///   - consumers: The names of all consumers. One that has not begun keeps everything.
    ///   - age: Younger events are kept.
    package init(database: any Database, consumers: [String], keeping age: Duration = .seconds(30 * 86_400)) {
        self.database = database
        self.consumers = consumers
        self.age = age
    }

    /// - Returns: How many events were deleted.
    @discardableResult
    package func purge(now: Timestamp) async throws -> Int {
        let (consumers, before) = (consumers, now - age)
        // Places only move forward, so what they have passed now they have passed later.
        let passed = try await database.read(for: .feed) { tx -> EventPlace? in
            let places = try tx.rows(
                "SELECT transaction_number, position FROM event_consumers WHERE name IN \(list: consumers)"
            ) { row in EventPlace(transactionNumber: try row.next(), position: try row.next()) }
            return places.count == consumers.count ? places.min() : nil
        }
        guard let passed else { return 0 }
        var sum = 0
        while true {
            let count = try await database.write(for: .maintenance, isolation: .readCommitted) { tx in
                try tx.execute(
                    """
                    DELETE FROM events WHERE position IN (
                        SELECT position FROM events
                        WHERE created_at < \(before)
                            AND (transaction_number, position) <= (\(passed.transactionNumber), \(passed.position))
                        ORDER BY created_at LIMIT \(limit: Self.batchLimit)
                    )
                    """
                )
            }
            sum += count
            if count < Self.batchLimit { return sum }
            try Task.checkCancellation()
        }
    }
}
