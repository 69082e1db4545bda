import Kernel
import Knowledge
import Logging
import Outbound
import Simulators
import Testing

@Suite("Embedders", .timeLimit(.minutes(5)))
struct ProviderEmbedderTests {
    private typealias Limits = OpenAICompatibleEmbedder.Limits

    @discardableResult
    private func withEmbedder<Value: Sendable>(
        model: String = "text-embedding-3-small",
        limits: OpenAICompatibleEmbedder.Limits = .init(),
        _ body: (OpenAISimulator, OpenAICompatibleEmbedder) async throws -> Value
    ) async throws -> Value {
        try await withOpenAISimulator { simulator in
            let client = OutboundClient(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            let embedder = OpenAICompatibleEmbedder(
                client: client,
                endpoint: OpenAIEndpoint(
                    baseURL: try OutboundURL(simulator.baseURL),
                    apiKey: simulator.apiKey,
                    access: .trusted
                ),
                model: model,
                limits: limits
            )
            do {
                let value = try await body(simulator, embedder)
                await client.shutdown()
                return value
            } catch {
                await client.shutdown()
                throw error
            }
        }
    }

    private static var soon: ContinuousClock.Instant { .now.advanced(by: .seconds(20)) }

    private func distance(_ left: [Float], _ right: [Float]) -> Float {
        zip(left, right).reduce(0) { max($0, abs($1.0 - $1.1)) }
    }

    @Test("vectors come back in the order of their texts, as base64 and as floats", arguments: [false, true])
    func order(_ ignoresBase64: Bool) async throws {
        try await withEmbedder(limits: .init(texts: 3)) { simulator, embedder in
            var style = OpenAISimulator.Style()
            style.ignoresBase64 = ignoresBase64
            simulator.use(style)
            let texts = (0..<8).map { "text number \($0)" }
            let vectors = try await embedder.embed(texts, deadline: Self.soon)
            #expect(vectors.count == 8)
            for (text, vector) in zip(texts, vectors) {
                #expect(distance(vector, OpenAISimulator.vector(for: text)) < 1e-6)
            }
            #expect(simulator.counts.embeddings == 3)
            let body = try #require(simulator.requests.first?.json)
            #expect(body["encoding_format"] == "base64")
            #expect(body["dimensions"] == 1_536)
            #expect(body["input"]?.array?.count == 3)
        }
    }

    @Test("requests stay below the limit of bytes")
    func batches() async throws {
        try await withEmbedder(limits: .init(bytes: 100)) { simulator, embedder in
            let texts = (0..<7).map { _ in String(repeating: "word ", count: 8) }
            let vectors = try await embedder.embed(texts, deadline: Self.soon)
            #expect(vectors.count == 7)
            #expect(simulator.counts.embeddings == 4)
            let none = try await embedder.embed([], deadline: Self.soon)
            #expect(none.isEmpty)
            #expect(simulator.counts.embeddings == 4)
        }
    }

    @Test("dimensions are asked for only where the model knows them")
    func noDimensions() async throws {
        try await withEmbedder(model: "other") { simulator, embedder in
            let vectors = try await embedder.embed(["a"], deadline: Self.soon)
            #expect(vectors.first?.count == 1_536)
            #expect(simulator.requests.first?.json?["dimensions"] == nil)
        }
    }

    @Test(
        "texts that cannot be embedded are refused before they are sent",
        arguments: ["", String(repeating: "a", count: 101)]
    )
    func badTexts(_ text: String) async throws {
        try await withEmbedder(limits: .init(bytesPerText: 100)) { simulator, embedder in
            let error = await #expect(throws: ProviderError.self) {
                try await embedder.embed(["fine", text], deadline: Self.soon)
            }
            #expect(error?.isTransient == false)
            #expect(simulator.counts.embeddings == 0)
        }
    }

    @Test("a model of another size can never work")
    func dimensions() async throws {
        try await withEmbedder { simulator, embedder in
            simulator.fail(with: .dimensions(768))
            let error = await #expect(throws: ProviderError.self) {
                try await embedder.embed(["a"], deadline: Self.soon)
            }
            #expect(error?.kind == .badRequest("the model has 768 dimensions instead of 1536"))
        }
    }

    @Test(
        "failures",
        arguments: [
            (OpenAISimulator.Failure.rateLimited(retryAfter: 3), ProviderError.Kind.rateLimited),
            (.quota, .quotaExhausted), (.status(500), .overloaded), (.status(401), .unauthorized),
            (.garbage, .garbled("no JSON")),
        ]
    )
    func failures(_ failure: OpenAISimulator.Failure, _ kind: ProviderError.Kind) async throws {
        try await withEmbedder { simulator, embedder in
            simulator.fail(with: failure)
            let error = await #expect(throws: ProviderError.self) {
                try await embedder.embed(["a"], deadline: Self.soon)
            }
            #expect(error?.kind == kind)
        }
    }

    @Test("an embedder that does not answer is given up at the deadline")
    func hang() async throws {
        try await withEmbedder { simulator, embedder in
            simulator.fail(with: .hangBeforeHeaders)
            let error = await #expect(throws: ProviderError.self) {
                try await embedder.embed(["a"], deadline: .now.advanced(by: .milliseconds(200)))
            }
            #expect(error?.kind == .timedOut)
        }
    }

    @Test(
        "answers that are not what the protocol says",
        arguments: [
            "{}", "[]", "{\"data\":[]}", "{\"data\":[{\"index\":0,\"embedding\":\"AAAA\"}]}",
            "{\"data\":[{\"index\":1,\"embedding\":[]}]}", "{\"data\":[{\"index\":0,\"embedding\":null}]}",
            "{\"data\":[{\"index\":0,\"embedding\":[\"x\"]}]}", "{\"data\":[{\"index\":0,\"embedding\":\"A===\"}]}",
            "{\"data\":[{\"index\":-1,\"embedding\":[]},{\"index\":0,\"embedding\":[]}]}",
            "{\"data\":[{\"index\":1e300,\"embedding\":[1]}]}", "{\"error\":{\"message\":\"x\"}}",
        ]
    )
    func garbled(_ body: String) async throws {
        let server = SimulatedServer { _ in .simulated(200, body: Array(body.utf8)) }
        try await server.withPort { port in
            let client = OutboundClient(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            let endpoint = OpenAIEndpoint(baseURL: try OutboundURL("http://127.0.0.1:\(port)/v1"), access: .trusted)
            let embedder = OpenAICompatibleEmbedder(client: client, endpoint: endpoint, model: "m")
            await #expect(throws: ProviderError.self) { try await embedder.embed(["a"], deadline: Self.soon) }
            await client.shutdown()
        }
    }

    @Test("vectors in any order, of any length, become unit vectors in the order of the texts")
    func reordered() async throws {
        func vector(_ first: String) -> String {
            "[" + first + String(repeating: ",0", count: 1_535) + "]"
        }
        let body = """
            {"data":[{"index":1,"embedding":\(vector("-3"))},{"index":0,"embedding":\(vector("0.5"))}]}
            """
        let server = SimulatedServer { _ in .simulated(200, body: Array(body.utf8)) }
        try await server.withPort { port in
            let client = OutboundClient(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            let endpoint = OpenAIEndpoint(baseURL: try OutboundURL("http://127.0.0.1:\(port)/v1"), access: .trusted)
            let embedder = OpenAICompatibleEmbedder(client: client, endpoint: endpoint, model: "m")
            let vectors = try await embedder.embed(["a", "b"], deadline: Self.soon)
            #expect(vectors.compactMap(\.first) == [1, -1])
            await client.shutdown()
        }
    }

    @Test(
        "base64 is the little-endian array of floats",
        arguments: [
            ("AAAAPwAAoL8AAEBA", [0.5, -1.25, 3] as [Float]?), ("", []), ("AAAAPw==", [0.5]), ("AAAAPwA=", nil),
            ("AAAAP", nil),
            ("AAA*PwAAoL8AAEBA", nil), ("AAAAPw=A", nil), ("====", nil),
        ]
    )
    func base64(_ text: String, _ floats: [Float]?) {
        #expect(EmbeddingCoding.floats(base64: text) == floats)
    }

    @Test(
        "what has no direction is no vector",
        arguments: [
            [0, 0], [Float.nan, 1], [.infinity, 1], [],
        ] as [[Float]]
    )
    func noDirection(_ values: [Float]) { #expect(EmbeddingCoding.normalized(values) == nil) }

    @Test("a vector of any length becomes one of length 1")
    func normalized() { #expect(EmbeddingCoding.normalized([3, 4]) == [0.6, 0.8]) }

    @Test("the built-in embedder needs nobody")
    func builtIn() async throws {
        let embedder: any Embedder = BuiltInEmbedder()
        let vectors = try await embedder.embed(["refund policy", "refunds"], deadline: Self.soon)
        #expect(embedder.model == "kuvend-lexical-1")
        #expect(vectors.map(\.count) == [1_536, 1_536])
        await #expect(throws: ProviderError.self) { try await embedder.embed(["a"], deadline: .now) }
    }
}
