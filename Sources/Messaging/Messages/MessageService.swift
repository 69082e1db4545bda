import Events
package import Kernel
import Storage
import Synchronization

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
        to conversationID: ID<ConversationEntity>,
        in scope: OrganizationScope
    ) async throws -> Posted {
        let now = now()
        let id = ID<Message>()
        return try await database.changeConversation(scope) { tx in
            var held = try HeldConversation.get(conversationID, in: scope, request: requestReply, now: now, tx)
            let old = held.conversation
            guard old.isOpen else { throw ConversationError.notActive(old.id, old.status) }
            let message = Message(
                id: id,
                conversationID: conversationID,
                role: new.role,
                content: new.content,
                externalID: new.externalID,
                metadata: new.metadata,
                at: old.nextMessageTime(now)
            )
            if scope.actor.kind.isUser, message.role == .assistant {
                try held.conversation.hand(to: .human, at: now)
            }
            held.conversation.lastMessageAt = message.createdAt
            held.touch()
            try MessageStore(tx: tx, scope: scope).insert(message)
            try held.append(.messageCreated, message: message.id)
            let sequence = held.conversation.lastSequence
            let expectsReply = message.direction == .inbound && held.conversation.handler == .agent
            if expectsReply { try held.apply(.asked) }
            if held.conversation.handler != old.handler {
                held.conversation.raiseVersion(from: old)
                try held.apply(.takenOver)
                try held.append(.conversationUpdated, data: held.conversation.streamData)
                try tx.record(.conversationUpdated(held.conversation, from: old), in: scope, now: now)
            }
            try tx.record(.messageCreated(message), in: scope, now: now)
            try held.save()
            return Posted(message: message, sequence: sequence, expectsReply: expectsReply)
        }
    }

    package func get(
        _ id: ID<Message>,
        of conversation: ID<ConversationEntity>,
        in scope: OrganizationScope
    ) async throws -> Message {
        let message = try await database.fetch(MessageStore.find(id, in: conversation, of: scope), in: scope)
        guard let message else { throw MessageError.unknown(id) }
        return message
    }

    /// The sequence of the newest entry of a conversation's stream.
    func lastSequence(of id: ID<ConversationEntity>, in scope: OrganizationScope) async throws -> Int64 {
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
        of id: ID<ConversationEntity>,
        after place: String?,
        in scope: OrganizationScope
    ) async throws -> StreamStart {
        let newest = try await lastSequence(of: id, in: scope)
        return StreamStart(after: place, mark: StreamMark(of: id), newest: newest)
    }

    /// See ``LiveStream/follow(_:in:from:on:deliver:)``.
    func follow(
        _ id: ID<ConversationEntity>,
        from start: StreamStart,
        in scope: OrganizationScope,
        deliver: @Sendable (LiveStream<Conversation>.Item) async throws -> Bool
    ) async throws {
        try await Conversation.stream.follow(id, in: scope, from: start, on: database, deliver: deliver)
    }

    /// Hands over the stream from a posted message on, which comes first, to the end of its answer.
    func followAnswer(
        to posted: Posted,
        in scope: OrganizationScope,
        deliver: @Sendable (LiveStream<Conversation>.Item) async throws -> Void
    ) async throws {
        let end = Mutex(AnswerEnd())
        let start = StreamStart(after: posted.sequence - 1)
        try await follow(posted.message.conversationID, from: start, in: scope) { item in
            try await deliver(item)
            return posted.expectsReply && !end.withLock { $0.isReached(with: item) }
        }
    }

    /// One page as encoded JSON.
    func page(
        of conversation: ID<ConversationEntity>,
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
