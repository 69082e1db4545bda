package import Kernel

/// What all OpenAI-compatible interfaces share: where they are, how the key is sent, and how they say no.
///
/// Source: `protocols/openai.md` §1, §5.
package struct OpenAIEndpoint: Sendable {
    /// How the key is sent.
    package enum KeyHeader: Sendable, Hashable {
        case bearer
        /// As it is, in a header of its own: `api-key` for Azure.
        case named(String)
    }

    /// A fixed word for metrics, logs and errors.
    package var provider: String
    /// With the version in it: `https://api.openai.com/v1`.
    ///
    /// A query stays at the end of every URL (Azure's `api-version`).
    package var baseURL: OutboundURL
    package var apiKey: Secret?
    package var keyHeader: KeyHeader
    /// Further headers, such as `OpenAI-Organization` and `OpenAI-Project`.
    package var headers: OutboundHeaders
    package var access: OutboundAccess

    package init(
        provider: String = "openai",
        baseURL: OutboundURL,
        apiKey: Secret? = nil,
        keyHeader: KeyHeader = .bearer,
        headers: OutboundHeaders = [:],
        access: OutboundAccess
    ) {
        self.provider = provider
        self.baseURL = baseURL
        self.apiKey = apiKey
        self.keyHeader = keyHeader
        self.headers = headers
        self.access = access
    }

    package func request(
        _ path: StaticString,
        body: [UInt8],
        organization: ID<OrganizationEntity>?,
        deadline: ContinuousClock.Instant
    ) -> OutboundRequest {
        var fields = headers
        fields["content-type"] = "application/json"
        if let apiKey {
            switch keyHeader {
            case .bearer: fields["authorization"] = "Bearer \(apiKey.exposed)"
            case .named(let name): fields[name] = apiKey.exposed
            }
        }
        return OutboundRequest(
            provider: provider,
            method: .post,
            url: baseURL.appending(path: path),
            headers: fields,
            body: body,
            access: access,
            organization: organization,
            deadline: deadline
        )
    }

    // MARK: Errors

    /// The meaning of a response that is no success.
    package func failure(
        status: Int,
        headers: OutboundHeaders,
        body: [UInt8],
        at now: Timestamp = .now()
    ) -> ProviderError {
        let json = try? JSON(parsing: body)
        let envelope = json.flatMap(Self.envelope) ?? Envelope()
        var kind = Self.kind(of: status, envelope)
        var isTransient: Bool?
        if case .badRequest = kind, let text = headers["x-should-retry"] { isTransient = text == "true" }
        if kind.isTransient, headers["x-should-retry"] == "false" { isTransient = false }
        if status == 429, envelope.isQuota { kind = .quotaExhausted }
        return ProviderError(
            kind,
            provider: provider,
            status: status,
            code: envelope.code ?? envelope.type,
            retryAfter: kind.isTransient ? RetryAfter.wait(in: headers, at: now) : nil,
            isTransient: kind == .quotaExhausted ? false : isTransient
        )
    }

    /// The meaning of an error object inside of a response that began as a success; nil when there is none.
    package func failure(in json: JSON) -> ProviderError? {
        guard let envelope = Self.envelope(json) else { return nil }
        let status = envelope.code.flatMap { Int($0) }.flatMap { (400..<600).contains($0) ? $0 : nil }
        var kind = status.map { Self.kind(of: $0, envelope) } ?? .overloaded
        if status == nil {
            switch (envelope.code, envelope.type) {
            case _ where envelope.isQuota: kind = .quotaExhausted
            case ("rate_limit_exceeded"?, _), ("slow_down"?, _), (_, "rate_limit_error"?), (_, "requests"?),
                (_, "tokens"?):
                kind = .rateLimited
            case ("invalid_api_key"?, _), (_, "authentication_error"?): kind = .unauthorized
            case (let code, "invalid_request_error"?): kind = Self.refusal(code)
            default: break
            }
        }
        return ProviderError(kind, provider: provider, code: envelope.code ?? envelope.type)
    }

    private struct Envelope {
        var type: String?
        /// An integer is kept as its digits.
        var code: String?

        /// Whether only a person can make the account work again.
        var isQuota: Bool {
            [type, code].contains { text in
                guard let text else { return false }
                return ["insufficient_quota", "billing", "spend", "credit", "budget"].contains { text.contains($0) }
            }
        }
    }

    /// The error object in its forms: nested, flat (`"object": "error"`), a mere text.
    private static func envelope(_ json: JSON) -> Envelope? {
        switch json["error"] {
        case .object(let error)?:
            return Envelope(type: error["type"]?.string, code: code(error["code"]))
        case .string?:
            return Envelope(type: json["type"]?.string, code: code(json["code"]))
        case nil, .null?:
            guard json["object"]?.string == "error" else { return nil }
            return Envelope(type: json["type"]?.string, code: code(json["code"]))
        default:
            return Envelope()
        }
    }

    private static func code(_ json: JSON?) -> String? {
        switch json {
        case .string(let text)?: text
        case .integer(let number)?: String(number)
        default: nil
        }
    }

    private static func kind(of status: Int, _ envelope: Envelope) -> ProviderError.Kind {
        switch status {
        case 401, 403: .unauthorized
        case 402: .quotaExhausted
        case 408, 504: .timedOut
        case 409, 425: .overloaded
        case 429: envelope.isQuota ? .quotaExhausted : .rateLimited
        case 500...: .overloaded
        case 300..<400: .badRequest("it answers with a redirect; check the base URL")
        case 404: .badRequest("unknown model or path")
        case 413: .badRequest("too large")
        case 400..<500: refusal(envelope.code)
        default: .garbled("status \(status)")
        }
    }

    private static func refusal(_ code: String?) -> ProviderError.Kind {
        switch code {
        case "context_length_exceeded"?: .badRequest("the prompt is too long for the model")
        case "content_filter"?: .badRequest("its content filter refused the prompt")
        case "model_not_found"?: .badRequest("unknown model")
        default: .badRequest("it refuses the request")
        }
    }
}
