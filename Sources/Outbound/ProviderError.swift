package import Kernel

/// Why a provider of models, embeddings, speech or payments did not do what it was asked.
///
/// Says nothing of what was sent or answered: providers quote prompts and parts of keys in their messages.
package struct ProviderError: Error, Sendable, Hashable {
    package enum Kind: Sendable, Hashable {
        /// Too many calls for the moment.
        case rateLimited
        /// The account has no money or no budget left; only a person can change that.
        case quotaExhausted
        /// The key is missing, wrong or not allowed to do this.
        case unauthorized
        /// The request can never succeed as it is: an unknown model, too long a prompt, wrong settings.
        case badRequest(String)
        /// The provider says that it cannot at the moment.
        case overloaded
        /// The provider could not be reached, or the connection broke.
        case unreachable
        case timedOut
        /// The answer is not what the protocol says; the text names what was wrong.
        case garbled(String)
        case cancelled
    }

    package let kind: Kind
    /// As in metrics: `openai`.
    package let provider: String
    package var status: Int?
    /// The provider's own code, when it has the form of one: `rate_limit_exceeded`.
    package var code: String?
    /// How long the provider asked to be left alone.
    package var retryAfter: Duration?
    /// Whether the same request may succeed later.
    package var isTransient: Bool

    package init(
        _ kind: Kind,
        provider: String,
        status: Int? = nil,
        code: String? = nil,
        retryAfter: Duration? = nil,
        isTransient: Bool? = nil
    ) {
        self.kind = kind
        self.provider = provider
        self.status = status
        self.code = code.flatMap { Self.isCode($0) ? $0 : nil }
        self.retryAfter = retryAfter
        self.isTransient = isTransient ?? kind.isTransient
    }

    package init(_ error: OutboundError, provider: String) {
        let kind: Kind =
            switch error {
            case .invalidRequest(let what): .badRequest(what)
            case .refusedAddress: .badRequest("the address of the provider is not allowed")
            case .resolveFailed, .connectFailed, .tlsFailed, .connectionLost, .stopped: .unreachable
            case .timedOut: .timedOut
            case .tooLarge: .garbled("too large")
            case .garbled: .garbled("no HTTP")
            case .circuitOpen: .overloaded
            case .cancelled: .cancelled
            }
        self.init(kind, provider: provider, retryAfter: error.retryAfter)
    }

    private static func isCode(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".")
            }
    }
}

extension ProviderError.Kind {
    package var isTransient: Bool {
        switch self {
        case .rateLimited, .overloaded, .unreachable, .timedOut, .garbled, .cancelled: true
        case .quotaExhausted, .unauthorized, .badRequest: false
        }
    }

    /// One word for columns and metrics.
    package var name: String {
        switch self {
        case .rateLimited: "rate_limited"
        case .quotaExhausted: "quota_exhausted"
        case .unauthorized: "unauthorized"
        case .badRequest: "bad_request"
        case .overloaded: "overloaded"
        case .unreachable: "unreachable"
        case .timedOut: "timed_out"
        case .garbled: "garbled"
        case .cancelled: "cancelled"
        }
    }
}

extension ProviderError: CustomStringConvertible {
    /// One sentence that may be shown and logged.
    package var message: String {
        let what =
            switch kind {
            case .rateLimited: "asks for fewer calls"
            case .quotaExhausted: "has no quota left for this account"
            case .unauthorized: "refuses the key"
            case .badRequest(let what): "cannot serve the request: \(what)"
            case .overloaded: "is overloaded"
            case .unreachable: "cannot be reached"
            case .timedOut: "did not answer in time"
            case .garbled(let what): "sent an answer that cannot be used: \(what)"
            case .cancelled: "was not waited for"
            }
        return "The provider \(provider) \(what)."
    }

    package var description: String {
        let details = [status.map { "status \($0)" }, code.map { "code \($0)" }].compactMap(\.self)
        return details.isEmpty ? message : "\(message) (\(details.joined(separator: ", ")))"
    }
}

extension ProviderError: ProblemConvertible {
    package var problem: Problem {
        let isWait = kind == .rateLimited || kind == .overloaded
        return Problem(
            isWait ? .unavailable : .badGateway,
            "provider.\(kind.name)",
            message,
            retryAfterSeconds: retryAfter.map { Int(clamping: ($0.wholeMilliseconds.advanced(by: 999)) / 1_000) }
        )
    }
}
