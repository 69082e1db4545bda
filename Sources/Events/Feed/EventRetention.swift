import Kernel
package import Storage

extension Purge {
    /// Deletes old events that every consumer has passed.
    ///
    /// - Parameters:
    ///   - consumers: The names of all consumers. One that has not begun keeps everything.
    ///   - age: Younger events are kept.
    package static func events(
        passedBy consumers: [String],
        keeping age: Duration = .seconds(30 * 86_400),
        batch: Int = 1_000
    ) -> Purge {
        Purge("events") { database, now in
            let before = now - age
            // Places only move forward, so what they have passed now they have passed later.
            let passed = try await database.read(for: .feed) { tx -> EventPlace? in
                let places = try tx.rows(
                    "SELECT transaction_number, position FROM event_consumers WHERE name IN \(list: consumers)"
                ) { row in EventPlace(ofConsumer: &row) ?? .beginning }
                return places.count == consumers.count ? places.min() : nil
            }
            guard let passed else { return 0 }
            return try await repeated(batch: batch) {
                try await database.write(for: .maintenance, isolation: .readCommitted) { tx in
                    try tx.execute(
                        """
                        DELETE FROM events WHERE position IN (
                            SELECT position FROM events
                            WHERE created_at < \(before)
                                AND (transaction_number, position) <= (\(passed.transactionNumber), \(passed.position))
                            ORDER BY created_at LIMIT \(limit: batch)
                        )
                        """
                    )
                }
            }
        }
    }
}
