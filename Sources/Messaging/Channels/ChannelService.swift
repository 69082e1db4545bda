package import Events
package import Kernel
import Storage

package typealias ChannelService = NounService<ChannelStore>

extension NounService<ChannelStore> {
    /// - Parameter agentExists: Whether the organization has an agent.
    init(
        database: any Database,
        agentExists: @escaping @Sendable (any Transaction, ID<AgentEntity>, OrganizationScope) throws -> Bool,
        now: @escaping @Sendable () -> Timestamp
    ) {
        let events = NounEvents<Channel>(
            created: MessagingEvents.channelCreated,
            updated: MessagingEvents.channelUpdated,
            deleted: MessagingEvents.channelDeleted
        ) { ["id": .string($0.id.description), "name": .string($0.name)] }
        self.init(
            database: database,
            events: events,
            now: now,
            check: { edit, scope, tx in
                guard let agent = edit.value.agentID, edit.sets("ai_agent_id", \.agentID) else { return }
                if try !agentExists(tx, agent, scope) { throw ChannelError.unknownAgent }
            }
        )
    }

    package func list(
        kind: Channel.Kind? = nil,
        _ page: PageRequest,
        in scope: OrganizationScope
    ) async throws -> Page<Channel> {
        try await list(page, where: [kind.map { "type = \($0)" }], in: scope)
    }
}
