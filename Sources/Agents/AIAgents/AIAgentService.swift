import Events
import Jobs
package import Kernel
package import Storage

package struct AIAgentService: Sendable {
    let database: any Database
    let model: any LanguageModel
    let now: @Sendable () -> Timestamp

    /// The name of the model that the agent answers with.
    package func modelInUse(by agent: AIAgent) -> String { agent.model ?? model.name }

    package func create(_ new: NewAIAgent, in scope: OrganizationScope) async throws -> AIAgent {
        try requireModel(new.model)
        let now = now()
        let agent = AIAgent(
            id: ID(),
            name: new.name,
            instructions: new.instructions,
            model: new.model,
            settings: new.settings,
            isActive: new.isActive,
            createdAt: now,
            updatedAt: now
        )
        try await database.write(scope) { tx in
            try AIAgentStore(tx: tx, scope: scope).insert(agent)
            try tx.record(.agent(AgentEvents.created, agent), in: scope, now: now)
        }
        return agent
    }

    package func get(_ id: ID<AgentEntity>, in scope: OrganizationScope) async throws -> AIAgent {
        try await database.read(scope) { tx in try AIAgentStore(tx: tx, scope: scope).get(id) }
    }

    package func list(
        isActive: Bool?,
        _ page: PageRequest,
        in scope: OrganizationScope
    ) async throws -> Page<AIAgent> {
        try await database.read(scope) { tx in try AIAgentStore(tx: tx, scope: scope).list(isActive: isActive, page) }
    }

    package func change(
        _ id: ID<AgentEntity>,
        _ changes: AIAgentChanges,
        in scope: OrganizationScope,
        check: @escaping @Sendable (AIAgent) throws -> Void = { _ in }
    ) async throws -> AIAgent {
        let now = now()
        return try await database.write(scope) { tx in
            let agents = AIAgentStore(tx: tx, scope: scope)
            let old = try agents.get(id)
            try check(old)
            var agent = old
            if let name = changes.name { agent.name = name }
            if let instructions = changes.instructions { agent.instructions = instructions }
            if let model = changes.model {
                // What it names already may have gone meanwhile; that is no reason to refuse other changes.
                if model != old.model { try requireModel(model) }
                agent.model = model
            }
            if let settings = changes.settings { agent.settings = settings }
            if let isActive = changes.isActive { agent.isActive = isActive }
            let changed = JSON.changes([
                .of("name", .string(old.name), .string(agent.name)),
                .of("instructions", .string(old.instructions), .string(agent.instructions)),
                .of("model", old.model.map(JSON.string) ?? .null, agent.model.map(JSON.string) ?? .null),
                .of("settings", old.settings.json, agent.settings.json),
                .of("is_active", .bool(old.isActive), .bool(agent.isActive)),
            ])
            guard let changed else { return old }
            agent.touch(at: now)
            try agents.save(agent)
            try tx.record(.agent(AgentEvents.updated, agent, changed), in: scope, now: now)
            return agent
        }
    }

    package func delete(_ id: ID<AgentEntity>, in scope: OrganizationScope) async throws {
        let now = now()
        try await database.write(scope) { tx in
            let agents = AIAgentStore(tx: tx, scope: scope)
            let agent = try agents.get(id)
            try agents.markDeleted(id, at: now)
            try tx.enqueue(AgentDeletionJob(agent: id), in: scope, now: now)
            try tx.record(.agent(AgentEvents.deleted, agent), in: scope, now: now)
        }
    }

    private func requireModel(_ name: String?) throws(AIAgentError) {
        if let name, !model.offers(name) { throw .modelUnavailable }
    }

    /// Whether the organization has an agent; for those who name one.
    package static func exists(
        _ tx: any Transaction,
        _ id: ID<AgentEntity>,
        in scope: OrganizationScope
    ) throws -> Bool {
        try AIAgentStore(tx: tx, scope: scope).find(id) != nil
    }
}

extension Event {
    fileprivate static func agent(_ type: EventType, _ agent: AIAgent, _ changes: JSON? = nil) -> Event {
        Event(
            type,
            subject: agent.id.description,
            data: ["id": .string(agent.id.description), "name": .string(agent.name)],
            changes: changes
        )
    }
}
