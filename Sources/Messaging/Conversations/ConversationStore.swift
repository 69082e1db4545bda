package import Kernel
package import Storage

extension Conversation: RowDecodable {
    package init(row: inout Row) throws {
        id = try row.next()
        contactID = try row.next()
        channelID = try row.next()
        agentID = try row.next()
        status = try row.next()
        handler = try row.next()
        version = try row.next()
        reply = Answering.Summary(try row.next(), error: try row.next())
        lastSequence = try row.next()
        exclusive = try row.next()
        externalID = try row.next()
        metadata = try row.next()
        lastMessageAt = try row.next()
        createdAt = try row.next()
        updatedAt = try row.next()
    }
}

/// Which conversations a list shows.
package struct ConversationFilter: Sendable {
    package var status: Conversation.Status?
    package var handler: Conversation.Handler?
    package var contactID: ID<Contact>?
    package var channelID: ID<Channel>?

    package init() {}

    /// How many of them are set.
    var conditions: Int {
        [status != nil, handler != nil, contactID != nil, channelID != nil].count { $0 }
    }
}

package struct ConversationStore {
    package let tx: any Transaction
    package let scope: OrganizationScope

    package init(tx: any Transaction, scope: OrganizationScope) {
        self.tx = tx
        self.scope = scope
    }

    static let columns: SQL = """
        id, contact_id, channel_id, ai_agent_id, status, handled_by, version, reply_state, reply_error,
        last_sequence, exclusive, external_id, metadata, last_message_at, created_at, updated_at
        """

    static func find(_ id: ID<ConversationEntity>, in scope: OrganizationScope) -> Query<Conversation?> {
        .first("SELECT \(columns) FROM conversations WHERE organization_id = \(scope.id) AND id = \(id)")
    }

    package func find(_ id: ID<ConversationEntity>) throws -> Conversation? {
        try tx.fetch(Self.find(id, in: scope))
    }

    /// One page, newest first, as JSON straight from the rows.
    static func page(
        _ filter: ConversationFilter,
        _ page: PageRequest,
        in scope: OrganizationScope
    ) -> Query<[UInt8]> {
        let filters: [SQL?] = [
            filter.status.map { "status = \($0)" }, filter.handler.map { "handled_by = \($0)" },
            filter.contactID.map { "contact_id = \($0)" }, filter.channelID.map { "channel_id = \($0)" },
        ]
        return Listing(of: "conversations", columns, in: scope, page, where: filters)
            .bytes(time: 14) { row, json in try ConversationBody.write(row: &row, to: &json) }
    }

    func insert(_ conversation: Conversation) throws {
        try tx.run(
            """
            INSERT INTO conversations (organization_id, \(Self.columns))
            VALUES (\(scope.id), \(conversation.id), \(conversation.contactID), \(conversation.channelID),
                \(conversation.agentID), \(conversation.status), \(conversation.handler), \(conversation.version),
                \(conversation.reply.state), \(conversation.reply.error), \(conversation.lastSequence),
                \(conversation.exclusive), \(conversation.externalID), \(conversation.metadata),
                \(conversation.lastMessageAt), \(conversation.createdAt), \(conversation.updatedAt))
            """,
            violations: Self.violations(conversation)
        )
    }

    package func save(_ conversation: Conversation) throws {
        try tx.run(
            """
            UPDATE conversations SET status = \(conversation.status), handled_by = \(conversation.handler),
                version = \(conversation.version), reply_state = \(conversation.reply.state),
                reply_error = \(conversation.reply.error), last_sequence = \(conversation.lastSequence),
                metadata = \(conversation.metadata), last_message_at = \(conversation.lastMessageAt),
                updated_at = \(conversation.updatedAt)
            WHERE organization_id = \(scope.id) AND id = \(conversation.id)
            """,
            violations: Self.violations(conversation)
        )
    }

    /// Takes an agent away from at most `limit` conversations, which is an edit of each.
    ///
    /// - Returns: How many there were.
    package func release(_ agent: ID<AgentEntity>, limit: Int, at now: Timestamp) throws -> Int {
        try tx.execute(
            """
            UPDATE conversations SET ai_agent_id = NULL, version = version + 1,
                updated_at = CASE WHEN updated_at < \(now) THEN \(now) ELSE updated_at END
            WHERE organization_id = \(scope.id) AND id IN (
                SELECT id FROM conversations
                WHERE organization_id = \(scope.id) AND ai_agent_id = \(agent) LIMIT \(limit: limit)
            )
            """
        )
    }

    private static func violations(_ conversation: Conversation) -> [ConstraintMapping] {
        [
            .unique("conversations_organization_id_channel_id_contact_id_key", ConversationError.alreadyOpen),
            .unique(
                "conversations_organization_id_channel_id_external_id_key",
                ConversationError.externalIDTaken(conversation.externalID ?? "")
            ),
        ]
    }
}

extension Database {
    /// Changes a conversation, which the body locks first.
    ///
    /// The lock puts all who write in a conversation in a row, and each statement after it sees what they left.
    /// Serializable would make those who wait for the lock begin again instead.
    package func changeConversation<Value: Sendable>(
        _ scope: OrganizationScope,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await write(scope, isolation: .readCommitted, body)
    }
}
