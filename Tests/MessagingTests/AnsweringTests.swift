import Kernel
import Messaging
import Testing

@Suite("Answering")
struct AnsweringTests {
    /// Every kind of event, those of an attempt once each as they come in and as they come too late.
    private enum Kind: CaseIterable {
        case asked, takenOver, givenBack, began, foundNothing, foundNoAgent
        case completed, completedWhileAsked, completedLate
        case retries, retriesLate
        case failed, failedWhileAsked, failedLate
        case gaveWay
        case abandoned, abandonedAnew, abandonedWhileAsked

        /// A new kind of event has to be added above, and to the table.
        init(_ event: Answering.Occurrence) {
            switch event {
            case .asked: self = .asked
            case .takenOver: self = .takenOver
            case .givenBack: self = .givenBack
            case .began: self = .began
            case .foundNothing: self = .foundNothing
            case .foundNoAgent: self = .foundNoAgent
            case .completed: self = .completed
            case .retries: self = .retries
            case .failed: self = .failed
            case .gaveWay: self = .gaveWay
            case .abandoned: self = .abandoned
            }
        }
    }

    private static let (question, newer, answer) = (ID<Message>(), ID<Message>(), ID<Message>())
    private static let attempt = Answering.Attempt(1, by: ID(), answering: question, at: .now())

    /// What follows, by the state before: the state after, `'` when the epoch rose, and the effects.
    private func expected(_ kind: Kind, in state: Answering.State) -> String {
        func row(_ idle: String, _ queued: String, _ answering: String, _ retrying: String, _ failed: String) -> String
        {
            switch state {
            case .idle: idle
            case .queued: queued
            case .answering: answering
            case .retrying: retrying
            case .failed: failed
            }
        }
        func all(_ text: String) -> String { row(text, text, text, text, text) }
        /// What an attempt that is under way says, and nobody else can.
        func onlyAnswering(_ text: String) -> String { row("late", "late", text, "late", "late") }

        switch kind {
        case .asked:
            return row("queued request", "queued request", "answering request", "queued request", "queued request")
        case .takenOver: return row("idle'", "idle' cancelled", "idle' cancelled", "idle' cancelled", "idle'")
        case .givenBack:
            let cancelled = "queued' cancelled request"
            return row("queued' request", cancelled, cancelled, cancelled, "queued' request")
        case .began: return all("answering' started")
        case .foundNothing: return row("idle", "idle' cancelled", "idle' cancelled", "idle' cancelled", "failed")
        case .foundNoAgent:
            let failed = "failed' failed recorded"
            return row("idle", failed, failed, failed, "failed")
        case .completed: return onlyAnswering("idle' completed")
        case .completedWhileAsked: return onlyAnswering("queued' completed request")
        case .retries: return onlyAnswering("retrying' retrying")
        case .failed: return onlyAnswering("answering")
        case .failedWhileAsked: return onlyAnswering("queued' retrying request")
        case .completedLate, .retriesLate, .failedLate: return all("late")
        case .gaveWay: return row("idle", "queued request", "answering", "retrying", "failed")
        case .abandoned:
            let failed = "failed' failed recorded"
            return row("idle", "queued' retrying request-anew", failed, failed, failed)
        case .abandonedAnew:
            let failed = "failed' failed recorded"
            return row("idle", failed, failed, failed, failed)
        case .abandonedWhileAsked:
            let anew = "queued' retrying request-anew"
            return row("idle", anew, anew, anew, "failed' failed recorded")
        }
    }

    private func event(_ kind: Kind, epoch: Int64) -> Answering.Occurrence {
        let (question, newer, answer) = (Self.question, Self.newer, Self.answer)
        return switch kind {
        case .asked: .asked
        case .takenOver: .takenOver
        case .givenBack: .givenBack
        case .began: .began(Self.attempt)
        case .foundNothing: .foundNothing
        case .foundNoAgent: .foundNoAgent
        case .completed: .completed(epoch: epoch, answer: answer, newest: question)
        case .completedWhileAsked: .completed(epoch: epoch, answer: answer, newest: newer)
        case .completedLate: .completed(epoch: epoch - 1, answer: answer, newest: question)
        case .retries: .retries(epoch: epoch, attempt: 1, reason: "why")
        case .retriesLate: .retries(epoch: epoch - 1, attempt: 1, reason: "why")
        case .failed: .failed(epoch: epoch, attempt: 6, reason: "why", newest: question)
        case .failedWhileAsked: .failed(epoch: epoch, attempt: 6, reason: "why", newest: newer)
        case .failedLate: .failed(epoch: epoch - 1, attempt: 6, reason: "why", newest: newer)
        case .gaveWay: .gaveWay
        case .abandoned: .abandoned(reason: "why", isAnew: false, newest: question)
        case .abandonedAnew: .abandoned(reason: "why", isAnew: true, newest: question)
        case .abandonedWhileAsked: .abandoned(reason: "why", isAnew: false, newest: newer)
        }
    }

    private func answering(in state: Answering.State) throws -> Answering {
        var answering = Answering()
        func apply(_ event: Answering.Occurrence) throws { _ = try answering.apply(event) }
        if state != .idle { try apply(.asked) }
        switch state {
        case .idle, .queued: break
        case .answering: try apply(.began(Self.attempt))
        case .retrying:
            try apply(.began(Self.attempt))
            try apply(.retries(epoch: answering.epoch, attempt: 1, reason: "before"))
        case .failed:
            try apply(.began(Self.attempt))
            try apply(.abandoned(reason: "before", isAnew: false, newest: Self.question))
        }
        #expect(answering.state == state)
        return answering
    }

    private func word(_ effect: Answering.Effect) -> String {
        switch effect {
        case .request(let isAnew): isAnew ? "request-anew" : "request"
        case .append(let kind, _, _): String(kind.rawValue.split(separator: ".").last ?? "")
        case .recordFailure: "recorded"
        }
    }

    @Test("in every state every event does what the table says")
    func table() throws {
        for state in Answering.State.allCases {
            for kind in Kind.allCases {
                let before = try answering(in: state)
                var after = before
                let found: String
                do {
                    let effects = try after.apply(event(kind, epoch: before.epoch))
                    let mark = after.epoch == before.epoch ? "" : "'"
                    found = ([after.state.rawValue + mark] + effects.map(word)).joined(separator: " ")
                } catch {
                    #expect(after == before)
                    found = "late"
                }
                #expect(found == expected(kind, in: state), "\(kind) in \(state)")
                #expect(after.epoch >= before.epoch)
                let hasReason = after.state == .retrying || after.state == .failed
                #expect((after.error != nil) == hasReason, "\(kind) in \(state)")
            }
        }
    }

    @Test("an attempt says with which message it began, and clients see why there is no answer")
    func contents() throws {
        var answering = try answering(in: .queued)
        #expect(
            try answering.apply(.began(Self.attempt)) == [
                .append(
                    .replyStarted,
                    data: [
                        "attempt": 1, "agent_id": .string(Self.attempt.agent.description),
                        "in_reply_to": .string(Self.question.description),
                    ]
                )
            ]
        )
        #expect(answering.question == Self.question)
        #expect(answering.startedAt == Self.attempt.at)
        #expect(
            try answering.apply(.retries(epoch: answering.epoch, attempt: 2, reason: "why")) == [
                .append(.replyRetrying, data: ["reason": "why", "attempt": 2])
            ]
        )
        #expect(answering.summary == Answering.Summary(.retrying, error: "why"))
    }

    // MARK: With the job that answers

    /// A conversation with the job that answers in it, as the queue handles it; small enough to look at every course of events.
    private struct Course: Hashable {
        enum Job: Hashable {
            case none
            case waiting(attempt: Int, isAnew: Bool)
            /// `isCurrent`: whether what it says counts; nil before it began.
            case running(attempt: Int, isAnew: Bool, isCurrent: Bool?)
        }

        enum Step: CaseIterable {
            case write, takeOver, giveBack, claim, begin, complete, fail, crash, tell
        }

        static let messages = (0..<3).map { _ in ID<Message>() }

        var answering = Answering()
        var isAgents = true
        var job = Job.none
        /// Jobs that were given up, and of which the conversation is not told yet.
        var abandoned: [Bool] = []
        var written = 0
        var answered = 0
        var handovers = 0
        var epoch: Int64 = 0
        var asked = 0

        var newest: ID<Message>? { written == 0 ? nil : Self.messages[written - 1] }

        /// Nothing of the numbers that only rise.
        var key: String {
            let question = Self.messages.firstIndex { $0 == answering.question }.map { "\($0)" } ?? "-"
            return
                "\(answering.state) \(question) \(isAgents) \(job) \(abandoned) \(written) \(answered) \(handovers) \(asked)"
        }

        /// - Returns: Whether anything followed.
        @discardableResult
        mutating func apply(_ event: Answering.Occurrence) throws -> Bool {
            let effects = try answering.apply(event)
            for case .request(let isAnew) in effects where job == .none { job = .waiting(attempt: 1, isAnew: isAnew) }
            if case .running(let attempt, let isAnew, .some) = job {
                job = .running(attempt: attempt, isAnew: isAnew, isCurrent: answering.epoch == epoch)
            }
            return !effects.isEmpty
        }

        /// - Returns: Whether the step can be made.
        mutating func make(_ step: Step) throws -> Bool {
            switch (step, job) {
            case (.write, _) where written < Self.messages.count:
                written += 1
                if isAgents { try apply(.asked) }
            case (.takeOver, _) where isAgents && handovers < 2:
                isAgents = false
                handovers += 1
                try apply(.takenOver)
            case (.giveBack, _) where !isAgents:
                isAgents = true
                try apply(.givenBack)
            case (.claim, .waiting(let attempt, let isAnew)):
                job = .running(attempt: attempt, isAnew: isAnew, isCurrent: nil)
            case (.begin, .running(let attempt, let isAnew, nil)):
                guard isAgents else {
                    job = .none
                    return true
                }
                guard let newest, answered < written else {
                    try apply(.foundNothing)
                    job = .none
                    return true
                }
                try apply(.began(.init(attempt, by: ID(), answering: newest, at: .now())))
                epoch = answering.epoch
                asked = written
                job = .running(attempt: attempt, isAnew: isAnew, isCurrent: true)
            case (.complete, .running(_, _, .some)):
                job = .none
                do {
                    try apply(.completed(epoch: epoch, answer: ID(), newest: newest))
                    answered = asked
                } catch is Answering.Superseded {
                    if isAgents { try apply(.gaveWay) }
                }
            case (.fail, .running(let attempt, let isAnew, .some)):
                if attempt == 1 {
                    _ = try? apply(.retries(epoch: epoch, attempt: attempt, reason: "why"))
                    job = .waiting(attempt: 2, isAnew: isAnew)
                    return true
                }
                job = .none
                do {
                    let failure = Answering.Occurrence.failed(
                        epoch: epoch,
                        attempt: attempt,
                        reason: "why",
                        newest: newest
                    )
                    if try !apply(failure) { abandoned.append(isAnew) }
                } catch is Answering.Superseded {
                    if isAgents { try apply(.gaveWay) }
                }
            // The worker dies, in whatever it does.
            case (.crash, .running(let attempt, let isAnew, _)):
                job = attempt == 1 ? .waiting(attempt: 2, isAnew: isAnew) : .none
                if attempt == 2 { abandoned.append(isAnew) }
            case (.tell, _) where !abandoned.isEmpty:
                let isAnew = abandoned.removeFirst()
                if isAgents, job == .none { try apply(.abandoned(reason: "why", isAnew: isAnew, newest: newest)) }
            default: return false
            }
            return true
        }
    }

    @Test("whatever happens, a contact who waits has a job that answers, or is told that nobody will")
    func nobodyWaitsForEver() throws {
        var seen: Set<String> = []
        var open = [Course()]
        while let course = open.popLast() {
            guard seen.insert(course.key).inserted else { continue }
            if course.isAgents, course.job == .none, course.abandoned.isEmpty {
                switch course.answering.state {
                case .idle: #expect(course.answered == course.written, "\(course.key)")
                case .failed: break
                case .queued, .answering, .retrying: Issue.record("waits for ever: \(course.key)")
                }
            }
            if case .running(_, _, true) = course.job { #expect(course.isAgents, "\(course.key)") }
            for step in Course.Step.allCases {
                var next = course
                if try next.make(step) { open.append(next) }
            }
        }
        #expect(seen.count > 1_000)
    }
}
