import Events
package import Kernel
package import Storage

/// Says that an answer to a message is due, inside the transaction that stores the message.
///
/// App connects it to Agents.
package typealias ReplyRequest =
    @Sendable (
        _ tx: any Transaction, _ conversation: Conversation, _ scope: OrganizationScope, _ now: Timestamp
    ) throws -> Void

package struct MessageService: Sendable {
    let database: any Database
    let requestReply: ReplyRequest
    let now: @Sendable () -> Timestamp

    /// What was stored, and the place in the stream after which its answer appears.
    package struct Posted: Sendable {
        package let message: Message
        package let sequence: Int64
        package let expectsReply: Bool
    }

    /// Stores a message.
    ///
    /// A contact's message in a conversation that an agent handles makes an answer due; an operator who writes takes
    /// the conversation over from the agent.
    package func post(
        _ new: NewMessage,
        to conversationID: Conversation.Identifier,
        in scope: OrganizationScope
    ) async throws -> Posted {
        let now = now()
        let id = ID<Message>()
        return try await database.changeConversation(scope) { tx in
            let conversations = ConversationStore(tx: tx, scope: scope)
            var conversation = try conversations.lock(conversationID)
            guard conversation.isOpen else {
                throw ConversationError.notActive(conversation.id, conversation.status)
            }
            let old = conversation
            let message = Message(
                id: id,
                conversationID: conversationID,
                role: new.role,
                content: new.content,
                externalID: new.externalID,
                metadata: new.metadata,
                at: conversation.nextMessageTime(now)
            )
            if scope.actor.kind.isUser, message.role == .assistant { try conversation.hand(to: .human, at: now) }
            if message.direction == .inbound, conversation.handler == .agent {
                if conversation.replyState != .answering { conversation.replyState = .queued }
                conversation.replyError = nil
                try requestReply(tx, conversation, scope, now)
            }
            conversation.lastMessageAt = message.createdAt
            conversation.touch(at: now)
            let stream = StreamStore(tx: tx, scope: scope)
            try MessageStore(tx: tx, scope: scope).insert(message)
            try stream.append(.messageCreated, to: &conversation, message: message.id, at: now)
            let sequence = conversation.lastSequence
            if conversation.handler != old.handler {
                conversation.raiseVersion(from: old)
                if old.awaitsReply { try stream.append(.replyCancelled, to: &conversation, at: now) }
                try stream.append(.conversationUpdated, to: &conversation, data: conversation.streamData, at: now)
                try tx.record(.conversationUpdated(conversation, from: old), in: scope, now: now)
            }
            try tx.record(.messageCreated(message), in: scope, now: now)
            try conversations.save(conversation)
            return Posted(
                message: message,
                sequence: sequence,
                expectsReply: message.direction == .inbound && conversation.handler == .agent
            )
        }
    }

    package func get(
        _ id: ID<Message>,
        of conversation: Conversation.Identifier,
        in scope: OrganizationScope
    ) async throws -> Message {
        let message = try await database.fetch(MessageStore.find(id, in: conversation, of: scope), in: scope)
        guard let message else { throw MessageError.unknown(id) }
        return message
    }

    /// The sequence of the newest entry of a conversation's stream.
    func lastSequence(of id: Conversation.Identifier, in scope: OrganizationScope) async throws -> Int64 {
        let sequence = try await database.fetch(
            Conversation.stream.newest(of: id, in: scope),
            in: scope
        )
        guard let sequence else { throw ConversationError.unknown(id) }
        return sequence
    }

    /// Where a reader of a conversation's stream begins.
    ///
    /// - Parameter place: What the reader sends back; nil begins now.
    func start(
        of id: Conversation.Identifier,
        after place: String?,
        in scope: OrganizationScope
    ) async throws -> StreamStart {
        let newest = try await lastSequence(of: id, in: scope)
        return StreamStart(after: place, mark: StreamMark(of: id), newest: newest)
    }

    /// See ``LiveStream/follow(_:in:from:on:deliver:)``.
    func follow(
        _ id: Conversation.Identifier,
        from start: StreamStart,
        in scope: OrganizationScope,
        deliver: @Sendable (LiveStream<Conversation>.Item) async throws -> Bool
    ) async throws {
        try await Conversation.stream.follow(id, in: scope, from: start, on: database, deliver: deliver)
    }

    /// One page as encoded JSON.
    func page(
        of conversation: Conversation.Identifier,
        _ page: PageRequest,
        ascending: Bool,
        in scope: OrganizationScope
    ) async throws -> [UInt8] {
        let (json, isEmpty) = try await database.fetch(
            MessageStore.page(of: conversation, page, ascending: ascending, in: scope),
            in: scope
        )
        // Rows prove that their conversation exists; only a page without any has to ask.
        if isEmpty { _ = try await lastSequence(of: conversation, in: scope) }
        return json
    }

    /// The messages of the organization that hold all words of `text`, newest first.
    func search(_ text: String, _ page: PageRequest, in scope: OrganizationScope) async throws -> Page<Message> {
        let words = SearchWords(text)
        guard !words.isEmpty else { return Page(items: [], next: nil) }
        return try await database.read(scope) { tx in
            try MessageSearch(tx: tx, scope: scope).find(words, page)
        }
    }
}

extension Conversation {
    /// What the stream says of a conversation that changed.
    var streamData: JSON {
        ["status": .string(status.rawValue), "handled_by": .string(handler.rawValue)]
    }
}
