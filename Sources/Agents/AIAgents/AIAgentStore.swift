import Kernel
package import Storage

extension AIAgent: RowDecodable {
    package init(row: inout Row) throws {
        id = try row.next()
        name = try row.next()
        instructions = try row.next()
        model = try row.next()
        settings = AgentSettings(try row.next())
        isActive = try row.next()
        createdAt = try row.next()
        updatedAt = try row.next()
    }
}

struct AIAgentStore {
    let tx: any Transaction
    let scope: OrganizationScope

    static let columns: SQL = "id, name, instructions, model, settings, is_active, created_at, updated_at"

    func find(_ id: ID<AgentEntity>) throws -> AIAgent? {
        try tx.first("SELECT \(Self.columns) FROM ai_agents WHERE \(isThere) AND id = \(id)")
    }

    func get(_ id: ID<AgentEntity>) throws -> AIAgent {
        guard let agent = try find(id) else { throw AIAgentError.unknown(id) }
        return agent
    }

    /// The agent that answers where none is named.
    func firstActive() throws -> AIAgent? {
        try tx.first(
            """
            SELECT \(Self.columns) FROM ai_agents WHERE \(isThere) AND is_active = \(true)
            ORDER BY created_at, id LIMIT 1
            """
        )
    }

    func list(isActive: Bool?, _ page: PageRequest) throws -> Page<AIAgent> {
        var conditions: [SQL] = [isThere]
        if let isActive { conditions.append("is_active = \(isActive)") }
        if let after = page.after {
            conditions.append("(created_at, id) < (\(after.time), \(after.id(of: AgentEntity.self)))")
        }
        let rows: [AIAgent] = try tx.all(
            """
            SELECT \(Self.columns) FROM ai_agents WHERE \(SQL.join(conditions, " AND "))
            ORDER BY created_at DESC, id DESC LIMIT \(limit: page.limit + 1)
            """
        )
        return Page(cutting: rows, to: page.limit) { Cursor(time: $0.createdAt, id: $0.id) }
    }

    func insert(_ agent: AIAgent) throws {
        try tx.run(
            """
            INSERT INTO ai_agents (organization_id, \(Self.columns))
            VALUES (\(scope.id), \(agent.id), \(agent.name), \(agent.instructions), \(agent.model),
                \(agent.settings.json), \(agent.isActive), \(agent.createdAt), \(agent.updatedAt))
            """
        )
    }

    func save(_ agent: AIAgent) throws {
        try tx.run(
            """
            UPDATE ai_agents SET name = \(agent.name), instructions = \(agent.instructions), model = \(agent.model),
                settings = \(agent.settings.json), is_active = \(agent.isActive), updated_at = \(agent.updatedAt)
            WHERE organization_id = \(scope.id) AND id = \(agent.id)
            """
        )
    }

    /// Marks the agent as deleted: from now on nobody finds it.
    ///
    /// Its row stays until nothing refers to it any more.
    func markDeleted(_ id: ID<AgentEntity>, at now: Timestamp) throws {
        try tx.run("UPDATE ai_agents SET deleted_at = \(now), is_active = \(false) WHERE \(isThere) AND id = \(id)")
    }

    /// Deletes the row of an agent that was marked.
    func delete(_ id: ID<AgentEntity>) throws {
        try tx.run(
            "DELETE FROM ai_agents WHERE organization_id = \(scope.id) AND id = \(id) AND deleted_at IS NOT NULL"
        )
    }

    private var isThere: SQL { "organization_id = \(scope.id) AND deleted_at IS NULL" }
}
