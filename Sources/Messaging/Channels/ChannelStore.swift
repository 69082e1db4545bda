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

package struct ChannelStore {
    let tx: any Transaction
    let scope: OrganizationScope

    package init(tx: any Transaction, scope: OrganizationScope) {
        self.tx = tx
        self.scope = scope
    }

    static let columns: SQL = """
        id, name, type, settings, ai_agent_id, single_conversation, is_active, created_at, updated_at
        """

    func find(_ id: ID<Channel>) throws -> Channel? {
        try tx.first("SELECT \(Self.columns) FROM channels WHERE organization_id = \(scope.id) AND id = \(id)")
    }

    func get(_ id: ID<Channel>) throws -> Channel {
        guard let channel = try find(id) else { throw ChannelError.unknown(id) }
        return channel
    }

    func list(kind: Channel.Kind?, _ page: PageRequest) throws -> Page<Channel> {
        var conditions: [SQL] = ["organization_id = \(scope.id)"]
        if let kind { conditions.append("type = \(kind)") }
        if let after = page.after {
            conditions.append("(created_at, id) < (\(after.time), \(after.id(of: Channel.self)))")
        }
        let rows: [Channel] = try tx.all(
            """
            SELECT \(Self.columns) FROM channels WHERE \(SQL.join(conditions, " AND "))
            ORDER BY created_at DESC, id DESC LIMIT \(limit: page.limit + 1)
            """
        )
        return Page(cutting: rows, to: page.limit) { Cursor(time: $0.createdAt, id: $0.id) }
    }

    func insert(_ channel: Channel) throws {
        try tx.run(
            """
            INSERT INTO channels (organization_id, \(Self.columns))
            VALUES (\(scope.id), \(channel.id), \(channel.name), \(channel.kind), \(channel.settings),
                \(channel.agentID), \(channel.singleConversation), \(channel.isActive), \(channel.createdAt),
                \(channel.updatedAt))
            """
        )
    }

    func save(_ channel: Channel) throws {
        try tx.run(
            """
            UPDATE channels SET name = \(channel.name), settings = \(channel.settings),
                ai_agent_id = \(channel.agentID), single_conversation = \(channel.singleConversation),
                is_active = \(channel.isActive), updated_at = \(channel.updatedAt)
            WHERE organization_id = \(scope.id) AND id = \(channel.id)
            """
        )
    }

    /// Takes an agent away from at most `limit` channels.
    ///
    /// - Returns: How many there were.
    package func release(_ agent: ID<AgentEntity>, limit: Int, at now: Timestamp) throws -> Int {
        let channels: [Channel] = try tx.all(
            """
            SELECT \(Self.columns) FROM channels
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

    func delete(_ id: ID<Channel>) throws {
        try tx.run(
            "DELETE FROM channels WHERE organization_id = \(scope.id) AND id = \(id)",
            violations: [.foreignKey(ChannelError.inUse)]
        )
    }
}
