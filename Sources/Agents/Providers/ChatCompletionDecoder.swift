import Kernel
import Outbound

/// Reads the events of one streamed chat completion.
///
/// Every field may be missing, choices may be empty, and what is unknown is passed over; but an answer counts only when
/// it says how it ended and the stream says that it is over.
struct ChatCompletionDecoder {
    let endpoint: OpenAIEndpoint
    let inputBytes: Int
    let maximumReplyBytes: Int

    private(set) var isDone = false
    private var model: String
    private var reason: ModelCompletion.Reason?
    private var usage: TokenUsage?
    private var replyBytes = 0
    private var limits = JSONLimits(depth: 32, values: 10_000)

    init(endpoint: OpenAIEndpoint, model: String, inputBytes: Int, maximumReplyBytes: Int) {
        self.endpoint = endpoint
        self.model = model
        self.inputBytes = inputBytes
        self.maximumReplyBytes = maximumReplyBytes
    }

    /// - Returns: The new text; often empty.
    mutating func read(_ event: ServerSentEvent) throws(ProviderError) -> String {
        if isDone || event.data.isEmpty { return "" }
        if event.data == "[DONE]" {
            isDone = true
            return ""
        }
        guard let json = try? JSON(parsing: event.data, limits: limits), json.object != nil else {
            if event.name == "error" { throw failure(.overloaded) }
            throw failure(.garbled("an event that is no JSON object"))
        }
        if let error = endpoint.failure(in: json) { throw error }
        if event.name == "error" { throw failure(.overloaded) }
        return try read(json, message: "delta")
    }

    /// Reads an answer that came in one piece.
    mutating func read(whole body: [UInt8]) throws(ProviderError) -> String {
        guard let json = try? JSON(parsing: body, limits: limits), json.object != nil else {
            throw failure(.garbled("no JSON object"))
        }
        if let error = endpoint.failure(in: json) { throw error }
        isDone = true
        return try read(json, message: "message")
    }

    private mutating func read(_ json: JSON, message key: String) throws(ProviderError) -> String {
        if let name = json["model"]?.string, (1...200).contains(name.utf8.count) { model = name }
        if let counts = json["usage"], let input = count(counts["prompt_tokens"]),
            let output = count(counts["completion_tokens"])
        {
            usage = TokenUsage(input: input, output: output, isEstimated: false)
        }
        guard let choices = json["choices"]?.array else {
            // Some servers send the count alone, without the empty array that the protocol has.
            if json["usage"]?.object != nil { return "" }
            throw failure(.garbled("an event without choices"))
        }
        guard let choice = choices.first else { return "" }
        if let name = choice["finish_reason"]?.string, !name.isEmpty {
            reason =
                switch name {
                case "stop": .stop
                case "length": .length
                case "content_filter": .contentFilter
                default: .other(String(name.prefix(40)))
                }
        }
        let message = choice[key]
        let text = (message?["content"]?.string ?? "") + (message?["refusal"]?.string ?? "")
        replyBytes += text.utf8.count
        guard replyBytes <= maximumReplyBytes else { throw failure(.garbled("an answer that is too long")) }
        return text
    }

    /// The end of the answer, when it is whole.
    func completion() throws(ProviderError) -> ModelCompletion {
        guard let reason else { throw failure(.garbled("the answer breaks off")) }
        guard isDone else { throw failure(.garbled("the answer has no end mark")) }
        guard replyBytes > 0 || reason != .stop else { throw failure(.garbled("an empty answer")) }
        let estimate = TokenUsage(
            input: TokenEstimate.tokens(bytes: inputBytes),
            output: TokenEstimate.tokens(bytes: replyBytes),
            isEstimated: true
        )
        return ModelCompletion(reason: reason, usage: usage ?? estimate, model: model)
    }

    /// A plausible number of tokens.
    private func count(_ json: JSON?) -> Int64? {
        json?.int.flatMap { (0...1_000_000_000).contains($0) ? $0 : nil }
    }

    private func failure(_ kind: ProviderError.Kind) -> ProviderError {
        ProviderError(kind, provider: endpoint.provider)
    }
}
