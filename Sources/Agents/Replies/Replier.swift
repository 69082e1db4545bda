import Events
import Jobs
import Kernel
import Knowledge
import Logging
import Messaging
import Outbound
package import Storage

extension Meter {
    /// Tokens that models read and wrote.
    package static let aiTokens = Meter("ai_tokens")
}

/// Writes the answers.
struct Replier: Sendable {
    let database: any Database
    let search: KnowledgeSearch
    let model: any LanguageModel
    let prices: ModelPrices
    let entitlements: Entitlements
    let now: @Sendable () -> Timestamp
    let underWay = AnswersUnderWay()

    func answer(_ job: ReplyJob, _ context: JobContext) async throws {
        underWay.begin()
        defer { underWay.end() }
        guard let task = try await begin(job, context) else { return }
        do {
            let draft = try await write(task, context)
            try await finish(task, draft, context)
        } catch is ReplyInterrupted {
            try await giveWay(task, context)
        } catch let error as CancellationError {
            await tellOfInterruption(task, context)
            throw error
        } catch JobError.leaseLost(let id) {
            throw JobError.leaseLost(id)
        } catch let error as ProviderError where error.kind == .cancelled {
            await tellOfInterruption(task, context)
            throw CancellationError()
        } catch {
            try await fail(task, context, because: error)
        }
    }

    // MARK: One attempt

    /// Opens an epoch for this attempt, so that whatever an earlier one still writes is refused.
    ///
    /// - Returns: nil when there is nothing to answer; the job is finished then.
    private func begin(_ job: ReplyJob, _ context: JobContext) async throws -> ReplyTask? {
        let scope = context.scope
        let now = now()
        return try await database.changeConversation(scope) { tx in
            let conversations = ConversationStore(tx: tx, scope: scope)
            guard var conversation = try conversations.findLocked(job.conversation), conversation.isOpen,
                conversation.handler == .agent
            else {
                try context.finish(in: tx)
                return nil
            }
            // Who stood still until the job went to somebody else must not break that answer off.
            try context.check(in: tx)
            let agents = AIAgentStore(tx: tx, scope: scope)
            var agent = try conversation.agentID.flatMap { try agents.find($0) }
            if agent?.isActive != true { agent = try agents.firstActive() }
            let history = max(agent?.settings.history ?? 1, 1)
            // One more, as the last may be an answer to what is older.
            let latest = try MessageStore(tx: tx, scope: scope).latest(history + 1, in: job.conversation)
            let messages = Array(ReplyTask.inOrder(latest).suffix(history))
            guard let agent, let last = messages.last, last.direction == .inbound else {
                if conversation.awaitsReply {
                    let reason = agent == nil ? "No agent is active." : nil
                    try StreamStore(tx: tx, scope: scope).append(
                        agent == nil ? .replyFailed : .replyCancelled,
                        to: &conversation,
                        data: reason.map { ["reason": .string($0)] } ?? [:],
                        at: now
                    )
                    conversation.endReply(agent == nil ? .failed : .idle, error: reason, at: now)
                    try conversations.save(conversation)
                    if let reason { try tx.record(.replyFailed(conversation.id, reason), in: scope, now: now) }
                }
                try context.finish(in: tx)
                return nil
            }
            conversation.beginReply()
            try StreamStore(tx: tx, scope: scope).append(
                .replyStarted,
                to: &conversation,
                data: [
                    "attempt": .integer(Int64(context.attempt)), "agent_id": .string(agent.id.description),
                    "in_reply_to": .string(last.id.description),
                ],
                at: now
            )
            try conversations.save(conversation)
            return ReplyTask(
                conversation: conversation.id,
                epoch: conversation.epoch,
                agent: agent,
                messages: messages,
                answers: last.id
            )
        }
    }

    private func write(_ task: ReplyTask, _ context: JobContext) async throws -> ReplyDraft {
        let found =
            task.agent.settings.passages > 0
            ? try await patiently(for: ReplyTask.patience, tell: context.logger.databaseIsAway) {
                try await search.find(task.question, limit: task.agent.settings.passages, in: context.scope)
            } : []
        let passages = found.enumerated().map { index, found in
            RetrievedPassage(
                number: index + 1,
                source: found.sourceName,
                section: found.chunk.section.isEmpty ? nil : found.chunk.section.joined(separator: " › "),
                content: found.chunk.content
            )
        }
        let remaining = max(.seconds(1), context.deadline - now() - .seconds(5))
        let request = ModelRequest(
            organization: context.scope.id,
            model: task.agent.model,
            instructions: task.agent.instructions,
            messages: task.modelMessages,
            passages: passages,
            temperature: task.agent.settings.temperature,
            maximumTokens: task.agent.settings.maximumTokens,
            deadline: ContinuousClock.now + remaining,
            requestID: task.answers.description
        )
        let pieces = ReplyPieces(database: database, context: context, task: task, underWay: underWay, now: now)
        let completion = try await model.reply(to: request) { text in try await pieces.add(text) }
        try await pieces.flush()
        let text = await pieces.text
        guard !text.allSatisfy(\.isWhitespace) else {
            throw ProviderError(.garbled("an empty answer"), provider: model.name)
        }
        return ReplyDraft(text: text, completion: completion, found: found, passages: passages)
    }

    /// Stores the answer, counts its tokens and ends the job: all of it or nothing.
    private func finish(_ task: ReplyTask, _ draft: ReplyDraft, _ context: JobContext) async throws {
        let scope = context.scope.acting(as: .agent(task.agent.id))
        let now = now()
        let cost = prices.cost(of: draft.completion.usage, model: draft.completion.model)
        let id = ID<Message>()
        let metadata = draft.metadata(agent: task.agent, answers: task.answers, cost: cost)
        try await database.keep(scope, context.logger) { tx in
            let conversations = ConversationStore(tx: tx, scope: scope)
            guard var conversation = try conversations.findLocked(task.conversation), conversation.epoch == task.epoch
            else { throw ReplyInterrupted() }
            try context.finish(in: tx)
            let message = Message(
                id: id,
                conversationID: task.conversation,
                role: .assistant,
                content: draft.text,
                metadata: metadata,
                at: conversation.nextMessageTime(now)
            )
            let messages = MessageStore(tx: tx, scope: scope)
            let newest = try messages.latestInbound(in: task.conversation)
            try messages.insert(message)
            conversation.endReply(.idle, error: nil, at: now)
            conversation.lastMessageAt = message.createdAt
            try StreamStore(tx: tx, scope: scope).append(
                .replyCompleted,
                to: &conversation,
                message: message.id,
                at: now
            )
            let (tokens, overflow) = draft.completion.usage.input.addingReportingOverflow(draft.completion.usage.output)
            try entitlements.count(.aiTokens, overflow ? .max : tokens, in: scope, at: now, tx)
            try tx.record(.messageCreated(message), in: scope, now: now)
            if newest != task.answers {
                // The contact wrote on while the agent was answering.
                conversation.replyState = .queued
                try ReplyJob.enqueue(tx, conversation, scope, now)
            }
            try conversations.save(conversation)
        }
    }

    // MARK: Failure

    /// Ends the job of an answer that no longer counts.
    ///
    /// When the conversation is back with the agent by now and the contact has written since, the message found this job
    /// running and asked for none of its own.
    private func giveWay(_ task: ReplyTask, _ context: JobContext) async throws {
        let scope = context.scope
        let now = now()
        try await database.changeConversation(scope) { tx in
            let conversation = try ConversationStore(tx: tx, scope: scope).findLocked(task.conversation)
            try context.finish(in: tx)
            guard let conversation, conversation.isOpen, conversation.handler == .agent,
                conversation.replyState == .queued
            else { return }
            try ReplyJob.enqueue(tx, conversation, scope, now)
        }
    }

    private func fail(_ task: ReplyTask, _ context: JobContext, because error: any Error) async throws {
        let reason = Self.reason(for: error)
        let isTransient = (error as? ProviderError)?.isTransient ?? true
        let now = now()
        guard isTransient, !context.isLastAttempt else {
            do {
                if try await beginAnew(task, context, because: reason, now) { return }
            } catch is ReplyInterrupted {
                return try await giveWay(task, context)
            }
            // The follow-up of the job tells the conversation: see `abandon`.
            throw JobFailure.permanent(reason)
        }
        let wait = (error as? ProviderError)?.retryAfter ?? .zero
        try await database.changeConversation(context.scope) { tx in
            try tellOfRetry(task, context, because: reason, at: now, in: tx)
            try context.retry(in: tx, after: wait, reason: reason, now: now)
        }
    }

    private func tellOfRetry(
        _ task: ReplyTask,
        _ context: JobContext,
        because reason: String,
        at now: Timestamp,
        in tx: any Transaction
    ) throws {
        let conversations = ConversationStore(tx: tx, scope: context.scope)
        guard var conversation = try conversations.findLocked(task.conversation), conversation.epoch == task.epoch
        else { return }
        conversation.endReply(.retrying, error: reason, at: now)
        try StreamStore(tx: tx, scope: context.scope).append(
            .replyRetrying,
            to: &conversation,
            data: ["reason": .string(reason), "attempt": .integer(Int64(context.attempt))],
            at: now
        )
        try conversations.save(conversation)
    }

    /// Says that the attempt was stopped from outside and another one follows.
    ///
    /// Whether the node shuts down or the time is over, and so what becomes of the job, only the runner knows. When the
    /// last attempt ran out of time, the follow-up of the job tells: see `abandon`.
    private func tellOfInterruption(_ task: ReplyTask, _ context: JobContext) async {
        let now = now()
        guard !context.isLastAttempt || now < context.deadline else { return }
        // A task of its own, since the database refuses work for a cancelled one. Where the claim is gone, so is the epoch
        // as soon as somebody else answers; and what cannot be told now, the next attempt tells by beginning.
        await Task {
            do {
                try await database.changeConversation(context.scope) { tx in
                    try tellOfRetry(task, context, because: "Answering was interrupted.", at: now, in: tx)
                }
            } catch {
                context.logger.notice(
                    "readers could not be told that an answer was interrupted",
                    metadata: ["error": "\(type(of: error))"]
                )
            }
        }.value
    }

    /// What the contact wrote during the last attempt has attempts of its own.
    ///
    /// - Returns: Whether there is such a message; a new job is asked for then.
    /// - Throws: `ReplyInterrupted` when the attempt does not count any more, and so neither does how it failed.
    private func beginAnew(
        _ task: ReplyTask,
        _ context: JobContext,
        because reason: String,
        _ now: Timestamp
    ) async throws -> Bool {
        let scope = context.scope
        return try await database.changeConversation(scope) { tx in
            let conversations = ConversationStore(tx: tx, scope: scope)
            guard var conversation = try conversations.findLocked(task.conversation), conversation.epoch == task.epoch
            else { throw ReplyInterrupted() }
            guard try MessageStore(tx: tx, scope: scope).latestInbound(in: task.conversation) != task.answers
            else { return false }
            try context.finish(in: tx)
            conversation.endReply(.queued, error: nil, at: now)
            try StreamStore(tx: tx, scope: scope).append(
                .replyRetrying,
                to: &conversation,
                data: ["reason": .string(reason), "attempt": .integer(Int64(context.attempt))],
                at: now
            )
            try ReplyJob.enqueue(tx, conversation, scope, now)
            try conversations.save(conversation)
            return true
        }
    }

    /// Tells the conversation that nobody will answer any more, unless there is a new reason to answer by now.
    func abandon(_ job: ReplyJob, reason: String, _ context: JobContext) async throws {
        let scope = context.scope
        let id = job.conversation
        let now = now()
        try await database.changeConversation(scope) { tx in
            let conversations = ConversationStore(tx: tx, scope: scope)
            let found = try conversations.findLocked(id)
            try context.finish(in: tx)
            guard var conversation = found, conversation.handler == .agent, conversation.isOpen,
                conversation.replyState != .idle,
                try !tx.isQueued(ReplyJob.self, uniqueKey: id.description, in: scope)
            else { return }
            if try deservesMore(job, conversation, scope, tx) {
                conversation.endReply(.queued, error: nil, at: now)
                try StreamStore(tx: tx, scope: scope).append(
                    .replyRetrying,
                    to: &conversation,
                    data: ["reason": .string(reason)],
                    at: now
                )
                try ReplyJob.enqueue(tx, conversation, scope, now, isAnew: true)
                return try conversations.save(conversation)
            }
            conversation.endReply(.failed, error: reason, at: now)
            try StreamStore(tx: tx, scope: scope).append(
                .replyFailed,
                to: &conversation,
                data: ["reason": .string(reason)],
                at: now
            )
            try conversations.save(conversation)
            try tx.record(.replyFailed(id, reason), in: scope, now: now)
        }
    }

    /// Whether there is something to answer that no attempt has begun with: it found the job at work and asked for none of
    /// its own.
    ///
    /// That is so when the contact has written since the last attempt began. What was queued since, by the contact or by a
    /// person who gave the conversation back, has a job of its own once; or attempts that never get to begin would go on for
    /// ever.
    private func deservesMore(
        _ job: ReplyJob,
        _ conversation: Conversation,
        _ scope: OrganizationScope,
        _ tx: any Transaction
    ) throws -> Bool {
        if conversation.replyState == .queued { return !job.isAnew }
        guard conversation.replyState == .answering || conversation.replyState == .retrying,
            let started = try StreamStore(tx: tx, scope: scope).latest(.replyStarted, in: conversation.id)
        else { return false }
        let newest = try MessageStore(tx: tx, scope: scope).latestInbound(in: conversation.id)
        return newest?.description != started["in_reply_to"]?.string
    }

    /// Words that may be shown: never what a provider or a contact said.
    private static func reason(for error: any Error) -> String {
        switch error {
        case let error as ProviderError: error.message
        case is StorageError: "The database could not be used."
        default: "Answering failed."
        }
    }
}

/// Collects an answer's text and appends it to the conversation's stream in pieces: at once when it begins, then as
/// often as a reader can notice.
private actor ReplyPieces {
    private static let size = 512

    private let database: any Database
    private let context: JobContext
    private let task: ReplyTask
    private let underWay: AnswersUnderWay
    private let now: @Sendable () -> Timestamp
    private(set) var text = ""
    private var pending = ""
    private var lastAppend: ContinuousClock.Instant?

    init(
        database: any Database,
        context: JobContext,
        task: ReplyTask,
        underWay: AnswersUnderWay,
        now: @escaping @Sendable () -> Timestamp
    ) {
        self.database = database
        self.context = context
        self.task = task
        self.underWay = underWay
        self.now = now
    }

    func add(_ piece: String) async throws {
        // The databases cannot keep U+0000, and a model may say anything.
        let piece = piece.unicodeScalars.contains("\0") ? String(piece.filter { $0 != "\0" }) : piece
        text += piece
        pending += piece
        let instant = ContinuousClock.now
        if let lastAppend, instant - lastAppend < underWay.interval, pending.utf8.count < Self.size { return }
        lastAppend = instant
        try await flush()
    }

    /// Appends what has come since the last piece.
    func flush() async throws {
        guard !pending.isEmpty else { return }
        let due = pending
        pending = ""
        let (scope, task, moment) = (context.scope, task, now())
        let isCurrent = try await database.keep(scope, context.logger) { tx in
            try StreamStore(tx: tx, scope: scope).appendDelta(
                due,
                to: task.conversation,
                epoch: task.epoch,
                at: moment
            )
        }
        guard isCurrent else { throw ReplyInterrupted() }
    }
}

extension Database {
    /// Changes a conversation by what a model has said, which was paid for: a database that is busy or away for a moment
    /// is asked again.
    fileprivate func keep<Value: Sendable>(
        _ scope: OrganizationScope,
        _ logger: Logger,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await patiently(for: ReplyTask.patience, tell: logger.databaseIsAway) {
            try await changeConversation(scope, body)
        }
    }
}

extension Logger {
    /// For ``patiently(for:tell:_:)``.
    fileprivate func databaseIsAway(_ error: StorageError) {
        warning("the database is busy or away and is asked again", metadata: ["error": "\(error)"])
    }
}

extension Event {
    fileprivate static func replyFailed(_ conversation: Conversation.Identifier, _ reason: String) -> Event {
        Event(
            AgentEvents.replyFailed,
            subject: conversation.description,
            data: ["conversation_id": .string(conversation.description), "reason": .string(reason)]
        )
    }
}
