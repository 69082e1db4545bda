package import Kernel
package import Storage

extension AIAgent: RowDecodable {
    package init(row: inout Row) throws {
        id = try row.next()
        name = try row.next()
        instructions = try row.next()
        model = try row.next()
        modelInUse = ""
        settings = AgentSettings(try row.next())
        isActive = try row.next()
        createdAt = try row.next()
        updatedAt = try row.next()
    }
}

package struct AIAgentStore: NounStore {
    package static let table = NounTable<AIAgent>(
        "ai_agents",
        [
            .column("id", \.id, isFixed: true), .column("name", \.name), .column("instructions", \.instructions),
            .column("model", \.model), .column("settings", \.settings), .column("is_active", \.isActive),
            .column("created_at", \.createdAt, isFixed: true), .column("updated_at", \.updatedAt),
        ],
        isThere: "deleted_at IS NULL",
        missing: { AIAgentError.unknown($0) }
    )

    package let tx: any Transaction
    package let scope: OrganizationScope

    package init(tx: any Transaction, scope: OrganizationScope) {
        self.tx = tx
        self.scope = scope
    }

    /// Whether the organization has an agent; for those who name one.
    package static func exists(
        _ tx: any Transaction,
        _ id: ID<AgentEntity>,
        in scope: OrganizationScope
    ) throws -> Bool {
        try AIAgentStore(tx: tx, scope: scope).find(id) != nil
    }

    /// The agent that answers where none is named.
    func firstActive() throws -> AIAgent? {
        try tx.first(
            """
            SELECT \(Self.table.columns) FROM ai_agents
            WHERE organization_id = \(scope.id) AND deleted_at IS NULL AND is_active = \(true)
            ORDER BY created_at, id LIMIT 1
            """
        )
    }

    /// Marks the agent as deleted: from now on nobody finds it.
    ///
    /// Its row stays until nothing refers to it any more.
    package func delete(_ id: ID<AgentEntity>, at now: Timestamp) throws {
        try tx.run(
            """
            UPDATE ai_agents SET deleted_at = \(now), is_active = \(false)
            WHERE organization_id = \(scope.id) AND deleted_at IS NULL AND id = \(id)
            """
        )
    }

    /// Deletes the row of an agent that was marked.
    func erase(_ id: ID<AgentEntity>) throws {
        try tx.run(
            "DELETE FROM ai_agents WHERE organization_id = \(scope.id) AND id = \(id) AND deleted_at IS NOT NULL"
        )
    }
}
