package import Events
package import Kernel
package import Storage
package import Web

extension Permission {
    package static let channelsRead = Permission("channels", "read")
    package static let channelsWrite = Permission("channels", "write")
    package static let contactsRead = Permission("contacts", "read")
    package static let contactsWrite = Permission("contacts", "write")
    package static let conversationsRead = Permission("conversations", "read")
    package static let conversationsWrite = Permission("conversations", "write")
}

/// The face of Messaging.
package struct MessagingModule: Sendable {
    package let channels: ChannelService
    package let contacts: ContactService
    package let conversations: ConversationService
    package let messages: MessageService

    /// - Parameters:
    ///   - requestReply: Makes an answer due, in the transaction that stores a contact's message.
    ///   - agentExists: Whether the organization has an agent.
    package init(
        database: any Database,
        entitlements: Entitlements,
        requestReply: @escaping ReplyRequest,
        agentExists: @escaping @Sendable (any Transaction, ID<AgentEntity>, OrganizationScope) throws -> Bool,
        now: @escaping @Sendable () -> Timestamp
    ) {
        channels = ChannelService(database: database, agentExists: agentExists, now: now)
        contacts = ContactService(database: database, now: now)
        conversations = ConversationService(
            database: database,
            requestReply: requestReply,
            entitlements: entitlements,
            agentExists: agentExists,
            now: now
        )
        messages = MessageService(database: database, requestReply: requestReply, now: now)
    }

    package var endpoints: [Endpoint] {
        [
            ChannelRoutes(service: channels).endpoints, ContactRoutes(service: contacts).endpoints,
            ConversationRoutes(service: conversations).endpoints,
            MessageRoutes(service: messages).endpoints,
        ].flatMap(\.self)
    }

    package static var events: [EventType] { MessagingEvents.all }

    package var purges: [Purge] { [Conversation.stream.purge] }

    package static var permissions: [PermissionGrant] {
        [
            PermissionGrant(.channelsRead, to: .members), PermissionGrant(.channelsWrite, to: .admins),
            PermissionGrant(.contactsRead, to: .members), PermissionGrant(.contactsWrite, to: .members),
            PermissionGrant(.conversationsRead, to: .members), PermissionGrant(.conversationsWrite, to: .members),
        ]
    }

    package static var meters: [Meter] { [.conversations] }
}
