import Events
package import Kernel
package import Storage

/// Asks for an answer, in the transaction that makes one due: App connects it to Agents.
///
/// While a job for the conversation waits or runs, nothing is added.
package typealias ReplyRequest =
    @Sendable (
        _ tx: any Transaction, _ conversation: ID<ConversationEntity>, _ isAnew: Bool, _ scope: OrganizationScope,
        _ now: Timestamp
    ) throws -> Void

/// A conversation that a transaction has locked, and the one place that does what its ``Answering`` decides.
///
/// Others who want to change it wait until the transaction ends. The effects of ``apply(_:)`` are done at once; the conversation and
/// its answering are stored by ``save()``, which whoever has appended to the stream must call, for the next place in it.
package struct HeldConversation {
    package var conversation: Conversation
    package private(set) var answering: Answering
    /// As the row is; nil when there is none yet.
    private let stored: Answering?
    private let updatedAt: Timestamp
    private let tx: any Transaction
    private let scope: OrganizationScope
    private let request: ReplyRequest
    private let now: Timestamp

    /// - Returns: nil when the organization has no such conversation.
    package static func find(
        _ id: ID<ConversationEntity>,
        in scope: OrganizationScope,
        request: @escaping ReplyRequest,
        now: Timestamp,
        _ tx: any Transaction
    ) throws -> HeldConversation? {
        // In one round trip, and in this order: a statement sees what was committed before it began, and the first one waits for
        // those who hold the conversation.
        let rows = try tx.batch([
            """
            SELECT \(ConversationStore.columns) FROM conversations
            WHERE organization_id = \(scope.id) AND id = \(id) \(.forUpdate)
            """,
            """
            SELECT \(Answering.columns) FROM answerings
            WHERE organization_id = \(scope.id) AND conversation_id = \(id)
            """,
        ]) { statement, row in
            statement == 0
                ? HeldRow.conversation(try Conversation(row: &row)) : HeldRow.answering(try Answering(row: &row))
        }
        guard case .conversation(let conversation)? = rows.first?.first else { return nil }
        var stored: Answering?
        if case .answering(let answering)? = rows.last?.first { stored = answering }
        return HeldConversation(
            conversation: conversation,
            answering: stored ?? Answering(),
            stored: stored,
            updatedAt: conversation.updatedAt,
            tx: tx,
            scope: scope,
            request: request,
            now: now
        )
    }

    /// - Throws: `ConversationError.unknown` when the organization has no such conversation.
    static func get(
        _ id: ID<ConversationEntity>,
        in scope: OrganizationScope,
        request: @escaping ReplyRequest,
        now: Timestamp,
        _ tx: any Transaction
    ) throws -> HeldConversation {
        guard let held = try find(id, in: scope, request: request, now: now, tx) else {
            throw ConversationError.unknown(id)
        }
        return held
    }

    private enum HeldRow {
        case conversation(Conversation)
        case answering(Answering)
    }

    /// Lets something happen to the answering, and does what follows.
    ///
    /// - Returns: Whether anything followed.
    /// - Throws: ``Answering/Superseded``, or what storing throws.
    @discardableResult
    package mutating func apply(_ event: Answering.Occurrence) throws -> Bool {
        let effects = try answering.apply(event)
        conversation.reply = answering.summary
        touch()
        for effect in effects {
            switch effect {
            case .request(let isAnew): try request(tx, conversation.id, isAnew, scope, now)
            case .append(let kind, let message, let data): try append(kind, message: message, data: data)
            case .recordFailure(let reason):
                try tx.record(.replyFailed(conversation.id, reason), in: scope, now: now)
            }
        }
        return !effects.isEmpty
    }

    /// Appends an entry to the conversation's stream.
    package mutating func append(
        _ kind: Conversation.EntryKind,
        message: ID<Message>? = nil,
        data: JSON = [:]
    ) throws {
        try Conversation.stream.append(kind, to: &conversation, link: message, data: data, in: scope, at: now, tx)
    }

    /// Marks a change, once in the transaction.
    package mutating func touch() {
        if conversation.updatedAt == updatedAt { conversation.touch(at: now) }
    }

    package func save() throws {
        try ConversationStore(tx: tx, scope: scope).save(conversation)
        guard answering != stored ?? Answering() else { return }
        try tx.run(
            """
            INSERT INTO answerings (organization_id, conversation_id, \(Answering.columns))
            VALUES (\(scope.id), \(conversation.id), \(answering.epoch), \(answering.state), \(answering.error),
                \(answering.question), \(answering.startedAt))
            ON CONFLICT (organization_id, conversation_id) DO UPDATE SET epoch = excluded.epoch, state = excluded.state,
                error = excluded.error, question_id = excluded.question_id, started_at = excluded.started_at
            """
        )
    }
}
