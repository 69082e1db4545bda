package import Kernel
package import Storage

/// A row of the feed that names no event which anybody could handle, or one that a consumer failed to.
package struct UnreadableEntry: Sendable {
    package let place: EventPlace
    package let organization: ID<OrganizationEntity>?
    package let type: String?
    package let reason: String
}

/// A row of the feed.
package enum FeedEntry: Sendable {
    case event(RecordedEvent)
    case unreadable(UnreadableEntry)

    package var place: EventPlace {
        switch self {
        case .event(let event): event.place
        case .unreadable(let entry): entry.place
        }
    }

    /// Reads a row of `RecordedEvent.columns`, whatever it holds.
    ///
    /// - Throws: Only when the row has no position, which is its key.
    init(row: inout Row) throws {
        var whole = row
        do {
            self = .event(try RecordedEvent(row: &whole))
        } catch {
            let number = (try? row.next(Int64.self)) ?? 0
            let position = try row.next(Int64.self)
            row.skip()
            let organization = try? row.next(ID<OrganizationEntity>.self)
            let type = try? row.next(String.self)
            self = .unreadable(
                UnreadableEntry(
                    place: EventPlace(transactionNumber: number, position: position),
                    organization: organization,
                    type: type,
                    reason: "the row could not be read: \(error)"
                )
            )
        }
    }
}

/// Reads the feed in the order in which transactions began to write, and within one in the order of recording.
///
/// Numbers are given out before commits, so a transaction that began earlier may commit later than one whose events are
/// already there. The feed therefore ends before the oldest transaction that is still open: what is behind a place is complete.
package enum EventFeed {
    /// The events of all organizations, in a transaction of `SystemPurpose.feed`; rows that cannot be read are left out.
    package static func read(after place: EventPlace, limit: Int, in tx: any Transaction) throws -> [RecordedEvent] {
        try entries(after: place, limit: limit, in: tx).compactMap {
            if case .event(let event) = $0 { event } else { nil }
        }
    }

    /// All rows, in a transaction of `SystemPurpose.feed`.
    static func entries(after place: EventPlace, limit: Int, in tx: any Transaction) throws -> [FeedEntry] {
        if tx.dialect == .sqlite {
            // One writer, so positions alone are in the order of commits, and they are the key of the table.
            return try tx.rows(
                """
                SELECT \(RecordedEvent.columns) FROM events WHERE position > \(max(place.position, -1))
                ORDER BY position LIMIT \(limit: limit)
                """
            ) { row in try FeedEntry(row: &row) }
        }
        return try tx.rows(
            """
            SELECT \(RecordedEvent.columns) FROM events
            WHERE (transaction_number, position) > (\(place.transactionNumber), \(place.position))
                AND transaction_number < \(.oldestOpenTransaction)
            ORDER BY transaction_number, position LIMIT \(limit: limit)
            """
        ) { row in try FeedEntry(row: &row) }
    }

    /// Where the whole feed ends now, in a transaction of `SystemPurpose.feed`: the place of a consumer that begins now.
    static func end(in tx: any Transaction) throws -> EventPlace {
        // On PostgreSQL transactions that are open may still record events, with lower numbers than those that are there.
        try tx.rows(
            """
            SELECT transaction_number, position FROM events WHERE transaction_number < \(.oldestOpenTransaction)
            ORDER BY transaction_number DESC, position DESC LIMIT 1
            """
        ) { row in
            EventPlace(transactionNumber: (try? row.next()) ?? 0, position: try row.next())
        }.first ?? .beginning
    }

    /// One organization, in a transaction of its own.
    package static func read(
        after place: EventPlace,
        of scope: OrganizationScope,
        limit: Int,
        in tx: any Transaction
    ) throws -> [RecordedEvent] {
        try tx.all(
            """
            SELECT \(RecordedEvent.columns) FROM events
            WHERE organization_id = \(scope.id)
                AND (transaction_number, position) > (\(place.transactionNumber), \(place.position))
                AND transaction_number < \(.oldestOpenTransaction)
            ORDER BY transaction_number, position LIMIT \(limit: limit)
            """
        )
    }

    /// Where one organization's feed ends now: the place from which a live stream begins.
    package static func end(of scope: OrganizationScope, in tx: any Transaction) throws -> EventPlace {
        try tx.rows(
            """
            SELECT transaction_number, position FROM events
            WHERE organization_id = \(scope.id) AND transaction_number < \(.oldestOpenTransaction)
            ORDER BY transaction_number DESC, position DESC LIMIT 1
            """
        ) { row in EventPlace(transactionNumber: try row.next(), position: try row.next()) }.first ?? .beginning
    }
}
