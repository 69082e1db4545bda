package import Kernel
package import Storage

/// How far the agent's answer to the latest messages of one conversation is, and what follows from what happens.
///
/// A pure value: ``apply(_:)`` takes what happened and returns what has to be done in the same transaction.
/// ``HeldConversation`` is the one place that does it.
///
/// An *attempt* is one run of the job that answers. Each change of hands, and each beginning and end of an attempt, opens a new
/// *epoch*. What an attempt says counts only in the epoch in which it began: an attempt that was stopped, or whose worker died,
/// cannot write into the answer of the next one.
package struct Answering: Sendable, Hashable {
    package enum State: String, Sendable, CaseIterable, StoredEnumeration {
        /// Nothing is to be answered.
        case idle
        /// A job was asked for and has not begun.
        case queued
        /// An attempt is under way.
        case answering
        /// The last attempt failed; the next one is scheduled.
        case retrying
        /// No attempt will follow. The contact's message is kept; people must answer.
        case failed
    }

    /// What clients see of it, kept in the row of the conversation for its lists.
    package struct Summary: Sendable, Hashable {
        package let state: State
        /// Why the answer is `retrying` or `failed`, safe to show.
        package let error: String?

        package init(_ state: State = .idle, error: String? = nil) {
            self.state = state
            self.error = error
        }
    }

    /// The beginning of an attempt.
    package struct Attempt: Sendable, Hashable {
        /// Which attempt of its job, from 1.
        package let number: Int
        package let agent: ID<AgentEntity>
        /// The newest message that is answered.
        package let question: ID<Message>
        package let at: Timestamp

        package init(_ number: Int, by agent: ID<AgentEntity>, answering question: ID<Message>, at: Timestamp) {
            self.number = number
            self.agent = agent
            self.question = question
            self.at = at
        }
    }

    /// What happens to a conversation.
    ///
    /// `newest` is the newest message of the contact, or nil when there is none.
    package enum Occurrence: Sendable {
        /// The contact wrote, and an agent is to answer.
        case asked
        /// A person took the conversation over, or it was closed.
        case takenOver
        /// The conversation is the agent's again, who looks whether the contact waits for a word.
        case givenBack
        case began(Attempt)
        /// An attempt found no message that waits for an answer.
        case foundNothing
        /// An attempt found no agent that is active.
        case foundNoAgent
        /// The attempt of this epoch stored its answer.
        case completed(epoch: Int64, answer: ID<Message>, newest: ID<Message>?)
        /// The attempt of this epoch failed or was interrupted, and its job is run again.
        case retries(epoch: Int64, attempt: Int, reason: String)
        /// The attempt of this epoch failed and its job is not run again.
        ///
        /// Without an effect there is nothing new to answer: the job is to be given up, and `abandoned` follows.
        case failed(epoch: Int64, attempt: Int, reason: String, newest: ID<Message>?)
        /// An attempt learned that it does not count any more, and ends its job.
        case gaveWay
        /// The job was given up, and none for the conversation is in the queue.
        ///
        /// `isAnew` says that this job took the place of one that had been given up without beginning.
        case abandoned(reason: String, isAnew: Bool, newest: ID<Message>?)
    }

    /// What has to be done in the transaction in which it happened.
    package enum Effect: Sendable, Hashable {
        /// Ask for a job, unless one waits or runs.
        case request(isAnew: Bool = false)
        /// Tell the conversation's stream.
        case append(Conversation.EntryKind, message: ID<Message>? = nil, data: JSON = [:])
        /// Tell the event feed that nobody will answer.
        case recordFailure(reason: String)
    }

    /// The attempt that says something does not count any more.
    package struct Superseded: Error {
        package init() {}
    }

    /// Rises with each change of hands, and each beginning and end of an attempt.
    package private(set) var epoch: Int64
    package private(set) var state: State
    /// Why it is `retrying` or `failed`, safe to show.
    package private(set) var error: String?
    /// The newest message that the last attempt began with.
    package private(set) var question: ID<Message>?
    /// When the last attempt began.
    package private(set) var startedAt: Timestamp?

    /// A conversation in which nothing was asked yet.
    package init() {
        epoch = 1
        state = .idle
    }

    package var summary: Summary { Summary(state, error: error) }

    /// - Throws: ``Superseded`` for `completed`, `retries` and `failed` of an attempt that does not count any more.
    package mutating func apply(_ event: Occurrence) throws(Superseded) -> [Effect] {
        switch event {
        case .asked:
            switch state {
            case .idle, .queued, .retrying, .failed: state = .queued
            // It looks for newer messages before it ends.
            case .answering: break
            }
            error = nil
            return [.request()]

        case .takenOver:
            let effects = cancellation
            move(to: .idle)
            return effects

        case .givenBack:
            let effects = cancellation
            move(to: .queued)
            return effects + [.request()]

        case .began(let attempt):
            // From any state: that of an attempt whose worker died is still `answering`.
            move(to: .answering)
            question = attempt.question
            startedAt = attempt.at
            return [
                .append(
                    .replyStarted,
                    data: [
                        "attempt": .integer(Int64(attempt.number)), "agent_id": .string(attempt.agent.description),
                        "in_reply_to": .string(attempt.question.description),
                    ]
                )
            ]

        case .foundNothing:
            let effects = cancellation
            if !effects.isEmpty { move(to: .idle) }
            return effects

        case .foundNoAgent:
            switch state {
            case .queued, .answering, .retrying: return fail(because: "No agent is active.")
            case .idle, .failed: return []
            }

        case .completed(let epoch, let answer, let newest):
            try check(epoch)
            let isWhole = newest == question
            move(to: isWhole ? .idle : .queued)
            // Otherwise the contact wrote on while the agent was answering.
            return [.append(.replyCompleted, message: answer)] + (isWhole ? [] : [.request()])

        case .retries(let epoch, let attempt, let reason):
            try check(epoch)
            move(to: .retrying, error: reason)
            return [Self.retrying(reason, attempt)]

        case .failed(let epoch, let attempt, let reason, let newest):
            try check(epoch)
            // What the contact wrote during the attempt has attempts of its own.
            guard newest != question else { return [] }
            move(to: .queued)
            return [Self.retrying(reason, attempt), .request()]

        case .gaveWay:
            switch state {
            // The message found the old job at work, so none was added for it.
            case .queued: return [.request()]
            case .idle, .answering, .retrying, .failed: return []
            }

        case .abandoned(let reason, let isAnew, let newest):
            let deservesMore =
                switch state {
                case .idle, .failed: false
                // What was asked for since no attempt began gets a job of its own once; or jobs that never get to begin would
                // follow each other for ever.
                case .queued: !isAnew
                // The contact has written since the attempt began, and found its job at work.
                case .answering, .retrying: newest != question
                }
            if deservesMore {
                move(to: .queued)
                return [Self.retrying(reason, nil), .request(isAnew: true)]
            }
            switch state {
            case .queued, .answering, .retrying, .failed: return fail(because: reason)
            case .idle: return []
            }
        }
    }

    /// What tells readers that the answer they wait for will not come.
    private var cancellation: [Effect] {
        switch state {
        case .queued, .answering, .retrying: [.append(.replyCancelled)]
        case .idle, .failed: []
        }
    }

    private mutating func fail(because reason: String) -> [Effect] {
        move(to: .failed, error: reason)
        return [.append(.replyFailed, data: ["reason": .string(reason)]), .recordFailure(reason: reason)]
    }

    private mutating func move(to next: State, error reason: String? = nil) {
        epoch &+= 1
        state = next
        error = reason
    }

    private func check(_ epoch: Int64) throws(Superseded) {
        guard state == .answering, epoch == self.epoch else { throw Superseded() }
    }

    private static func retrying(_ reason: String, _ attempt: Int?) -> Effect {
        guard let attempt else { return .append(.replyRetrying, data: ["reason": .string(reason)]) }
        return .append(
            .replyRetrying,
            data: ["reason": .string(reason), "attempt": .integer(Int64(attempt))]
        )
    }
}

extension Answering: RowDecodable {
    static let columns: SQL = "epoch, state, error, question_id, started_at"

    package init(row: inout Row) throws {
        epoch = try row.next()
        state = try row.next()
        error = try row.next()
        question = try row.next()
        startedAt = try row.next()
    }
}
