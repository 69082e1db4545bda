import Kernel
package import Outbound

/// Streaming chat completions of OpenAI and of servers that speak like it.
///
/// Source: `protocols/openai.md` §2, §5.
package struct OpenAICompatibleModel: LanguageModel {
    /// What servers disagree about.
    package struct Quirks: Sendable {
        package enum TokenLimit: Sendable {
            /// `max_completion_tokens` for api.openai.com, whose reasoning models refuse the other; `max_tokens` for
            /// everybody else, as local servers often know nothing else.
            case byHost
            case maxTokens
            case maxCompletionTokens
            case none
        }

        package var tokenLimit: TokenLimit
        /// Whether the server knows `stream_options`, which makes it count tokens.
        package var sendsStreamOptions: Bool
        /// Reasoning models refuse a temperature.
        package var sendsTemperature: Bool

        package init(
            tokenLimit: TokenLimit = .byHost,
            sendsStreamOptions: Bool = true,
            sendsTemperature: Bool = true
        ) {
            self.tokenLimit = tokenLimit
            self.sendsStreamOptions = sendsStreamOptions
            self.sendsTemperature = sendsTemperature
        }
    }

    package struct Configuration: Sendable {
        /// What is waited for the beginning of an answer when nobody says.
        package static let startTimeout = Duration.seconds(60)

        package var endpoint: OpenAIEndpoint
        package var model: String
        package var quirks: Quirks
        /// The longest wait for the beginning of the answer; a local model may have to read a long prompt first.
        package var startTimeout: Duration
        /// The longest wait between two pieces of the answer; comments of the server count as pieces.
        package var idleTimeout: Duration
        /// The most bytes of text that an answer may have.
        package var maximumReplyBytes: Int
        package var prompt: PromptBuilder

        package init(
            endpoint: OpenAIEndpoint,
            model: String,
            quirks: Quirks = Quirks(),
            startTimeout: Duration = Self.startTimeout,
            idleTimeout: Duration = .seconds(30),
            maximumReplyBytes: Int = 128 << 10,
            prompt: PromptBuilder = PromptBuilder()
        ) {
            self.endpoint = endpoint
            self.model = model
            self.quirks = quirks
            self.startTimeout = startTimeout
            self.idleTimeout = idleTimeout
            self.maximumReplyBytes = maximumReplyBytes
            self.prompt = prompt
        }
    }

    package var name: String { configuration.model }

    private let client: OutboundClient
    private let configuration: Configuration

    package init(client: OutboundClient, configuration: Configuration) {
        self.client = client
        self.configuration = configuration
    }

    package func offers(_ name: String) -> Bool { true }

    package func reply(
        to request: ModelRequest,
        deliver: @escaping @Sendable (String) async throws -> Void
    ) async throws -> ModelCompletion {
        let messages = configuration.prompt.messages(for: request)
        let model = request.model ?? configuration.model
        let outbound = outboundRequest(for: request, model: model, messages)
        let inputBytes = messages.reduce(0) { $0 + $1.content.utf8.count }
        let endpoint = configuration.endpoint
        let maximumReplyBytes = configuration.maximumReplyBytes
        do {
            return try await client.stream(outbound) { response in
                guard response.isSuccess else {
                    let body = try await response.readAll()
                    throw endpoint.failure(status: response.status, headers: response.headers, body: body)
                }
                var decoder = ChatCompletionDecoder(
                    endpoint: endpoint,
                    model: model,
                    inputBytes: inputBytes,
                    maximumReplyBytes: maximumReplyBytes
                )
                if response.headers["content-type"]?.hasPrefix("application/json") == true {
                    // A server that does not stream, or an error under a good status.
                    let text = try decoder.read(whole: try await response.readAll())
                    if !text.isEmpty { try await deliver(text) }
                    return try decoder.completion()
                }
                var parser = ServerSentEventParser(maximumEventBytes: 1 << 20)
                // The rest of the connection is given up at [DONE]: some servers keep it open.
                reading: for try await chunk in response.chunks {
                    let events: [ServerSentEvent]
                    do { events = try parser.read(chunk) } catch {
                        throw ProviderError(.garbled("an event that is too large"), provider: endpoint.provider)
                    }
                    // What came together goes on together.
                    var text = ""
                    var failure: ProviderError?
                    for event in events where !decoder.isDone {
                        do throws(ProviderError) { text += try decoder.read(event) } catch {
                            failure = error
                            break
                        }
                    }
                    if !text.isEmpty { try await deliver(text) }
                    if let failure { throw failure }
                    if decoder.isDone { break reading }
                }
                return try decoder.completion()
            }
        } catch let error as OutboundError {
            throw ProviderError(error, provider: endpoint.provider)
        }
    }

    private func outboundRequest(
        for request: ModelRequest,
        model: String,
        _ messages: [PromptBuilder.ChatMessage]
    ) -> OutboundRequest {
        var outbound = configuration.endpoint.request(
            "chat/completions",
            body: body(for: request, model: model, messages),
            organization: request.organization,
            deadline: request.deadline
        )
        outbound.headers["accept"] = "text/event-stream"
        outbound.headers["idempotency-key"] = request.requestID
        outbound.startTimeout = configuration.startTimeout
        outbound.idleTimeout = configuration.idleTimeout
        // Each piece of a few letters comes in some 300 bytes of JSON.
        outbound.maximumResponseBytes = 65_536 + configuration.maximumReplyBytes * 128
        return outbound
    }

    private func body(
        for request: ModelRequest,
        model: String,
        _ messages: [PromptBuilder.ChatMessage]
    ) -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.key("model")
        writer.value(model)
        writer.key("messages")
        writer.beginArray()
        for message in messages {
            writer.beginObject()
            writer.key("role")
            writer.value(message.role.rawValue)
            writer.key("content")
            writer.value(message.content)
            writer.endObject()
        }
        writer.endArray()
        writer.key("stream")
        writer.value(true)
        if configuration.quirks.sendsStreamOptions {
            writer.key("stream_options")
            writer.value(["include_usage": true] as JSON)
        }
        if configuration.quirks.sendsTemperature, let temperature = request.temperature, temperature.isFinite {
            writer.key("temperature")
            writer.value(min(max(temperature, 0), 2))
        }
        if request.maximumTokens > 0 {
            switch configuration.quirks.tokenLimit {
            case .byHost:
                let isOpenAI = configuration.endpoint.baseURL.host == "api.openai.com"
                writer.key(isOpenAI ? "max_completion_tokens" : "max_tokens")
                writer.value(request.maximumTokens)
            case .maxTokens:
                writer.key("max_tokens")
                writer.value(request.maximumTokens)
            case .maxCompletionTokens:
                writer.key("max_completion_tokens")
                writer.value(request.maximumTokens)
            case .none:
                break
            }
        }
        writer.endObject()
        return writer.bytes
    }
}
