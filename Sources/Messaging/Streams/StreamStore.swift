package import Kernel
package import Storage

/// One entry of a conversation's live stream.
///
/// The stream is append-only: whoever has seen sequence *n* resumes at *n + 1* and misses nothing.
package struct StreamEntry: Sendable {
    package enum Kind: String, Sendable, CaseIterable, StoredEnumeration {
        case messageCreated = "message.created"
        case replyStarted = "reply.started"
        /// A piece of the answer's text, to be appended to the pieces since `reply.started`.
        case replyDelta = "reply.delta"
        case replyCompleted = "reply.completed"
        /// The try failed and another one is scheduled; the pieces so far do not count.
        case replyRetrying = "reply.retrying"
        case replyFailed = "reply.failed"
        /// The answer was given up because the conversation changed hands or was closed.
        case replyCancelled = "reply.cancelled"
        case conversationUpdated = "conversation.updated"

        /// Whether nothing more of the answer follows.
        package var endsReply: Bool {
            switch self {
            case .replyCompleted, .replyFailed, .replyCancelled: true
            case .messageCreated, .replyStarted, .replyDelta, .replyRetrying, .conversationUpdated: false
            }
        }
    }

    package let sequence: Int64
    package let kind: Kind
    /// Encoded JSON: the message for `message.created` and `reply.completed`, else what the entry was recorded with.
    package let data: [UInt8]
}

package struct StreamStore {
    package let tx: any Transaction
    package let scope: OrganizationScope

    package init(tx: any Transaction, scope: OrganizationScope) {
        self.tx = tx
        self.scope = scope
    }

    /// How long entries can be replayed; the messages themselves stay.
    static let retention = Duration.seconds(24 * 3_600)

    static let purge = Purge("conversation_events", batch: 5_000) { now, limit in
        """
        DELETE FROM conversation_events WHERE (organization_id, conversation_id, sequence) IN (
            SELECT organization_id, conversation_id, sequence FROM conversation_events
            WHERE created_at < \(now - retention) ORDER BY created_at LIMIT \(limit: limit)
        )
        """
    }

    /// Appends an entry at the conversation's next place; the caller saves the conversation.
    package func append(
        _ kind: StreamEntry.Kind,
        to conversation: inout Conversation,
        message: ID<Message>? = nil,
        data: JSON = [:],
        at now: Timestamp
    ) throws {
        try insert(kind, in: conversation.id, at: conversation.advance(), message: message, data: data, now)
    }

    /// Appends a piece of an answer when the conversation is still in the epoch in which the answer was begun.
    ///
    /// - Returns: Whether it is.
    package func appendDelta(
        _ text: String,
        to conversation: Conversation.Identifier,
        epoch: Int64,
        at now: Timestamp
    ) throws -> Bool {
        let sequence: Int64? = try tx.value(
            """
            UPDATE conversations SET last_sequence = last_sequence + 1
            WHERE organization_id = \(scope.id) AND id = \(conversation) AND epoch = \(epoch) RETURNING last_sequence
            """
        )
        guard let sequence else { return false }
        try insert(.replyDelta, in: conversation, at: sequence, message: nil, data: ["text": .string(text)], now)
        return true
    }

    /// What the newest entry of a kind was recorded with.
    package func latest(_ kind: StreamEntry.Kind, in conversation: Conversation.Identifier) throws -> JSON? {
        try tx.value(
            """
            SELECT data FROM conversation_events
            WHERE organization_id = \(scope.id) AND conversation_id = \(conversation) AND type = \(kind)
            ORDER BY sequence DESC LIMIT 1
            """
        )
    }

    private func insert(
        _ kind: StreamEntry.Kind,
        in conversation: Conversation.Identifier,
        at sequence: Int64,
        message: ID<Message>?,
        data: JSON,
        _ now: Timestamp
    ) throws {
        try tx.run(
            """
            INSERT INTO conversation_events
                (organization_id, conversation_id, sequence, type, message_id, data, created_at)
            VALUES (\(scope.id), \(conversation), \(sequence), \(kind), \(message), \(data), \(now))
            """
        )
        tx.signal(.conversation(conversation))
    }

    /// Entries after a place, in order, with the messages that they name.
    static func entries(
        of conversation: Conversation.Identifier,
        after sequence: Int64,
        limit: Int,
        in scope: OrganizationScope
    ) -> Query<[StreamEntry]> {
        Query(
            """
            SELECT e.sequence, e.type, e.data,
                m.id, m.conversation_id, m.direction, m.role, m.content, m.external_id, m.metadata, m.created_at
            FROM conversation_events e
            LEFT JOIN messages m ON m.organization_id = e.organization_id AND m.id = e.message_id
            WHERE e.organization_id = \(scope.id) AND e.conversation_id = \(conversation) AND e.sequence > \(sequence)
            ORDER BY e.sequence LIMIT \(limit: limit)
            """
        ) { rows in
            var entries: [StreamEntry] = []
            while var row = try rows.next() {
                let sequence: Int64 = try row.next()
                let kind: StreamEntry.Kind = try row.next()
                var json = JSONWriter(reservingCapacity: 512)
                if row.source.isNull(3) {
                    try row.copyJSON(to: &json)
                } else {
                    row.skip()
                    try MessageBody.write(row: &row, to: &json)
                }
                entries.append(StreamEntry(sequence: sequence, kind: kind, data: json.bytes))
            }
            return entries
        }
    }
}
