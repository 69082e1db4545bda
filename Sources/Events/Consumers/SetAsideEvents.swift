package import Kernel
package import Storage

/// An event that a consumer could not handle.
package struct SetAsideEvent: Sendable, Hashable {
    /// `audit`.
    package let consumer: String
    package let place: EventPlace
    /// The name of its type.
    package let type: String
    package let reason: String
    package let setAsideAt: Timestamp
}

/// Shows what consumers set aside.
package struct SetAsideEvents: Sendable {
    /// The most that one list shows.
    package static let limit = 100
    /// What ``count()`` gives for more.
    package static let countLimit = 10_000

    private let database: any Database

    package init(database: any Database) { self.database = database }

    /// The newest of an organization, at most ``limit``.
    package func list(in scope: OrganizationScope) async throws -> [SetAsideEvent] {
        try await database.read(scope) { tx in
            try tx.rows(
                """
                SELECT consumer, transaction_number, position, type, reason, created_at FROM set_aside_events
                WHERE organization_id = \(scope.id) ORDER BY created_at DESC, position DESC LIMIT \(limit: Self.limit)
                """
            ) { row in
                // Whatever a row holds, it is shown.
                let consumer = try? row.next(String.self)
                let number = try? row.next(Int64.self)
                let position = try? row.next(Int64.self)
                let type = try? row.next(String.self)
                let reason = try? row.next(String.self)
                let time = try? row.next(Timestamp.self)
                return SetAsideEvent(
                    consumer: consumer ?? "unreadable",
                    place: EventPlace(transactionNumber: max(number ?? 0, 0), position: max(position ?? 0, 0)),
                    type: type ?? "unreadable",
                    reason: reason ?? "",
                    setAsideAt: time ?? .earliest
                )
            }
        }
    }

    /// How many there are of all organizations, for the administrator; at most ``countLimit``.
    package func count() async throws -> Int {
        try await database.read(for: .feed) { tx in
            try tx.value(
                "SELECT count(*) FROM (SELECT 1 FROM set_aside_events LIMIT \(limit: Self.countLimit)) AS counted",
                as: Int.self
            ) ?? 0
        }
    }
}

extension Purge {
    /// Deletes what was set aside and nobody looked into since.
    package static let setAsideEvents = Purge("set_aside_events") { now, limit in
        """
        DELETE FROM set_aside_events WHERE (organization_id, consumer, position) IN (
            SELECT organization_id, consumer, position FROM set_aside_events
            WHERE created_at < \(now - .seconds(90 * 86_400)) ORDER BY created_at LIMIT \(limit: limit)
        )
        """
    }
}
