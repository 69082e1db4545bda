import Events
package import Kernel
package import Storage

package struct NewConversation: Sendable {
    package let contactID: ID<Contact>
    package let channelID: ID<Channel>
    package let agentID: ID<AgentEntity>?
    package let externalID: String?
    package let metadata: JSON

    package init(
        contactID: ID<Contact>,
        channelID: ID<Channel>,
        agentID: ID<AgentEntity>? = nil,
        externalID: String? = nil,
        metadata: JSON = [:]
    ) {
        self.contactID = contactID
        self.channelID = channelID
        self.agentID = agentID
        self.externalID = externalID
        self.metadata = metadata
    }
}

package struct ConversationChanges: Sendable {
    package var status: Conversation.Status?
    package var handler: Conversation.Handler?
    package var metadata: JSON?

    package init(status: Conversation.Status? = nil, handler: Conversation.Handler? = nil, metadata: JSON? = nil) {
        self.status = status
        self.handler = handler
        self.metadata = metadata
    }
}

extension Meter {
    /// Conversations that were started.
    package static let conversations = Meter("conversations_count")
}

package struct ConversationService: Sendable {
    let database: any Database
    let requestReply: ReplyRequest
    let entitlements: Entitlements
    /// Whether an agent exists, for channels and conversations that name one.
    let agentExists: @Sendable (_ tx: any Transaction, ID<AgentEntity>, OrganizationScope) throws -> Bool
    let now: @Sendable () -> Timestamp

    package func start(_ new: NewConversation, in scope: OrganizationScope) async throws -> Conversation {
        let now = now()
        let id = ID<ConversationEntity>()
        return try await database.write(scope) { tx in
            guard let channel = try ChannelStore(tx: tx, scope: scope).find(new.channelID) else {
                throw ConversationError.unknownChannel
            }
            guard channel.isActive else { throw ConversationError.inactiveChannel(channel.name) }
            guard try ContactStore(tx: tx, scope: scope).find(new.contactID) != nil else {
                throw ConversationError.unknownContact
            }
            if let agent = new.agentID, try !agentExists(tx, agent, scope) { throw ConversationError.unknownAgent }
            let conversation = Conversation(
                id: id,
                contactID: new.contactID,
                channelID: channel.id,
                agentID: new.agentID ?? channel.agentID,
                exclusive: channel.singleConversation,
                externalID: new.externalID,
                metadata: new.metadata,
                at: now
            )
            try ConversationStore(tx: tx, scope: scope).insert(conversation)
            try entitlements.count(.conversations, in: scope, at: now, tx)
            try tx.record(.conversationCreated(conversation), in: scope, now: now)
            return conversation
        }
    }

    package func get(_ id: ID<ConversationEntity>, in scope: OrganizationScope) async throws -> Conversation {
        guard let conversation = try await database.fetch(ConversationStore.find(id, in: scope), in: scope) else {
            throw ConversationError.unknown(id)
        }
        return conversation
    }

    /// One page as encoded JSON, newest first.
    func page(
        _ filter: ConversationFilter,
        _ page: PageRequest,
        in scope: OrganizationScope
    ) async throws -> [UInt8] {
        let query = ConversationStore.page(filter, page, in: scope)
        // Two conditions have no index for both: what few rows fit may take long to find.
        guard filter.conditions <= 1 else { return try await database.read(scope) { tx in try tx.fetch(query) } }
        return try await database.fetch(query, in: scope)
    }

    /// - Parameter check: Refuses when the caller edits another version than the one at hand.
    package func change(
        _ id: ID<ConversationEntity>,
        _ changes: ConversationChanges,
        in scope: OrganizationScope,
        check: @escaping @Sendable (Conversation) throws -> Void = { _ in }
    ) async throws -> Conversation {
        let now = now()
        return try await database.changeConversation(scope) { tx in
            var held = try HeldConversation.get(id, in: scope, request: requestReply, now: now, tx)
            try check(held.conversation)
            let old = held.conversation
            var conversation = old
            // Opened first, so that it can change hands in the same step; closed last.
            if changes.status == .active { try conversation.move(to: .active, at: now) }
            if let handler = changes.handler { try conversation.hand(to: handler, at: now) }
            if let status = changes.status { try conversation.move(to: status, at: now) }
            if let metadata = changes.metadata, metadata != conversation.metadata {
                conversation.metadata = metadata
                conversation.touch(at: now)
            }
            guard conversation.updatedAt != old.updatedAt else { return conversation }
            conversation.raiseVersion(from: old)
            held.conversation = conversation
            switch (old.isAnsweredByAgent, conversation.isAnsweredByAgent) {
            case (true, false): try held.apply(.takenOver)
            case (false, true): try held.apply(.givenBack)
            case (true, true), (false, false): break
            }
            try held.append(.conversationUpdated, data: conversation.streamData)
            try held.save()
            try tx.record(.conversationUpdated(conversation, from: old), in: scope, now: now)
            if conversation.status == .closed, old.status != .closed {
                try tx.record(.conversationClosed(conversation), in: scope, now: now)
            }
            return held.conversation
        }
    }
}
