package import Kernel
package import Storage

/// Marks the ids of events.
package enum EventEntity {}

extension SystemPurpose {
    /// Reads the event feed for its consumers.
    package static let feed = SystemPurpose("feed")
}

extension Signal {
    /// An event entered the feed.
    package static let events = Signal("e")
}

/// A place in the feed: everything up to it, inclusive, has been read.
package struct EventPlace: Sendable, Hashable, Comparable, CustomStringConvertible {
    package let transactionNumber: Int64
    package let position: Int64

    package static let beginning = EventPlace(transactionNumber: -1, position: -1)

    package init(transactionNumber: Int64, position: Int64) {
        self.transactionNumber = transactionNumber
        self.position = position
    }

    /// The form that callers keep, as the id of a server-sent event: `742-1093`.
    package var description: String { "\(transactionNumber)-\(position)" }

    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let transactionNumber = Int64(parts[0]), let position = Int64(parts[1]),
            transactionNumber >= 0, position >= 0
        else { return nil }
        self.init(transactionNumber: transactionNumber, position: position)
    }

    /// Reads the place in a consumer's row.
    ///
    /// nil when it cannot be read, or when its numbers are such as no database gives out: nothing would ever come after it.
    init?(ofConsumer row: inout Row) {
        let number = try? row.next(Int64.self)
        let position = try? row.next(Int64.self)
        let largest = Int64.max / 2
        guard let number, let position, number <= largest, position <= largest else { return nil }
        self.init(transactionNumber: number, position: position)
    }

    package static func < (left: EventPlace, right: EventPlace) -> Bool {
        (left.transactionNumber, left.position) < (right.transactionNumber, right.position)
    }
}

/// An event as the feed hands it out.
package struct RecordedEvent: Sendable, RowDecodable {
    package let place: EventPlace
    package let id: ID<EventEntity>
    package let organization: ID<OrganizationEntity>
    /// The name of its type.
    package let type: String
    package let resource: String
    package let subject: String
    /// The name of a kind that may be unknown to this node: `user`.
    package let actorKind: String
    package let actorID: String?
    package let data: JSON
    package let changes: JSON?
    package let requestID: String?
    package let address: String?
    package let userAgent: String?
    package let createdAt: Timestamp

    static let columns: SQL = "transaction_number, \(columnsAfterNumber)"

    /// On SQLite, where positions alone say the order and no transaction has a number, 0 stands before them.
    static let columnsAfterNumber: SQL = """
        position, id, organization_id, type, resource, subject_id, actor_kind, actor_id, data, \
        changes, request_id, ip_address, user_agent, created_at
        """

    package init(row: inout Row) throws {
        place = EventPlace(transactionNumber: try row.next(), position: try row.next())
        id = try row.next()
        organization = try row.next()
        type = try row.next()
        resource = try row.next()
        subject = try row.next()
        actorKind = try row.next()
        actorID = try row.next()
        data = try row.next()
        changes = try row.next()
        requestID = try row.next()
        address = try row.next(InetText?.self)?.text
        userAgent = try row.next()
        createdAt = try row.next()
    }
}

extension Transaction {
    /// Adds an event to the feed; audit log, webhooks, workflows, live streams and analytics see it once this transaction
    /// has committed.
    package func record(_ event: Event, in scope: OrganizationScope, id: ID<EventEntity> = ID(), now: Timestamp) throws
    {
        try run(
            """
            INSERT INTO events (transaction_number, organization_id, id, type, resource, subject_id, actor_kind, actor_id,
                data, changes, request_id, ip_address, user_agent, created_at)
            VALUES (\(.transactionNumber), \(scope.id), \(id), \(event.type.name), \(event.type.resource),
                \(event.subject), \(scope.actor.kind.name), \(scope.actor.id.sqlValue), \(event.data),
                \(event.changes.sqlValue), \((scope.origin?.requestID).sqlValue),
                \((scope.origin?.address).map(InetText.init).sqlValue), \((scope.origin?.userAgent).sqlValue), \(now))
            """
        )
        signal(.events)
    }
}
