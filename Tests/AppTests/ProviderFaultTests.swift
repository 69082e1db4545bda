import App
import Jobs
import Kernel
import Schema
import Simulators
import Storage
import Synchronization
import TestKit
import Testing
import Web

/// What contacts and operators see when the provider of the model does not do its part.
///
/// Nothing runs by itself here: the tests move the clock and say when the worker looks for jobs.
@Suite("A provider that fails", .timeLimit(.minutes(3)))
struct ProviderFaultTests {
    /// What the provider does, and the word for it that the conversation shows.
    struct Fault: Sendable, CustomTestStringConvertible {
        let failure: OpenAISimulator.Failure
        let reason: String

        var testDescription: String { "\(failure)" }
    }

    private static let faults = [
        Fault(failure: .status(500), reason: "overloaded"),
        Fault(failure: .status(503), reason: "overloaded"),
        Fault(failure: .rateLimited(), reason: "fewer calls"),
        Fault(failure: .dropMidStream(after: 2), reason: "reached"),
        Fault(failure: .endMidStream(after: 2), reason: "breaks off"),
        Fault(failure: .garbage, reason: "cannot be used"),
        Fault(failure: .noDone, reason: "end mark"),
        Fault(failure: .errorEventMidStream(after: 2), reason: "overloaded"),
    ]

    @Test("is tried again, and answers once when it is back", arguments: TestDatabase.kinds, faults)
    func recovers(on kind: TestDatabase.Kind, from fault: Fault) async throws {
        try await withDesk(on: kind) { desk in
            desk.simulator.fail(next: 2, with: fault.failure)
            let question = try await desk.ask("Where is my order?")

            for attempt in 1...2 {
                #expect(try await desk.work() == 1)
                let state = try await desk.state()
                #expect(state["reply_state"]?.string == "retrying")
                #expect(state["reply_error"]?.string?.contains(fault.reason) == true, "\(state)")
                #expect(try await desk.messages().map { $0["id"]?.string } == [question])
                // 2 s and 4 s, and not before.
                desk.clock.advance(by: .seconds(attempt * 2) - .milliseconds(1))
                #expect(try await desk.work() == 0)
                desk.clock.advance(by: .milliseconds(1))
            }
            #expect(try await desk.work() == 1)
            try await desk.expectAnswers(to: [question])
            #expect(try await desk.work() == 0)
            let kinds = try await desk.events().map(\.kind).filter { $0 != "reply.delta" }
            #expect(
                kinds == [
                    "message.created", "reply.started", "reply.retrying", "reply.started", "reply.retrying",
                    "reply.started", "reply.completed",
                ]
            )
            #expect(desk.simulator.counts.chats == 3)
        }
    }

    @Test(
        "has answered, and the database is away for a moment: the answer is not asked for again",
        arguments: TestDatabase.kinds,
        [false, true]
    )
    func keepsAnswers(on kind: TestDatabase.Kind, isStreamed: Bool) async throws {
        let refusal = WriteRefusal()
        try await withDesk(on: kind, refusal: refusal) { desk in
            // With its only piece in the stream the whole message is left to store, else pieces come first.
            if isStreamed { desk.simulator.answer(with: "Soon") }
            desk.simulator.hold(after: isStreamed ? 1 : 2)
            let question = try await desk.ask("Where is my order?")
            async let work = desk.work()
            try await desk.simulator.counts { $0.held == 1 }
            if isStreamed {
                let path = "/api/v1/conversations/\(desk.conversation)/events?after=0"
                _ = try await desk.owner.events("GET", path) { $0.kind == "reply.delta" }
            }
            refusal.refuse(next: 3)
            desk.simulator.release()
            #expect(try await work == 1)
            #expect(refusal.isSpent)
            try await desk.expectAnswers(to: [question])
            #expect(desk.simulator.counts.chats == 1)
            #expect(try await desk.events().filter { $0.kind == "reply.started" }.count == 1)
        }
    }

    @Test("is left alone for as long as it asks", arguments: TestDatabase.kinds)
    func retryAfter(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            desk.simulator.fail(with: .status(503, retryAfter: 30))
            let question = try await desk.ask("Where is my order?")
            #expect(try await desk.work() == 1)
            desk.clock.advance(by: .milliseconds(29_999))
            #expect(try await desk.work() == 0)
            desk.clock.advance(by: .milliseconds(1))
            #expect(try await desk.work() == 1)
            try await desk.expectAnswers(to: [question])
        }
    }

    @Test("cannot be reached, and then can", arguments: TestDatabase.kinds)
    func refusedConnection(on kind: TestDatabase.Kind) async throws {
        let reserved = try ReservedPort()
        let simulator = OpenAISimulator(port: reserved.number)
        try await withDesk(on: kind, simulator, at: simulator.baseURL) { desk in
            let question = try await desk.ask("Where is my order?")
            #expect(try await desk.work() == 1)
            let state = try await desk.state()
            #expect(state["reply_state"]?.string == "retrying")
            #expect(state["reply_error"]?.string?.contains("cannot be reached") == true)
            desk.clock.advance(by: .seconds(2))
            try await simulator.whileRunning { _ in
                #expect(try await desk.work() == 1)
                try await desk.expectAnswers(to: [question])
            }
            withExtendedLifetime(reserved) {}
        }
    }

    @Test("has no quota left: one try, then a person must act", arguments: TestDatabase.kinds)
    func quota(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            desk.simulator.fail(with: .quota)
            let question = try await desk.ask("Where is my order?")
            try await desk.workUntilIdle()
            #expect(desk.simulator.counts.chats == 1)
            try await desk.expectFailure("quota")

            try await desk.retryQuarantined()
            try await desk.workUntilIdle()
            try await desk.expectAnswers(to: [question])
        }
    }

    @Test(
        "fails to the last attempt: the conversation says so, and the job answers after all",
        arguments: TestDatabase.kinds
    )
    func exhausted(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            desk.simulator.fail(next: 6, with: .rateLimited())
            let question = try await desk.ask("Where is my order?")
            for attempt in 1...6 {
                #expect(try await desk.work() == 1, "attempt \(attempt)")
                desk.clock.advance(by: .seconds(60))
            }
            try await desk.workUntilIdle()
            #expect(desk.simulator.counts.chats == 6)
            try await desk.expectFailure("fewer calls")
            #expect(try await desk.messages().map { $0["id"]?.string } == [question])

            try await desk.retryQuarantined()
            try await desk.workUntilIdle()
            try await desk.expectAnswers(to: [question])
            #expect(try await desk.quarantined().isEmpty)
        }
    }

    @Test("fails, and the contact's next message is answered all the same", arguments: TestDatabase.kinds)
    func writesOnAfterFailure(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            desk.simulator.fail(with: .quota)
            _ = try await desk.ask("Where is my order?")
            try await desk.workUntilIdle()
            let second = try await desk.ask("Hello?")
            try await desk.workUntilIdle()
            try await desk.expectAnswers(to: [second])

            // What was given up is retried too late: it has been answered with the second message.
            try await desk.retryQuarantined()
            try await desk.workUntilIdle()
            try await desk.expectAnswers(to: [second])
        }
    }

    // MARK: Attempts that end otherwise

    @Test("hangs until the attempt is cancelled, the last one as well", arguments: TestDatabase.kinds)
    func hangs(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            desk.simulator.fail(next: 6, with: .hangBeforeHeaders)
            let question = try await desk.ask("Where is my order?")
            for attempt in 1...6 {
                async let ran = desk.work()
                // The simulator does not notice that a reader went away: earlier requests hang on.
                try await desk.simulator.counts { $0.held == attempt }
                desk.clock.advance(by: .seconds(120))
                desk.app.node.runner.cancelOverdue()
                #expect(try await ran == 1, "attempt \(attempt)")
                if attempt < 6 {
                    let state = try await desk.state()
                    #expect(state["reply_state"]?.string == "retrying", "attempt \(attempt)")
                    #expect(state["reply_error"]?.string?.contains("interrupted") == true, "\(state)")
                    #expect(try await desk.events().last?.kind == "reply.retrying")
                }
                desk.clock.advance(by: .seconds(90))
            }
            try await desk.workUntilIdle()
            try await desk.expectFailure("timed out")

            try await desk.retryQuarantined()
            try await desk.workUntilIdle()
            try await desk.expectAnswers(to: [question])
        }
    }

    @Test("is answering when the node stops: another begins at once", arguments: TestDatabase.kinds)
    func nodeStops(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            desk.simulator.hold(after: 2)
            let question = try await desk.ask("Where is my order?")
            let runner = desk.app.node.runner
            async let ran = runner.runOnce(.interactive)
            try await desk.simulator.counts { $0.held == 1 }
            runner.cancelRunning()
            #expect(try await ran == 1)
            #expect(try await desk.state()["reply_state"]?.string == "retrying")
            desk.simulator.release()
            try await withApp(
                over: desk.app.node.database,
                environment: desk.environment,
                roles: "http",
                now: { [clock = desk.clock] in clock.now }
            ) { other in
                #expect(try await other.node.runner.runOnce(.interactive) == 1)
                try await desk.expectAnswers(to: [question])
                let starts = try await desk.events().filter { $0.kind == "reply.started" }
                #expect(starts.map { $0.data["attempt"]?.int } == [1, 1])
            }
        }
    }

    @Test("is answering when the last attempt's worker is given up by the others", arguments: TestDatabase.kinds)
    func lostLastAttempt(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            _ = try await desk.askInVain("Where is my order?", attempts: 5)
            desk.simulator.hold(after: 2)
            async let ran = desk.work()
            try await desk.simulator.counts { $0.held == 1 }
            #expect(try await desk.state()["reply_state"]?.string == "answering")
            try await desk.loseWorker()
            desk.simulator.release()
            // The late answer is refused: its claim is gone.
            _ = try await ran
            try await desk.workUntilIdle()
            try await desk.expectFailure("worker lost")
            #expect(try await desk.messages().count == 1)
        }
    }

    @Test(
        "is answering when the last worker is lost: what the contact wrote meanwhile is answered",
        arguments: TestDatabase.kinds
    )
    func lostWhileWriting(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            _ = try await desk.askInVain("Where is my order?", attempts: 5)
            desk.simulator.hold(after: 2)
            async let ran = desk.work()
            try await desk.simulator.counts { $0.held == 1 }
            let second = try await desk.ask("Hello?")
            _ = try await desk.state()
            try await desk.loseWorker()
            desk.simulator.release()
            _ = try await ran
            #expect(try await desk.work() == 1)
            #expect(try await desk.state()["reply_state"]?.string == "queued")
            #expect(try await desk.events().last?.kind == "reply.retrying")
            try await desk.workUntilIdle()
            try await desk.expectAnswers(to: [second])
            #expect(try await !desk.events().map(\.kind).contains("reply.failed"))
        }
    }

    @Test("is answering when a worker that lost the job wakes up: it breaks nothing off", arguments: TestDatabase.kinds)
    func lateBeginning(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            desk.simulator.hold(after: 2)
            let question = try await desk.ask("Where is my order?")
            try await withStalledWorker(at: desk) { mayBegin, hasEnded in
                try await desk.loseWorker()
                desk.clock.advance(by: .seconds(60))
                async let ran = desk.work()
                try await desk.simulator.counts { $0.held == 1 }
                mayBegin.open()
                try await eventually("the late worker gives up, or asks the model too") {
                    hasEnded.current || desk.simulator.counts.held == 2 ? () : nil
                }
                desk.simulator.release()
                #expect(try await ran == 1)
                try await hasEnded.value { $0 }
                try await desk.expectAnswers(to: [question])
                #expect(desk.simulator.counts.chats == 1)
            }
        }
    }

    @Test("is slow: an operator takes over, and the answer is dropped", arguments: TestDatabase.kinds)
    func takenOver(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            desk.simulator.hold(after: 2)
            let question = try await desk.ask("Where is my order?")
            async let ran = desk.work()
            try await desk.simulator.counts { $0.held == 1 }
            #expect(try await desk.hand(to: "human") == 200)
            desk.simulator.release()
            #expect(try await ran == 1)
            try await desk.workUntilIdle()

            #expect(try await desk.messages().map { $0["id"]?.string } == [question])
            let kinds = try await desk.events().map(\.kind)
            #expect(kinds.filter { $0 == "reply.cancelled" }.count == 1)
            #expect(!kinds.contains("reply.completed") && !kinds.contains("reply.failed"))
            #expect(kinds.lastIndex(of: "reply.delta") ?? 0 < kinds.firstIndex(of: "reply.cancelled") ?? 0)
            let state = try await desk.state()
            #expect(state["handled_by"]?.string == "human")
            #expect(state["reply_state"]?.string == "idle")
            #expect(try await desk.quarantined().isEmpty)

            // What comes later is for people.
            _ = try await desk.ask("Hello?")
            #expect(try await desk.work() == 0)
        }
    }

    @Test("is slow: what is written after the agent got it back is answered", arguments: TestDatabase.kinds)
    func handedBack(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            desk.simulator.hold(after: 2)
            _ = try await desk.ask("Where is my order?")
            async let ran = desk.work()
            try await desk.simulator.counts { $0.held == 1 }
            #expect(try await desk.hand(to: "human") == 200)
            #expect(try await desk.hand(to: "agent") == 200)
            let second = try await desk.ask("Is anybody there?")
            desk.simulator.release()
            #expect(try await ran == 1)
            try await desk.workUntilIdle()
            try await desk.expectAnswers(to: [second])
        }
    }

    @Test(
        "is answering when the last worker is lost: handed back meanwhile, it begins anew",
        arguments: TestDatabase.kinds
    )
    func lostAndHandedBack(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            let question = try await desk.askInVain("Where is my order?", attempts: 5)
            // Before the first piece: one on its way would end the attempt when the conversation changes hands.
            desk.simulator.hold()
            async let ran = desk.work()
            try await desk.simulator.counts { $0.held == 1 }
            #expect(try await desk.hand(to: "human") == 200)
            #expect(try await desk.hand(to: "agent") == 200)
            try await desk.loseWorker()
            desk.simulator.release()
            _ = try await ran
            try await desk.workUntilIdle()
            try await desk.expectAnswers(to: [question])
        }
    }

    @Test(
        "fails, and the last worker is lost before it begins: what no attempt has seen is answered",
        arguments: TestDatabase.kinds
    )
    func lostBeforeBeginning(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            _ = try await desk.askInVain("Where is my order?", attempts: 4)
            // Breaks off after its only piece.
            desk.simulator.answer(with: "Soon")
            desk.simulator.fail(next: 1, with: .noDone)
            desk.simulator.hold(after: 1)
            async let ran = desk.work()
            try await desk.simulator.counts { $0.held == 1 }
            let second = try await desk.ask("Hello?")
            desk.simulator.release()
            #expect(try await ran == 1)
            #expect(try await desk.state()["reply_state"]?.string == "retrying")
            desk.clock.advance(by: .seconds(60))

            try await withStalledWorker(at: desk) { mayBegin, hasEnded in
                try await desk.loseWorker()
                mayBegin.open()
                try await hasEnded.value { $0 }
                try await desk.workUntilIdle()
                try await desk.expectAnswers(to: [second])
            }
        }
    }

    @Test(
        "fails for the last time when the agent has got the conversation back: it begins anew",
        arguments: TestDatabase.kinds
    )
    func handedBackInLastAttempt(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            let question = try await desk.askInVain("Where is my order?", attempts: 5)
            // Breaks off after its only piece.
            desk.simulator.answer(with: "Soon")
            desk.simulator.fail(next: 1, with: .noDone)
            desk.simulator.hold(after: 1)
            async let ran = desk.work()
            try await desk.simulator.counts { $0.held == 1 }
            #expect(try await desk.hand(to: "human") == 200)
            #expect(try await desk.hand(to: "agent") == 200)
            desk.simulator.release()
            #expect(try await ran == 1)
            try await desk.workUntilIdle()
            try await desk.expectAnswers(to: [question])
            #expect(try await desk.quarantined().isEmpty)
        }
    }

    @Test(
        "fails for good when the contact has written on: readers learn that another begins",
        arguments: TestDatabase.kinds
    )
    func beginsAnew(on kind: TestDatabase.Kind) async throws {
        try await withDesk(on: kind) { desk in
            _ = try await desk.askInVain("Where is my order?", attempts: 5)
            // Breaks off after its only piece.
            desk.simulator.answer(with: "Soon")
            desk.simulator.fail(next: 1, with: .noDone)
            desk.simulator.hold(after: 1)
            async let ran = desk.work()
            try await desk.simulator.counts { $0.held == 1 }
            let second = try await desk.ask("Hello?")
            try await eventually("the piece") {
                try await desk.events().contains { $0.kind == "reply.delta" } ? () : nil
            }
            #expect(try await desk.state()["reply_state"]?.string == "answering")
            desk.simulator.release()
            #expect(try await ran == 1)
            #expect(try await desk.state()["reply_state"]?.string == "queued")
            #expect(try await desk.events().last?.kind == "reply.retrying")
            try await desk.workUntilIdle()
            try await desk.expectAnswers(to: [second])
        }
    }

    @Test("is slow: what the contact writes meanwhile is answered afterwards", arguments: TestDatabase.kinds, [1, 20])
    func writesOn(on kind: TestDatabase.Kind, history: Int) async throws {
        try await withDesk(on: kind, history: history) { desk in
            desk.simulator.hold(after: 2)
            let first = try await desk.ask("Where is my order?")
            async let ran = desk.work()
            try await desk.simulator.counts { $0.held == 1 }
            let second = try await desk.ask("And when does it come?")
            let third = try await desk.ask("Hello?")
            desk.simulator.release()
            #expect(try await ran == 1)
            #expect(try await desk.state()["reply_state"]?.string == "queued")
            #expect(try await desk.work() == 1)
            try await desk.expectAnswers(to: [first, third])
            #expect(try await desk.work() == 0)
            #expect(try await desk.messages().compactMap { $0["id"]?.string }.filter { $0 == second }.count == 1)

            // The model is shown the answer where it belongs, and the contact's newest words, joined, last.
            let words = desk.simulator.requests.last?.json?["messages"]?.array ?? []
            #expect(words.last?["content"]?.string?.contains("Hello?") == true)
            if history > 1 {
                #expect(words.map { $0["role"]?.string }.suffix(3) == ["user", "assistant", "user"])
            }
        }
    }
}

/// A conversation of a contact with an agent whose model is a simulator, and a worker that works when it is told to.
private final class Desk: Sendable {
    let app: TestApp
    let simulator: OpenAISimulator
    let clock: MovableClock
    let owner: TestClient
    let conversation: String
    /// For one more node.
    let environment: [String: String]
    /// What the conversation was under each tag that was seen.
    private let states = Mutex<[String: JSON]>([:])

    init(
        app: TestApp,
        simulator: OpenAISimulator,
        clock: MovableClock,
        owner: TestClient,
        conversation: String,
        environment: [String: String]
    ) {
        self.app = app
        self.simulator = simulator
        self.clock = clock
        self.owner = owner
        self.conversation = conversation
        self.environment = environment
    }

    /// The contact writes.
    ///
    /// - Returns: The id of the message.
    func ask(_ question: String) async throws -> String {
        // No two messages have the same time.
        clock.advance(by: .milliseconds(1))
        let id = try await owner.create(
            "/api/v1/conversations/\(conversation)/messages",
            ["content": .string(question)]
        )
        clock.advance(by: .milliseconds(1))
        return id
    }

    /// Runs the jobs that are due.
    func work() async throws -> Int { try await app.node.runner.runOnce(.interactive) }

    /// The contact asks, and so many attempts to answer fail; the next is due.
    func askInVain(_ question: String, attempts: Int) async throws -> String {
        simulator.fail(next: attempts, with: .rateLimited())
        let id = try await ask(question)
        for _ in 1...attempts {
            #expect(try await work() == 1)
            clock.advance(by: .seconds(60))
        }
        return id
    }

    /// The worker at the job gives no sign of life for the time of its lease.
    func loseWorker() async throws {
        clock.advance(by: .seconds(16))
        #expect(try await app.node.runner.sweep() == 1)
    }

    func workUntilIdle() async throws {
        for _ in 0..<10 {
            if try await work() == 0 { return }
        }
        throw TestAppFailure("the work does not end")
    }

    func hand(to handler: String) async throws -> Int {
        try await owner.patch("/api/v1/conversations/\(conversation)", ["handled_by": .string(handler)]).status
    }

    /// Sees too that a tag never stands for two states.
    func state() async throws -> JSON {
        let reply = try await owner.get("/api/v1/conversations/\(conversation)")
        let known = states.withLock { $0.updateValue(reply.json, forKey: reply.headers["etag"] ?? "") }
        #expect(known == nil || known == reply.json)
        return reply.json
    }

    /// Oldest first.
    func messages() async throws -> [JSON] {
        let reply = try await owner.get("/api/v1/conversations/\(conversation)/messages?order=oldest_first&limit=100")
        return reply.json["data"]?.array ?? []
    }

    /// All so far.
    func events() async throws -> [TestEvent] {
        let last = try await state()["last_event_id"]?.int ?? 0
        return try await owner.events("GET", "/api/v1/conversations/\(conversation)/events?after=0") { $0.id >= last }
    }

    func quarantined() async throws -> [JSON] {
        try await owner.get("/api/v1/jobs/quarantined").json["data"]?.array ?? []
    }

    func retryQuarantined() async throws {
        let jobs = try await quarantined()
        #expect(jobs.map { $0["kind"]?.string } == ["reply.generate"])
        let reply = try await owner.post("/api/v1/jobs/\(jobs.first?["id"]?.string ?? "")/retry")
        #expect(reply.status == 204)
    }

    /// These messages have been answered, each once and in this order, no others have, and all is quiet.
    func expectAnswers(to questions: [String], sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let answers = try await messages().filter { $0["role"]?.string == "assistant" }
        #expect(
            answers.map { $0["metadata"]?["in_reply_to"]?.string } == questions.map(Optional.some),
            sourceLocation: sourceLocation
        )
        let state = try await state()
        #expect(state["reply_state"]?.string == "idle", sourceLocation: sourceLocation)
        #expect(state["reply_error"] == .null, sourceLocation: sourceLocation)
        let completed = try await events().filter { $0.kind == "reply.completed" }
        #expect(completed.map { $0.data["id"] } == answers.map { $0["id"] }, sourceLocation: sourceLocation)
    }

    /// The conversation says that nobody answers any more, and why; the job waits for a person.
    func expectFailure(_ reason: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let state = try await state()
        #expect(state["reply_state"]?.string == "failed", sourceLocation: sourceLocation)
        #expect(state["reply_error"]?.string?.contains(reason) == true, "\(state)", sourceLocation: sourceLocation)
        let events = try await events()
        #expect(events.last?.kind == "reply.failed", sourceLocation: sourceLocation)
        #expect(events.filter { $0.kind == "reply.failed" }.count == 1, sourceLocation: sourceLocation)
        let job = try await quarantined().first
        #expect(job?["kind"]?.string == "reply.generate", sourceLocation: sourceLocation)
        #expect(job?["reason"]?.string?.contains(reason) == true, sourceLocation: sourceLocation)
    }
}

private func withDesk(
    on kind: TestDatabase.Kind,
    history: Int = 20,
    refusal: WriteRefusal? = nil,
    _ body: @escaping @Sendable (Desk) async throws -> Void
) async throws {
    try await withOpenAISimulator { simulator in
        try await withDesk(on: kind, simulator, at: simulator.baseURL, history: history, refusal: refusal, body)
    }
}

private func withDesk(
    on kind: TestDatabase.Kind,
    _ simulator: OpenAISimulator,
    at address: String,
    history: Int = 20,
    refusal: WriteRefusal? = nil,
    _ body: @escaping @Sendable (Desk) async throws -> Void
) async throws {
    let clock = MovableClock()
    let environment = [
        "KUVEND_LLM_BASE_URL": address, "KUVEND_LLM_API_KEY": simulator.apiKey.exposed,
        "KUVEND_LLM_MODEL": "gpt-4o-mini",
    ]
    try await withDatabase(on: kind, migrations: ProductSchema.migrations) { database in
        let database: any Database = refusal.map { InterceptedDatabase(database, beforeWrite: $0.check) } ?? database
        try await withApp(over: database, environment: environment, roles: "http", now: { clock.now }) { app in
            let person = try await app.signUp()
            // The clock is moved further than a session lasts.
            let key = try await person.post(
                "/api/v1/api-keys",
                ["name": "All", "permissions": .array(Modules.permissions.map { .string($0.permission.name) })]
            )
            let owner = TestClient(
                app: app,
                token: key.json["key"]?.string,
                organization: person.organization,
                user: person.user
            )
            _ = try await owner.create(
                "/api/v1/ai-agents",
                ["name": "Support", "settings": ["history_messages": .integer(Int64(history))]]
            )
            let conversation = try await owner.startConversation()
            try await body(
                Desk(
                    app: app,
                    simulator: simulator,
                    clock: clock,
                    owner: owner,
                    conversation: conversation,
                    environment: environment
                )
            )
        }
    }
}

/// Runs `body` while another worker stands still between its claim and the beginning of its attempt.
///
/// - Parameter body: Is given the gate that lets the worker go on, and whether it is done.
private func withStalledWorker(
    at desk: Desk,
    _ body: @escaping @Sendable (Gate, Watched<Bool>) async throws -> Void
) async throws {
    let (isClaimed, mayBegin) = (Gate(), Gate())
    let slow = InterceptedDatabase(
        desk.app.node.database,
        beforeWrite: { scope in
            guard case .organization = scope else { return }
            isClaimed.open()
            try await mayBegin.pass()
        }
    )
    try await withApp(
        over: slow,
        environment: desk.environment,
        roles: "http",
        now: { [clock = desk.clock] in clock.now }
    ) { other in
        let hasEnded = Watched(false)
        async let ran: Int = {
            defer { hasEnded.set(true) }
            return try await other.node.runner.runOnce(.interactive)
        }()
        try await isClaimed.pass()
        try await body(mayBegin, hasEnded)
        #expect(try await ran == 1)
    }
}

/// A clock that stands still until it is moved.
private final class MovableClock: Sendable {
    private let time = Mutex(Timestamp.now())

    var now: Timestamp { time.withLock { $0 } }

    func advance(by duration: Duration) { time.withLock { $0 = $0 + duration } }
}

/// How many of the next changes to an organization's rows are refused.
private final class WriteRefusal: Sendable {
    private let left = Mutex(0)

    var isSpent: Bool { left.withLock { $0 == 0 } }

    func refuse(next count: Int) { left.withLock { $0 = count } }

    func check(_ scope: DataScope) throws {
        guard case .organization = scope else { return }
        let isRefused = left.withLock { left in
            guard left > 0 else { return false }
            left -= 1
            return true
        }
        if isRefused { throw StorageError.unavailable("refused by the test") }
    }
}
