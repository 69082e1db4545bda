import Hummingbird
package import Kernel

/// A local server that speaks like OpenAI: `POST /v1/chat/completions` (streamed or whole) and `POST /v1/embeddings`.
///
/// It checks the key, refuses what OpenAI refuses, keeps what it was asked, answers the same question always with the
/// same words, cites the passages it was given, and misbehaves on request.
package final class OpenAISimulator: Sendable {
    package enum Failure: Sendable, Hashable {
        case status(Int, retryAfter: Int? = nil)
        case rateLimited(retryAfter: Int? = nil)
        case quota
        case contextTooLong
        /// The request is received and nothing comes back.
        case hangBeforeHeaders
        case hangMidStream(after: Int)
        /// The connection breaks after so many pieces.
        case dropMidStream(after: Int)
        /// The stream ends properly after so many pieces, without finish reason and `[DONE]`.
        case endMidStream(after: Int)
        /// A good status, and something that is not the protocol.
        case garbage
        case noDone
        case noFinishReason
        case errorEventMidStream(after: Int)
        /// The error object of old vLLM servers: not nested, and with a number as its code.
        case flatErrorMidStream(after: Int)
        /// Pieces without end, until the client goes away.
        case oversized
        case slow(perDelta: Duration)
        /// Embeddings with so many dimensions.
        case dimensions(Int)
    }

    /// How servers differ without being wrong.
    package struct Style: Sendable {
        package var lineEnding = "\n"
        package var sendsComments = false
        /// The size of the pieces in which a stream is written; nil writes event by event.
        package var pieceBytes: Int?
        /// Azure begins with an event without choices.
        package var beginsWithEmptyChoices = false
        package var countsTokens = true
        package var ignoresStream = false
        package var ignoresBase64 = false

        package init() {}
    }

    package struct Counts: Sendable, Hashable {
        package var chats = 0
        package var embeddings = 0
        package var refused = 0
        /// Answers that were sent to their end.
        package var completed = 0
        /// Streams whose reader went away, or that were broken on purpose.
        package var broken = 0
        /// Streams that wait for `release()`.
        package var held = 0
        package var pieces = 0
    }

    private struct State: Sendable {
        var requests: [SimulatedRequest] = []
        var counts = Counts()
        var failures: [Failure] = []
        var answers: [String] = []
        /// Requests in which these words occur hang.
        var hangingWords: String?
        var style = Style()
        /// Streams wait when they have sent so many pieces.
        var holdAfter: Int?
        var port: Int?
    }

    package let apiKey: Secret
    private let state = Watched(State())
    private let host: String
    private let requestedPort: Int
    private let pace: Duration?

    /// - Parameters:
    ///   - port: 0 lets the system choose.
    ///   - pace: The wait before each piece of a stream, for demonstrations and benchmarks.
    package init(
        host: String = "127.0.0.1",
        port: Int = 0,
        apiKey: Secret = Secret("sk-simulator"),
        pace: Duration? = nil
    ) {
        self.host = host
        requestedPort = port
        self.apiKey = apiKey
        self.pace = pace
    }

    // MARK: Running

    /// Serves until the task is cancelled.
    ///
    /// - Parameter onRunning: Called once with the base URL.
    package func run(onRunning: @escaping @Sendable (_ baseURL: String) async -> Void = { _ in }) async throws {
        let server = server
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run() }
            group.addTask {
                let port = try await server.listeningPort()
                self.state.change { $0.port = port }
                await onRunning(self.baseURL)
            }
            try await group.waitForAll()
        }
    }

    /// `http://127.0.0.1:PORT/v1`; only while it runs.
    package var baseURL: String { "http://\(host):\(state.current.port ?? requestedPort)/v1" }

    private var server: SimulatedServer {
        SimulatedServer(host: host, port: requestedPort) { try await self.respond(to: $0) }
    }

    /// Serves while `body` runs.
    @discardableResult
    package func whileRunning<Value: Sendable>(
        _ body: (OpenAISimulator) async throws -> Value
    ) async throws -> Value {
        try await server.withPort { port in
            state.change { $0.port = port }
            return try await body(self)
        }
    }

    // MARK: Script

    /// The next requests fail in this way, after those that were scripted before.
    package func fail(next count: Int = 1, with failure: Failure) {
        state.change { $0.failures += Array(repeating: failure, count: count) }
    }

    /// Requests in which these words occur are received, and nothing comes back; others are answered as ever.
    package func hang(on words: String) { state.change { $0.hangingWords = words } }

    /// The next chat that succeeds is answered with these words.
    package func answer(with text: String) { state.change { $0.answers.append(text) } }

    package func use(_ style: Style) { state.change { $0.style = style } }

    /// Streams wait when they have sent so many pieces, until `release()`.
    package func hold(after pieces: Int = 0) { state.change { $0.holdAfter = pieces } }

    package func release() { state.change { $0.holdAfter = nil } }

    // MARK: What it saw

    package var requests: [SimulatedRequest] { state.current.requests }
    package var counts: Counts { state.current.counts }

    /// Waits until the counts fulfil a condition.
    @discardableResult
    package func counts(when condition: @escaping @Sendable (Counts) -> Bool) async throws -> Counts {
        try await state.value { condition($0.counts) }.counts
    }

    // MARK: Answering

    private func respond(to request: SimulatedRequest) async throws -> Response {
        let isChat = request.path == "/v1/chat/completions"
        let (failure, style) = state.change { state -> (Failure?, Style) in
            state.requests.append(request)
            if isChat { state.counts.chats += 1 } else { state.counts.embeddings += 1 }
            return (state.failures.isEmpty ? nil : state.failures.removeFirst(), state.style)
        }
        guard request.method == "POST", isChat || request.path == "/v1/embeddings" else {
            return refuse(404, "invalid_request_error", "unknown_url", "Unknown request URL: \(request.path).")
        }
        guard request.headers["authorization"] == "Bearer \(apiKey.exposed)" else {
            let key = request.headers["authorization"] ?? ""
            return refuse(
                401,
                "invalid_request_error",
                "invalid_api_key",
                "Incorrect API key provided: \(key)."
            )
        }
        if let words = state.current.hangingWords, String(decoding: request.body, as: UTF8.self).contains(words),
            let response = try await fail(.hangBeforeHeaders)
        {
            return response
        }
        if let failure, let response = try await fail(failure) { return response }
        guard let body = request.json, body.object != nil else {
            return refuse(400, "invalid_request_error", nil, "We could not parse the JSON body of your request.")
        }
        guard let model = body["model"]?.string else {
            return refuse(400, "invalid_request_error", nil, "you must provide a model parameter")
        }
        guard model != "missing-model" else {
            return refuse(404, "invalid_request_error", "model_not_found", "The model `\(model)` does not exist.")
        }
        return isChat ? chat(body, model, failure, style) : embeddings(body, model, failure, style)
    }

    private func refuse(
        _ status: Int,
        _ type: String,
        _ code: String?,
        _ message: String,
        headers: [String: String] = [:]
    ) -> Response {
        state.change { $0.counts.refused += 1 }
        return .simulated(
            status,
            headers,
            json: [
                "error": [
                    "message": .string(message), "type": .string(type), "param": .null,
                    "code": code.map { .string($0) } ?? .null,
                ]
            ]
        )
    }

    /// The failures that need no knowledge of the request; nil for the others.
    private func fail(_ failure: Failure) async throws -> Response? {
        func wait(_ seconds: Int?) -> [String: String] { seconds.map { ["retry-after": "\($0)"] } ?? [:] }
        switch failure {
        case .status(let status, let seconds):
            return refuse(status, "server_error", nil, "The server had an error.", headers: wait(seconds))
        case .rateLimited(let seconds):
            return refuse(
                429,
                "requests",
                "rate_limit_exceeded",
                "Rate limit reached for requests.",
                headers: wait(seconds)
            )
        case .quota:
            return refuse(
                429,
                "insufficient_quota",
                "insufficient_quota",
                "You exceeded your current quota.",
                headers: wait(1)
            )
        case .contextTooLong:
            return refuse(
                400,
                "invalid_request_error",
                "context_length_exceeded",
                "This model's maximum context length is 8192."
            )
        case .hangBeforeHeaders:
            state.change { $0.counts.held += 1 }
            defer { state.change { $0.counts.held -= 1 } }
            try await Task.sleep(for: .seconds(3_600))
            return nil
        case .garbage:
            return .simulated(200, ["content-type": "text/event-stream"], body: Array("data: <html>oops\n\n".utf8))
        default:
            return nil
        }
    }

    // MARK: Chat

    private func chat(_ body: JSON, _ model: String, _ failure: Failure?, _ style: Style) -> Response {
        guard let messages = body["messages"]?.array, !messages.isEmpty else {
            return refuse(400, "invalid_request_error", nil, "[] is too short - 'messages'")
        }
        let roles = ["developer", "system", "user", "assistant", "tool"]
        for message in messages {
            guard let role = message["role"]?.string, roles.contains(role), message["content"]?.string != nil else {
                return refuse(400, "invalid_request_error", nil, "Invalid value in 'messages'.")
            }
        }
        let scripted = state.change { $0.answers.isEmpty ? nil : $0.answers.removeFirst() }
        let answer = scripted ?? Self.answer(to: messages)
        let input = messages.reduce(0) { $0 + Self.tokens(in: $1["content"]?.string ?? "") }
        let usage: JSON = [
            "prompt_tokens": .integer(Int64(input)), "completion_tokens": .integer(Int64(Self.tokens(in: answer))),
            "total_tokens": .integer(Int64(input + Self.tokens(in: answer))),
        ]
        guard body["stream"]?.bool == true, !style.ignoresStream else {
            state.change { $0.counts.completed += 1 }
            return .simulated(
                200,
                json: [
                    "id": "chatcmpl-simulated", "object": "chat.completion", "created": 1_700_000_000,
                    "model": .string(model + "-2026-01-31"),
                    "choices": [
                        [
                            "index": 0, "message": ["role": "assistant", "content": .string(answer), "refusal": .null],
                            "finish_reason": "stop",
                        ]
                    ],
                    "usage": style.countsTokens ? usage : .null,
                ]
            )
        }
        let countsTokens = style.countsTokens && body["stream_options"]?["include_usage"]?.bool == true
        let script = Script(
            model: model + "-2026-01-31",
            pieces: Self.pieces(of: answer),
            usage: countsTokens ? usage : .null,
            failure: failure,
            style: style
        )
        return .simulated(200, ["content-type": "text/event-stream", "x-request-id": "req_simulated"]) { write in
            do {
                try await self.stream(script, write)
                self.state.change { $0.counts.completed += 1 }
            } catch {
                self.state.change { $0.counts.broken += 1 }
                throw error
            }
        }
    }

    private struct Script: Sendable {
        let model: String
        let pieces: [String]
        let usage: JSON?
        let failure: Failure?
        let style: Style

        func event(delta: JSON?, reason: String? = nil, usage: JSON? = nil) -> String {
            let choices: JSON =
                delta.map { delta in
                    [["index": 0, "delta": delta, "finish_reason": reason.map { .string($0) } ?? .null]]
                } ?? []
            return data(
                [
                    "id": "chatcmpl-simulated", "object": "chat.completion.chunk", "created": 1_700_000_000,
                    "model": .string(model), "choices": choices, "usage": usage ?? .null, "obfuscation": "aX9",
                ]
            )
        }

        func data(_ json: JSON) -> String { "data: \(json.text)\(style.lineEnding)\(style.lineEnding)" }
    }

    private func stream(
        _ script: Script,
        _ write: @escaping ([UInt8]) async throws -> Void
    ) async throws {
        func send(_ text: String) async throws {
            let bytes = Array(text.utf8)
            guard let size = script.style.pieceBytes else { return try await write(bytes) }
            for start in stride(from: 0, to: bytes.count, by: size) {
                try await write(Array(bytes[start..<min(start + size, bytes.count)]))
            }
        }
        if script.style.beginsWithEmptyChoices { try await send(script.event(delta: nil)) }
        try await send(script.event(delta: ["role": "assistant", "content": "", "refusal": .null]))
        for (index, piece) in script.pieces.enumerated() {
            guard try await goesOn(script, after: index, send) else { return }
            try await pause(after: index)
            if script.style.sendsComments {
                try await send(": ping\(script.style.lineEnding)\(script.style.lineEnding)")
            }
            if let pace { try await Task.sleep(for: pace) }
            if case .slow(let wait)? = script.failure { try await Task.sleep(for: wait) }
            try await send(script.event(delta: ["content": .string(piece)]))
            state.change { $0.counts.pieces += 1 }
        }
        guard try await goesOn(script, after: script.pieces.count, send) else { return }
        try await pause(after: script.pieces.count)
        while script.failure == .oversized {
            try await send(script.event(delta: ["content": .string(String(repeating: "x", count: 16_384))]))
        }
        if case .endMidStream? = script.failure { return }
        if script.failure != .noFinishReason { try await send(script.event(delta: [:], reason: "stop")) }
        if let usage = script.usage { try await send(script.event(delta: nil, usage: usage)) }
        if script.failure != .noDone {
            try await send("data: [DONE]\(script.style.lineEnding)\(script.style.lineEnding)")
        }
    }

    /// Misbehaves as scripted.
    ///
    /// - Returns: Whether the stream goes on.
    private func goesOn(
        _ script: Script,
        after index: Int,
        _ send: (String) async throws -> Void
    ) async throws -> Bool {
        switch script.failure {
        case .dropMidStream(index)?:
            throw Disconnect()
        case .hangMidStream(index)?:
            state.change { $0.counts.held += 1 }
            defer { state.change { $0.counts.held -= 1 } }
            try await Task.sleep(for: .seconds(3_600))
            return false
        case .errorEventMidStream(index)?:
            try await send(
                script.data(["error": ["message": "overloaded", "type": "server_error", "param": .null, "code": .null]])
            )
            return false
        case .flatErrorMidStream(index)?:
            try await send(
                script.data(["object": "error", "message": "slow down", "type": "TooManyRequests", "code": 429])
            )
            return false
        case .endMidStream(index)?:
            return false
        default:
            return true
        }
    }

    private func pause(after index: Int) async throws {
        guard state.current.holdAfter.map({ index >= $0 }) == true else { return }
        state.change { $0.counts.held += 1 }
        defer { state.change { $0.counts.held -= 1 } }
        try await state.value { $0.holdAfter.map { index >= $0 } != true }
    }

    /// What it says: a sentence for each of the first passages of the prompt, with its citation.
    static func answer(to messages: [JSON]) -> String {
        let prompt = messages.compactMap { $0["content"]?.string }.joined(separator: "\n")
        var sentences: [String] = []
        for part in prompt.split(separator: "<passage number=\"").dropFirst().prefix(2) {
            let number = part.prefix { $0.isASCII && $0.isNumber }
            guard !number.isEmpty, let start = part.firstIndex(of: "\n") else { continue }
            let text = part[start...].split(separator: "</passage>").first ?? ""
            let words = text.split(whereSeparator: \.isWhitespace).prefix(12).joined(separator: " ")
            sentences.append("The documents say: \(words) [\(number)].")
        }
        return sentences.isEmpty ? "I do not know." : sentences.joined(separator: " ")
    }

    static func pieces(of text: String) -> [String] {
        var pieces: [String] = []
        var piece = ""
        for character in text {
            if character == " ", !piece.isEmpty {
                pieces.append(piece)
                piece = ""
            }
            piece.append(character)
        }
        return piece.isEmpty ? pieces : pieces + [piece]
    }

    private static func tokens(in text: String) -> Int { (text.utf8.count + 3) / 4 }

    // MARK: Embeddings

    private func embeddings(_ body: JSON, _ model: String, _ failure: Failure?, _ style: Style) -> Response {
        let texts: [String]
        switch body["input"] {
        case .string(let text)?: texts = [text]
        case .array(let inputs)?: texts = inputs.compactMap(\.string)
        default: texts = []
        }
        guard (1...2_048).contains(texts.count), texts.allSatisfy({ !$0.isEmpty }),
            body["input"]?.array.map({ $0.count == texts.count }) ?? true,
            texts.reduce(0, { $0 + Self.tokens(in: $1) }) <= 300_000
        else { return refuse(400, "invalid_request_error", nil, "'$.input' is invalid.") }
        var dimensions = 1_536
        if let wanted = body["dimensions"] {
            guard model.hasPrefix("text-embedding-3"), let count = wanted.int, (1...3_072).contains(count) else {
                return refuse(400, "invalid_request_error", nil, "This model does not support specifying dimensions.")
            }
            dimensions = Int(count)
        }
        if case .dimensions(let count)? = failure { dimensions = count }
        let isBase64 = body["encoding_format"]?.string == "base64" && !style.ignoresBase64
        let data = texts.enumerated().map { index, text -> JSON in
            let vector = Self.vector(for: text, dimensions: dimensions)
            return [
                "object": "embedding", "index": .integer(Int64(index)),
                "embedding": isBase64 ? .string(Self.base64(vector)) : .array(vector.map { .number(Double($0)) }),
            ]
        }
        let tokens = JSON.integer(Int64(texts.reduce(0) { $0 + Self.tokens(in: $1) }))
        state.change { $0.counts.completed += 1 }
        return .simulated(
            200,
            json: [
                "object": "list", "data": .array(data), "model": .string(model),
                "usage": ["prompt_tokens": tokens, "total_tokens": tokens],
            ]
        )
    }

    /// A unit vector in which texts with common words are near.
    package static func vector(for text: String, dimensions: Int = 1_536) -> [Float] {
        var sums = [Double](repeating: 0, count: max(dimensions, 1))
        for word in text.lowercased().split(whereSeparator: { !$0.isLetter && !$0.isNumber }) {
            var hash: UInt64 = 0xCBF2_9CE4_8422_2325
            for byte in word.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
            hash ^= hash >> 29
            sums[Int(hash % UInt64(sums.count))] += hash & 1 << 60 == 0 ? 1 : -1
        }
        if sums.allSatisfy({ $0 == 0 }) { sums[0] = 1 }
        let length = sums.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return sums.map { Float($0 / length) }
    }

    static func base64(_ vector: [Float]) -> String {
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        let bytes = vector.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> ($0 * 8)) } }
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let bits = group.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << UInt32(8 * (3 - group.count))
            for place in 0..<4 {
                text.append(place <= group.count ? digits[Int(bits >> UInt32(18 - 6 * place) & 63)] : UInt8(ascii: "="))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}

/// Runs a simulator while `body` runs.
@discardableResult
package func withOpenAISimulator<Value: Sendable>(
    _ simulator: OpenAISimulator = OpenAISimulator(),
    _ body: (OpenAISimulator) async throws -> Value
) async throws -> Value {
    try await simulator.whileRunning(body)
}
