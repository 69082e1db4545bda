import Events
package import Kernel
import Storage

package struct ChannelService: Sendable {
    let database: any Database
    let agentExists: @Sendable (_ tx: any Transaction, ID<AgentEntity>, OrganizationScope) throws -> Bool
    let now: @Sendable () -> Timestamp

    package func create(_ new: NewChannel, in scope: OrganizationScope) async throws -> Channel {
        let now = now()
        let channel = Channel(
            id: ID(),
            name: new.name,
            kind: new.kind,
            settings: new.settings,
            agentID: new.agentID,
            singleConversation: new.singleConversation,
            isActive: new.isActive,
            createdAt: now,
            updatedAt: now
        )
        try await database.write(scope) { tx in
            if let agent = channel.agentID, try !agentExists(tx, agent, scope) { throw ChannelError.unknownAgent }
            try ChannelStore(tx: tx, scope: scope).insert(channel)
            try tx.record(.channel(MessagingEvents.channelCreated, channel), in: scope, now: now)
        }
        return channel
    }

    package func get(_ id: ID<Channel>, in scope: OrganizationScope) async throws -> Channel {
        try await database.read(scope) { tx in try ChannelStore(tx: tx, scope: scope).get(id) }
    }

    package func list(
        kind: Channel.Kind?,
        _ page: PageRequest,
        in scope: OrganizationScope
    ) async throws -> Page<Channel> {
        try await database.read(scope) { tx in try ChannelStore(tx: tx, scope: scope).list(kind: kind, page) }
    }

    package func change(
        _ id: ID<Channel>,
        _ changes: ChannelChanges,
        in scope: OrganizationScope,
        check: @escaping @Sendable (Timestamp) throws -> Void = { _ in }
    ) async throws -> Channel {
        let now = now()
        return try await database.write(scope) { tx in
            let channels = ChannelStore(tx: tx, scope: scope)
            let old = try channels.get(id)
            try check(old.updatedAt)
            var channel = old
            if let name = changes.name { channel.name = name }
            if let settings = changes.settings { channel.settings = settings }
            if let agentID = changes.agentID {
                if let agentID, try !agentExists(tx, agentID, scope) { throw ChannelError.unknownAgent }
                channel.agentID = agentID
            }
            if let single = changes.singleConversation { channel.singleConversation = single }
            if let isActive = changes.isActive { channel.isActive = isActive }
            let changes = JSON.changes([
                .of("name", .string(old.name), .string(channel.name)),
                .redacted("settings", old.settings, channel.settings),
                .of("ai_agent_id", .id(old.agentID), .id(channel.agentID)),
                .of("single_conversation", .bool(old.singleConversation), .bool(channel.singleConversation)),
                .of("is_active", .bool(old.isActive), .bool(channel.isActive)),
            ])
            guard let changes else { return old }
            channel.touch(at: now)
            try channels.save(channel)
            try tx.record(.channel(MessagingEvents.channelUpdated, channel, changes), in: scope, now: now)
            return channel
        }
    }

    package func delete(_ id: ID<Channel>, in scope: OrganizationScope) async throws {
        let now = now()
        try await database.write(scope) { tx in
            let channels = ChannelStore(tx: tx, scope: scope)
            let channel = try channels.get(id)
            try channels.delete(id)
            try tx.record(.channel(MessagingEvents.channelDeleted, channel), in: scope, now: now)
        }
    }
}

extension Event {
    fileprivate static func channel(_ type: EventType, _ channel: Channel, _ changes: JSON? = nil) -> Event {
        Event(
            type,
            subject: channel.id.description,
            data: ["id": .string(channel.id.description), "name": .string(channel.name)],
            changes: changes
        )
    }
}
