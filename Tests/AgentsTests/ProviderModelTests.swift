import Kernel
import Logging
import Outbound
import Simulators
import Testing

@testable import Agents

@Suite("OpenAI-compatible model", .timeLimit(.minutes(5)))
struct ProviderModelTests {
    static let passages = [
        RetrievedPassage(
            number: 1,
            source: "Returns",
            section: "Refunds",
            content: "Refunds are paid within 14 days to the original payment method."
        ),
        RetrievedPassage(number: 2, source: "Hours", content: "We are open on Saturdays from 9 to 14."),
    ]

    private struct Setting {
        let simulator: OpenAISimulator
        let client: OutboundClient

        func model(
            _ change: (inout OpenAICompatibleModel.Configuration) -> Void = { _ in }
        ) throws -> OpenAICompatibleModel {
            var configuration = OpenAICompatibleModel.Configuration(
                endpoint: OpenAIEndpoint(
                    baseURL: try OutboundURL(simulator.baseURL),
                    apiKey: simulator.apiKey,
                    access: .trusted
                ),
                model: "gpt-test"
            )
            change(&configuration)
            return OpenAICompatibleModel(client: client, configuration: configuration)
        }
    }

    /// - Parameter slots: Calls at a time.
    @discardableResult
    private func withModel<Value: Sendable>(
        slots: Int = 64,
        _ body: (Setting) async throws -> Value
    ) async throws -> Value {
        try await withOpenAISimulator { simulator in
            let client = OutboundClient(
                configuration: .init(
                    connectTimeout: .seconds(30),
                    platformSlots: slots,
                    breaker: .init(threshold: 1_000)
                ),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            )
            do {
                let value = try await body(Setting(simulator: simulator, client: client))
                await client.shutdown()
                return value
            } catch {
                await client.shutdown()
                throw error
            }
        }
    }

    private func request(
        _ question: String = "How long do refunds take?",
        within time: Duration = .seconds(120)
    ) -> ModelRequest {
        ModelRequest(
            instructions: "You work for a shop.",
            messages: [
                ModelMessage(.agent, "Hello!"), ModelMessage(.contact, "Hi."), ModelMessage(.contact, question),
            ],
            passages: Self.passages,
            temperature: 0.2,
            maximumTokens: 300,
            deadline: .now.advanced(by: time),
            requestID: "reply-1"
        )
    }

    /// What was delivered, and how it ended.
    private func outcome(
        of model: some LanguageModel,
        _ request: ModelRequest
    ) async throws -> (text: String, pieces: Int, result: Result<ModelCompletion, ProviderError>) {
        let pieces = Watched([String]())
        do {
            let completion = try await model.reply(to: request) { text in pieces.change { $0.append(text) } }
            return (pieces.current.joined(), pieces.current.count, .success(completion))
        } catch let error as ProviderError {
            return (pieces.current.joined(), pieces.current.count, .failure(error))
        }
    }

    private let answer =
        "The documents say: Refunds are paid within 14 days to the original payment method. [1]. "
        + "The documents say: We are open on Saturdays from 9 to 14. [2]."

    // MARK: Answers

    @Test("streams an answer with citations and the provider's count of tokens")
    func answers() async throws {
        try await withModel { setting in
            let (text, pieces, result) = try await outcome(of: setting.model(), request())
            #expect(text == answer)
            #expect(pieces > 1)
            let completion = try result.get()
            #expect(completion.reason == .stop)
            #expect(completion.model == "gpt-test-2026-01-31")
            #expect(!completion.usage.isEstimated)
            #expect(completion.usage.input > 100)
            #expect(Citations.numbers(in: text, of: Self.passages) == [1, 2])

            let sent = try #require(setting.simulator.requests.first)
            #expect(sent.headers["idempotency-key"] == "reply-1")
            #expect(sent.headers["authorization"] == "Bearer sk-simulator")
            let body = try #require(sent.json)
            #expect(body["model"] == "gpt-test")
            #expect(body["stream"] == true)
            #expect(body["stream_options"] == ["include_usage": true])
            #expect(body["max_tokens"] == 300)
            #expect(body["max_completion_tokens"] == nil)
            #expect(body["temperature"] == 0.2)
            #expect(body["messages"]?.array?.compactMap { $0["role"]?.string } == ["system", "assistant", "user"])
        }
    }

    @Test("quirks of servers in the request")
    func quirks() async throws {
        try await withModel { setting in
            let model = try setting.model {
                $0.quirks = .init(tokenLimit: .maxCompletionTokens, sendsStreamOptions: false, sendsTemperature: false)
                $0.endpoint.keyHeader = .named("authorization")
                $0.endpoint.apiKey = Secret("Bearer sk-simulator")
            }
            let completion = try await outcome(of: model, request()).result.get()
            #expect(completion.usage.isEstimated)
            #expect(completion.usage.output == TokenEstimate.tokens(in: answer))
            let body = try #require(setting.simulator.requests.first?.json)
            #expect(body["max_completion_tokens"] == 300)
            #expect(body["max_tokens"] == nil)
            #expect(body["temperature"] == nil)
            #expect(body["stream_options"] == nil)
        }
    }

    @Test(
        "the same answer however the server writes it",
        arguments: [
            (1, "\n", false), (7, "\r\n", true), (nil, "\r\n", true), (nil, "\r", false), (64, "\n", true),
        ] as [(Int?, String, Bool)]
    )
    func styles(_ pieceBytes: Int?, _ lineEnding: String, _ isChatty: Bool) async throws {
        try await withModel { setting in
            var style = OpenAISimulator.Style()
            style.pieceBytes = pieceBytes
            style.lineEnding = lineEnding
            style.sendsComments = isChatty
            style.beginsWithEmptyChoices = isChatty
            style.countsTokens = !isChatty
            setting.simulator.use(style)
            let (text, _, result) = try await outcome(of: setting.model(), request())
            #expect(text == answer)
            #expect(try result.get().usage.isEstimated == isChatty)
        }
    }

    @Test("a server that does not stream is understood too")
    func whole() async throws {
        try await withModel { setting in
            var style = OpenAISimulator.Style()
            style.ignoresStream = true
            setting.simulator.use(style)
            let (text, pieces, result) = try await outcome(of: setting.model(), request())
            #expect(text == answer)
            #expect(pieces == 1)
            #expect(try !result.get().usage.isEstimated)
        }
    }

    /// A reply under way, and what has come of it.
    private struct Progress: Sendable {
        var text = ""
        var failure: String?
    }

    private func start(
        _ model: OpenAICompatibleModel,
        _ request: ModelRequest
    ) -> (progress: Watched<Progress>, task: Task<ModelCompletion, any Error>) {
        let progress = Watched(Progress())
        let task = Task {
            do {
                return try await model.reply(to: request) { text in progress.change { $0.text += text } }
            } catch {
                // Nobody waits for text that will not come.
                progress.change { $0.failure = "\(error)" }
                throw error
            }
        }
        return (progress, task)
    }

    @Test("pieces come as they are written, and are fetched as they are taken")
    func streaming() async throws {
        try await withModel { setting in
            setting.simulator.hold(after: 2)
            let (progress, task) = start(try setting.model(), request())
            let held = try await progress.value { $0.text == "The documents" || $0.failure != nil }
            #expect(held.failure == nil)
            setting.simulator.release()
            let completion = try await task.value
            #expect(completion.reason == .stop)
            #expect(progress.current.text == answer)
        }
    }

    // MARK: Failures before the first piece

    @Test(
        "refusals and what they mean",
        arguments: [
            (OpenAISimulator.Failure.rateLimited(retryAfter: 7), ProviderError.Kind.rateLimited, true, 7 as Int?),
            (.rateLimited(), .rateLimited, true, nil),
            (.quota, .quotaExhausted, false, nil),
            (.status(500), .overloaded, true, nil),
            (.status(503, retryAfter: 2), .overloaded, true, 2),
            (.status(529), .overloaded, true, nil),
            (.status(408), .timedOut, true, nil),
            (.status(409), .overloaded, true, nil),
            (.status(403), .unauthorized, false, nil),
            (.status(402), .quotaExhausted, false, nil),
            (.status(422), .badRequest("it refuses the request"), false, nil),
            (.status(302), .badRequest("it answers with a redirect; check the base URL"), false, nil),
            (.contextTooLong, .badRequest("the prompt is too long for the model"), false, nil),
            (.garbage, .garbled("an event that is no JSON object"), true, nil),
        ]
    )
    func refusals(
        _ failure: OpenAISimulator.Failure,
        _ kind: ProviderError.Kind,
        _ isTransient: Bool,
        _ wait: Int?
    ) async throws {
        try await withModel { setting in
            setting.simulator.fail(with: failure)
            let (text, _, result) = try await outcome(of: setting.model(), request())
            #expect(text.isEmpty)
            let error = try #require(result.failure)
            #expect(error.kind == kind)
            #expect(error.isTransient == isTransient)
            #expect(error.retryAfter == wait.map { .seconds($0) })
            // It does not try again by itself.
            #expect(setting.simulator.counts.chats == 1)
        }
    }

    @Test("a wrong key is named without being shown")
    func wrongKey() async throws {
        try await withModel { setting in
            let model = try setting.model { $0.endpoint.apiKey = Secret("sk-geheim") }
            let error = try #require(try await outcome(of: model, request()).result.failure)
            #expect(error.kind == .unauthorized)
            #expect(error.code == "invalid_api_key")
            #expect(!error.isTransient)
            for text in ["\(error)", String(reflecting: error), error.message, error.problem.detail] {
                #expect(!text.contains("geheim"))
            }
        }
    }

    @Test("an unknown model is a bad request")
    func unknownModel() async throws {
        try await withModel { setting in
            var request = request()
            request.model = "missing-model"
            let error = try #require(try await outcome(of: setting.model(), request).result.failure)
            #expect(error.kind == .badRequest("unknown model or path"))
            #expect(error.code == "model_not_found")
        }
    }

    @Test("a provider that does not answer is given up at the deadline")
    func hangBeforeHeaders() async throws {
        try await withModel { setting in
            setting.simulator.fail(with: .hangBeforeHeaders)
            let result = try await outcome(of: setting.model(), request(within: .milliseconds(300))).result
            #expect(result.failure?.kind == .timedOut)
            #expect(result.failure?.isTransient == true)
        }
    }

    @Test("a provider that takes the request and never begins to answer frees its slot after its time to begin")
    func neverBegins() async throws {
        try await withModel(slots: 1) { setting in
            let words = "Think for ever."
            setting.simulator.hang(on: words)
            let model = try setting.model { $0.startTimeout = .milliseconds(300) }
            let hanging = try await outcome(of: model, request(words, within: .seconds(3_600))).result
            #expect(hanging.failure?.kind == .timedOut)
            // Needs the only slot.
            let next = try await outcome(of: setting.model(), request(within: .seconds(3_600)))
            #expect(next.text == answer)
        }
    }

    @Test("a provider that cannot be reached")
    func unreachable() async throws {
        try await withModel { setting in
            let port = try ReservedPort()
            let model = try setting.model {
                if let url = try? OutboundURL("http://127.0.0.1:\(port.number)/v1") { $0.endpoint.baseURL = url }
            }
            let result = try await outcome(of: model, request()).result
            #expect(result.failure?.kind == .unreachable)
        }
    }

    // MARK: Failures in the middle

    @Test(
        "answers that break off",
        arguments: [
            (
                OpenAISimulator.Failure.endMidStream(after: 3), ProviderError.Kind.garbled("the answer breaks off"),
                false
            ),
            (.errorEventMidStream(after: 3), .overloaded, false),
            (.flatErrorMidStream(after: 3), .rateLimited, false),
            (.noDone, .garbled("the answer has no end mark"), true),
            (.noFinishReason, .garbled("the answer breaks off"), true),
        ]
    )
    func breaksOff(
        _ failure: OpenAISimulator.Failure,
        _ kind: ProviderError.Kind,
        _ isTextWhole: Bool
    ) async throws {
        try await withModel { setting in
            setting.simulator.fail(with: failure)
            let (text, _, result) = try await outcome(of: setting.model(), request())
            #expect(text == (isTextWhole ? answer : "The documents say:"))
            #expect(result.failure?.kind == kind)
            #expect(result.failure?.isTransient == true)
            #expect(setting.simulator.counts.chats == 1)
        }
    }

    @Test("a stream that stands still is given up before the deadline")
    func hangMidStream() async throws {
        try await withModel { setting in
            setting.simulator.fail(with: .hangMidStream(after: 3))
            let model = try setting.model { $0.idleTimeout = .seconds(2) }
            let (text, _, result) = try await outcome(of: model, request(within: .seconds(3_600)))
            #expect(text == "The documents say:")
            #expect(result.failure?.kind == .timedOut)
        }
    }

    @Test("an answer without end is cut off")
    func oversized() async throws {
        try await withModel { setting in
            setting.simulator.fail(with: .oversized)
            let model = try setting.model { $0.maximumReplyBytes = 100_000 }
            let (text, _, result) = try await outcome(of: model, request())
            #expect(text.utf8.count <= 100_000)
            #expect(result.failure?.kind == .garbled("an answer that is too long"))
            try await setting.simulator.counts { $0.broken == 1 }
        }
    }

    @Test("an empty answer is none")
    func empty() async throws {
        try await withModel { setting in
            setting.simulator.answer(with: "")
            let result = try await outcome(of: setting.model(), request()).result
            #expect(result.failure?.kind == .garbled("an empty answer"))
        }
    }

    @Test("a connection that breaks is no answer")
    func drop() async throws {
        try await withModel { setting in
            setting.simulator.fail(with: .dropMidStream(after: 3))
            let (text, _, result) = try await outcome(of: setting.model(), request())
            // What was not yet read when it broke may be lost.
            #expect("The documents say:".hasPrefix(text))
            #expect(result.failure?.kind == .unreachable)
        }
    }

    @Test("a cancelled reply is cancelled upstream")
    func cancelled() async throws {
        try await withModel { setting in
            setting.simulator.hold(after: 2)
            let (progress, task) = start(try setting.model(), request())
            let held = try await progress.value { $0.text == "The documents" || $0.failure != nil }
            #expect(held.failure == nil)
            task.cancel()
            let error = await #expect(throws: ProviderError.self) { try await task.value }
            #expect(error?.kind == .cancelled)
            setting.simulator.release()
            try await setting.simulator.counts { $0.broken == 1 || $0.completed == 1 }
        }
    }

    @Test("what the reader throws ends the call and comes out as it is")
    func readerThrows() async throws {
        struct TakenOver: Error {}
        try await withModel { setting in
            setting.simulator.fail(with: .oversized)
            await #expect(throws: TakenOver.self) {
                try await setting.model().reply(to: request()) { _ in throw TakenOver() }
            }
            try await setting.simulator.counts { $0.broken == 1 }
        }
    }
}

extension Result {
    fileprivate var failure: Failure? {
        if case .failure(let error) = self { error } else { nil }
    }
}
