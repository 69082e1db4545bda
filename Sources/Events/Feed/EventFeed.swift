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

    /// nil when the row can be read.
    var unreadable: UnreadableEntry? { if case .unreadable(let entry) = self { entry } else { nil } }

    var organization: ID<OrganizationEntity>? {
        switch self {
        case .event(let event): event.organization
        case .unreadable(let entry): entry.organization
        }
    }

    /// The name of the event's type.
    var type: String? {
        switch self {
        case .event(let event): event.type
        case .unreadable(let entry): entry.type
        }
    }

    /// nil when the row cannot be read.
    package var event: RecordedEvent? { if case .event(let event) = self { event } else { nil } }

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
                    type: type.map(JobReason.clean),
                    reason: "the row could not be read (\(JobReason.of(error)))"
                )
            )
        }
    }
}

/// Reads the feed in the order in which transactions began to write, and within one in the order of recording.
///
/// Numbers are given out before commits, so a transaction that began earlier may commit later than one whose events are
/// already there. The feed therefore ends before the oldest transaction that is still open and may be one of this database:
/// what is behind a place is complete.
///
/// In a transaction that is `.readCommitted` what could be read once can be read again. In one snapshot (`Database.read`) an
/// event may be missing for a moment that was there before: when the transaction of another database that it came after ended
/// since the snapshot, nobody can say any more whose it was.
package enum EventFeed {
    /// What comes after a place.
    package struct FeedPage: Sendable {
        package var entries: [FeedEntry]
        /// When the oldest event was recorded that is there and cannot be read, because an older transaction may still record
        /// one that comes before it.
        package var heldBackSince: Timestamp?
    }

    /// The events of all organizations, in a transaction of `SystemPurpose.feed`; rows that cannot be read are left out.
    package static func read(after place: EventPlace, limit: Int, in tx: any Transaction) throws -> [RecordedEvent] {
        try page(after: place, limit: limit, in: tx).entries.compactMap(\.event)
    }

    /// One organization, in a transaction of its own; rows that cannot be read are left out.
    package static func read(
        after place: EventPlace,
        of scope: OrganizationScope,
        limit: Int,
        in tx: any Transaction
    ) throws -> [RecordedEvent] {
        try page(after: place, of: scope, limit: limit, in: tx).entries.compactMap(\.event)
    }

    /// All organizations, or one in a transaction of its own.
    package static func page(
        after place: EventPlace,
        of scope: OrganizationScope? = nil,
        limit: Int,
        in tx: any Transaction
    ) throws -> FeedPage {
        if tx.dialect == .sqlite, scope == nil {
            // One writer, so positions alone are in the order of commits, and they are the key of the table.
            let entries = try tx.rows(
                """
                SELECT 0, \(RecordedEvent.columnsAfterNumber) FROM events WHERE position > \(max(place.position, -1))
                ORDER BY position LIMIT \(limit: limit)
                """
            ) { row in try FeedEntry(row: &row) }
            return FeedPage(entries: entries, heldBackSince: nil)
        }
        var page = try page(after: place, of: scope, limit: limit, passing: [], in: tx)
        guard page.heldBackSince != nil, page.entries.count < limit else { return page }
        // Transactions of other databases have numbers too, and may be open for hours. Those that have ended meanwhile are not
        // among the others any more, and nothing waits for them: so this is read again in any case.
        let others = try tx.transactionsOfOtherDatabases()
        let more = try self.page(
            after: page.entries.last?.place ?? place,
            of: scope,
            limit: limit - page.entries.count,
            passing: others,
            in: tx
        )
        page.entries += more.entries
        page.heldBackSince = more.heldBackSince
        return page
    }

    /// When the oldest event of all organizations was recorded that cannot be read; nil when all can.
    package static func heldBackSince(in tx: any Transaction) throws -> Timestamp? {
        guard tx.dialect == .postgres else { return nil }
        let end = EventPlace(transactionNumber: .max, position: .max)
        return try page(after: end, limit: 1, in: tx).heldBackSince
    }

    /// Where the feed ends now: the place from which a live stream of one organization begins, or a consumer of all.
    package static func end(of scope: OrganizationScope? = nil, in tx: any Transaction) throws -> EventPlace {
        let own: SQL = scope.map { "organization_id = \($0.id) AND" } ?? ""
        func end(before bound: SQL) throws -> EventPlace? {
            try tx.rows(
                """
                SELECT transaction_number, position FROM events WHERE \(own) transaction_number < \(bound)
                ORDER BY transaction_number DESC, position DESC LIMIT 1
                """
            ) { row in EventPlace(transactionNumber: (try? row.next()) ?? 0, position: try row.next()) }.first
        }
        // First whether anything is held back: nothing that is there then ends up behind a bound that is taken later.
        let mark = EventPlace(transactionNumber: .max, position: .max)
        let isHeldBack = try page(after: mark, of: scope, limit: 0, passing: [], in: tx).heldBackSince != nil
        let others = isHeldBack ? try tx.transactionsOfOtherDatabases() : []
        return try end(before: .oldestOpenTransaction(besides: others)) ?? .beginning
    }

    /// The first that cannot be read, and what can, in one round trip.
    ///
    /// In this order, because each statement has a snapshot of its own: what the first finds open may have ended before the
    /// second. The other way around an event could be in neither.
    private static func page(
        after place: EventPlace,
        of scope: OrganizationScope?,
        limit: Int,
        passing others: [Int64],
        in tx: any Transaction
    ) throws -> FeedPage {
        let own: SQL = scope.map { "organization_id = \($0.id) AND" } ?? ""
        let bound = SQL.oldestOpenTransaction(besides: others)
        var page = FeedPage(entries: [], heldBackSince: nil)
        var heldBack = EventPlace.beginning
        _ = try tx.batch([
            """
            SELECT transaction_number, position, created_at FROM events
            WHERE \(own) transaction_number >= \(bound)
            ORDER BY transaction_number, position LIMIT 1
            """,
            """
            SELECT \(RecordedEvent.columns) FROM events
            WHERE \(own) (transaction_number, position) > (\(place.transactionNumber), \(place.position))
                AND transaction_number < \(bound)
            ORDER BY transaction_number, position LIMIT \(limit: limit)
            """,
        ]) { statement, row in
            if statement == 0 {
                heldBack = EventPlace(
                    transactionNumber: (try? row.next()) ?? 0,
                    position: (try? row.next()) ?? 0
                )
                page.heldBackSince = try? row.next()
            } else {
                page.entries.append(try FeedEntry(row: &row))
            }
        }
        // What held it back has ended between the two.
        if let last = page.entries.last?.place, last >= heldBack { page.heldBackSince = nil }
        return page
    }
}
