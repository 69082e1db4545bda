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
        } catch is Answering.Superseded {
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
            guard var held = try hold(job.conversation, scope, now, tx), held.conversation.isAnsweredByAgent else {
                try context.finish(in: tx)
                return nil
            }
            // A worker whose lease has expired must not interrupt the answer of the new holder.
            try context.check(in: tx)
            let agents = AIAgentStore(tx: tx, scope: scope)
            var agent = try held.conversation.agentID.flatMap { try agents.find($0) }
            if agent?.isActive != true { agent = try agents.firstActive() }
            let history = max(agent?.settings.history ?? 1, 1)
            // One more, as the last may be an answer to what is older.
            let latest = try MessageStore(tx: tx, scope: scope).latest(history + 1, in: job.conversation)
            let messages = Array(ReplyTask.inOrder(latest).suffix(history))
            guard let agent, let last = messages.last, last.direction == .inbound else {
                if try held.apply(agent == nil ? .foundNoAgent : .foundNothing) { try held.save() }
                try context.finish(in: tx)
                return nil
            }
            try held.apply(.began(.init(context.attempt, by: agent.id, answering: last.id, at: now)))
            try held.save()
            return ReplyTask(
                conversation: job.conversation,
                epoch: held.answering.epoch,
                agent: agent,
                messages: messages,
                answers: last.id
            )
        }
    }

    private func hold(
        _ id: ID<ConversationEntity>,
        _ scope: OrganizationScope,
        _ now: Timestamp,
        _ tx: any Transaction
    ) throws -> HeldConversation? {
        try HeldConversation.find(id, in: scope, request: ReplyJob.request, now: now, tx)
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
            guard var held = try hold(task.conversation, scope, now, tx) else { throw Answering.Superseded() }
            let message = Message(
                id: id,
                conversationID: task.conversation,
                role: .assistant,
                content: draft.text,
                metadata: metadata,
                at: held.conversation.nextMessageTime(now)
            )
            let messages = MessageStore(tx: tx, scope: scope)
            let newest = try messages.latestInbound(in: task.conversation)
            try messages.insert(message)
            // First, so that the next answer's job is a new one.
            try context.finish(in: tx)
            try held.apply(.completed(epoch: task.epoch, answer: id, newest: newest))
            held.conversation.lastMessageAt = message.createdAt
            try held.save()
            let (tokens, overflow) = draft.completion.usage.input.addingReportingOverflow(draft.completion.usage.output)
            try entitlements.count(.aiTokens, overflow ? .max : tokens, in: scope, at: now, tx)
            try tx.record(.messageCreated(message), in: scope, now: now)
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
            var held = try hold(task.conversation, scope, now, tx)
            try context.finish(in: tx)
            guard held?.conversation.isAnsweredByAgent == true else { return }
            try held?.apply(.gaveWay)
        }
    }

    private func fail(_ task: ReplyTask, _ context: JobContext, because error: any Error) async throws {
        let reason = Self.reason(for: error)
        let isTransient = (error as? ProviderError)?.isTransient ?? true
        let now = now()
        let scope = context.scope
        guard isTransient, !context.isLastAttempt else {
            do {
                return try await database.changeConversation(scope) { tx in
                    guard var held = try hold(task.conversation, scope, now, tx) else { throw Answering.Superseded() }
                    // First, so that what the contact wrote meanwhile gets a new job.
                    try context.finish(in: tx)
                    let newest = try MessageStore(tx: tx, scope: scope).latestInbound(in: task.conversation)
                    let failure = Answering.Occurrence.failed(
                        epoch: task.epoch,
                        attempt: context.attempt,
                        reason: reason,
                        newest: newest
                    )
                    // Nothing is kept of this transaction then: the runner gives the job up, and its follow-up tells the
                    // conversation (`abandon`).
                    guard try held.apply(failure) else { throw JobFailure.permanent(reason) }
                    try held.save()
                }
            } catch is Answering.Superseded {
                return try await giveWay(task, context)
            }
        }
        let wait = (error as? ProviderError)?.retryAfter ?? .zero
        try await database.changeConversation(scope) { tx in
            try tellOfRetry(task, context, because: reason, at: now, in: tx)
            try context.retry(in: tx, after: wait, reason: reason, now: now)
        }
    }

    /// Tells the conversation, unless the attempt does not count any more.
    private func tellOfRetry(
        _ task: ReplyTask,
        _ context: JobContext,
        because reason: String,
        at now: Timestamp,
        in tx: any Transaction
    ) throws {
        guard var held = try hold(task.conversation, context.scope, now, tx) else { return }
        do {
            try held.apply(.retries(epoch: task.epoch, attempt: context.attempt, reason: reason))
        } catch is Answering.Superseded {
            return
        }
        try held.save()
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

    /// Tells the conversation that nobody will answer any more, unless there is a new reason to answer by now.
    func abandon(_ job: ReplyJob, reason: String, _ context: JobContext) async throws {
        let scope = context.scope
        let id = job.conversation
        let now = now()
        try await database.changeConversation(scope) { tx in
            let held = try hold(id, scope, now, tx)
            try context.finish(in: tx)
            guard var held, held.conversation.isAnsweredByAgent,
                try !tx.isQueued(ReplyJob.self, uniqueKey: id.description, in: scope)
            else { return }
            let newest = try MessageStore(tx: tx, scope: scope).latestInbound(in: id)
            if try held.apply(.abandoned(reason: reason, isAnew: job.isAnew, newest: newest)) { try held.save() }
        }
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
        guard isCurrent else { throw Answering.Superseded() }
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
