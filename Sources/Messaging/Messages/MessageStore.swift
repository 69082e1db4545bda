package import Kernel
package import Storage

extension Message: RowDecodable {
    package init(row: inout Row) throws {
        id = try row.next()
        conversationID = try row.next()
        direction = try row.next()
        role = try row.next()
        content = try row.next()
        externalID = try row.next()
        metadata = try row.next()
        createdAt = try row.next()
    }
}

package struct MessageStore {
    package let tx: any Transaction
    package let scope: OrganizationScope

    package init(tx: any Transaction, scope: OrganizationScope) {
        self.tx = tx
        self.scope = scope
    }

    static let columns: SQL = "id, conversation_id, direction, role, content, external_id, metadata, created_at"

    static func find(
        _ id: ID<Message>,
        in conversation: ID<ConversationEntity>,
        of scope: OrganizationScope
    ) -> Query<Message?> {
        .first(
            """
            SELECT \(columns) FROM messages
            WHERE organization_id = \(scope.id) AND id = \(id) AND conversation_id = \(conversation)
            """
        )
    }

    package func insert(_ message: Message) throws {
        try tx.run(
            """
            INSERT INTO messages (organization_id, \(Self.columns))
            VALUES (\(scope.id), \(message.id), \(message.conversationID), \(message.direction), \(message.role),
                \(message.content), \(message.externalID), \(message.metadata), \(message.createdAt))
            """,
            violations: [
                .unique(
                    "messages_organization_id_conversation_id_external_id_key",
                    MessageError.externalIDTaken(message.externalID ?? "")
                ),
                .foreignKey(ConversationError.unknown(message.conversationID)),
            ]
        )
    }

    /// The newest messages that contact and organization exchanged, oldest first; notes of the system are left out.
    package func latest(_ limit: Int, in conversation: ID<ConversationEntity>) throws -> [Message] {
        let rows: [Message] = try tx.all(
            """
            SELECT \(Self.columns) FROM messages
            WHERE organization_id = \(scope.id) AND conversation_id = \(conversation)
                AND role <> \(Message.Role.system)
            ORDER BY created_at DESC, id DESC LIMIT \(limit: limit)
            """
        )
        return rows.reversed()
    }

    /// The id of the newest message that came in.
    package func latestInbound(in conversation: ID<ConversationEntity>) throws -> ID<Message>? {
        try tx.value(
            """
            SELECT id FROM messages
            WHERE organization_id = \(scope.id) AND conversation_id = \(conversation)
                AND direction = \(Message.Direction.inbound)
            ORDER BY created_at DESC, id DESC LIMIT 1
            """
        )
    }

    /// One page of a conversation, newest first or oldest first, as JSON straight from the rows.
    static func page(
        of conversation: ID<ConversationEntity>,
        _ page: PageRequest,
        ascending: Bool,
        in scope: OrganizationScope
    ) -> Query<(json: [UInt8], isEmpty: Bool)> {
        let comparison: SQL = ascending ? ">" : "<"
        let order: SQL = ascending ? "ASC" : "DESC"
        var place = SQL.empty
        if let after = page.after {
            place = "AND (created_at, id) \(comparison) (\(after.time), \(after.id(of: Message.self)))"
        }
        return Query(
            """
            SELECT \(Self.columns) FROM messages
            WHERE organization_id = \(scope.id) AND conversation_id = \(conversation) \(place)
            ORDER BY created_at \(order), id \(order) LIMIT \(limit: page.limit + 1)
            """
        ) { rows in
            let first = try rows.next()
            let json = try rows.page(from: first, limit: page.limit) { row, json in
                try MessageBody.write(row: &row, to: &json)
            } cursor: { row in
                Cursor(time: try Timestamp(column: 7, of: row.source), id: try ID<Message>(column: 0, of: row.source))
            }
            return (json, first == nil)
        }
    }
}
