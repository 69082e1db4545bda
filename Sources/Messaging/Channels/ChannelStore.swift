package import Kernel
package import Storage

extension Channel: RowDecodable {
    package init(row: inout Row) throws {
        id = try row.next()
        name = try row.next()
        kind = try row.next()
        settings = try row.next()
        agentID = try row.next()
        singleConversation = try row.next()
        isActive = try row.next()
        createdAt = try row.next()
        updatedAt = try row.next()
    }
}

package struct ChannelStore: NounStore {
    package static let table = NounTable<Channel>(
        "channels",
        [
            .column("id", \.id, isFixed: true), .column("name", \.name), .column("type", \.kind, isFixed: true),
            .column("settings", \.settings), .column("ai_agent_id", \.agentID),
            .column("single_conversation", \.singleConversation), .column("is_active", \.isActive),
            .column("created_at", \.createdAt, isFixed: true), .column("updated_at", \.updatedAt),
        ],
        missing: { ChannelError.unknown($0) },
        inUse: ChannelError.inUse
    )

    package let tx: any Transaction
    package let scope: OrganizationScope

    package init(tx: any Transaction, scope: OrganizationScope) {
        self.tx = tx
        self.scope = scope
    }

    /// Takes an agent away from at most `limit` channels.
    ///
    /// - Returns: How many there were.
    package func release(_ agent: ID<AgentEntity>, limit: Int, at now: Timestamp) throws -> Int {
        let channels: [Channel] = try tx.all(
            """
            SELECT \(Self.table.columns) FROM channels
            WHERE organization_id = \(scope.id) AND ai_agent_id = \(agent) LIMIT \(limit: limit)
            """
        )
        for var channel in channels {
            channel.agentID = nil
            channel.touch(at: now)
            try save(channel)
        }
        return channels.count
    }
}
