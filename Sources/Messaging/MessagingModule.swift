package import Kernel
package import Storage
package import Web

/// The face of Messaging.
package struct MessagingModule: Sendable {
    package let channels: ChannelService
    package let contacts: ContactService
    package let conversations: ConversationService
    package let messages: MessageService
    package let stream: ConversationStream

    /// - Parameters:
    ///   - requestReply: Makes an answer due, in the transaction that stores a contact's message.
    ///   - countConversation: Counts a new conversation for billing, in its transaction.
    ///   - agentExists: Whether the organization has an agent.
    package init(
        database: any Database,
        requestReply: @escaping ReplyRequest,
        countConversation: @escaping UsageCounter,
        agentExists: @escaping @Sendable (any Transaction, ID<AgentEntity>, OrganizationScope) throws -> Bool,
        now: @escaping @Sendable () -> Timestamp
    ) {
        channels = ChannelService(database: database, agentExists: agentExists, now: now)
        contacts = ContactService(database: database, now: now)
        conversations = ConversationService(
            database: database,
            requestReply: requestReply,
            countConversation: countConversation,
            agentExists: agentExists,
            now: now
        )
        messages = MessageService(database: database, requestReply: requestReply, now: now)
        stream = ConversationStream(database: database)
    }

    package var endpoints: [Endpoint] {
        [
            ChannelRoutes(service: channels).endpoints, ContactRoutes(service: contacts).endpoints,
            ConversationRoutes(service: conversations).endpoints,
            MessageRoutes(service: messages, stream: stream).endpoints,
        ].flatMap(\.endpoints)
    }

    package static let events = MessagingEvents.all
}
