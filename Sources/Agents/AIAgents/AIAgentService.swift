package import Events
import Jobs
package import Kernel
import Storage

package typealias AIAgentService = NounService<AIAgentStore>

extension NounService<AIAgentStore> {
    init(database: any Database, model: any LanguageModel, now: @escaping @Sendable () -> Timestamp) {
        let events = NounEvents<AIAgent>(
            created: AgentEvents.created,
            updated: AgentEvents.updated,
            deleted: AgentEvents.deleted
        ) { ["id": .string($0.id.description), "name": .string($0.name)] }
        self.init(
            database: database,
            events: events,
            now: now,
            complete: { $0.modelInUse = $0.model ?? model.name },
            deleted: { agent, scope, now, tx in
                try tx.enqueue(AgentDeletionJob(agent: agent.id), in: scope, now: now)
            },
            check: { edit, _, _ in
                // What it names already may have gone meanwhile; that is no reason to refuse other changes.
                guard let name = edit.value.model, name != edit.old?.model, !model.offers(name) else { return }
                throw AIAgentError.modelUnavailable
            }
        )
    }

    package func list(
        isActive: Bool? = nil,
        _ page: PageRequest,
        in scope: OrganizationScope
    ) async throws -> Page<AIAgent> {
        try await list(page, where: [isActive.map { "is_active = \($0)" }], in: scope)
    }
}
