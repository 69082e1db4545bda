import HTTPTypes

/// Which pages of other origins may call the API.
///
/// Credentials travel in `Authorization`, never in cookies, so none are allowed.
struct CORS: Sendable {
    private let origins: Set<String>
    private let allowsAll: Bool

    init(_ origins: [String]) {
        self.origins = Set(origins.map { $0.lowercased() })
        allowsAll = origins.contains("*")
    }

    var isOn: Bool { allowsAll || !origins.isEmpty }

    private func allowed(_ origin: String) -> String? {
        if allowsAll { return "*" }
        return origins.contains(origin.lowercased()) ? origin : nil
    }

    /// Adds what the browser asks for to an answer.
    func mark(_ headers: inout HTTPFields, for origin: String?) {
        guard isOn else { return }
        if !allowsAll { headers.append(HTTPField(name: .vary, value: "Origin")) }
        guard let origin, let allowed = allowed(origin) else { return }
        headers.append(HTTPField(name: .accessControlAllowOrigin, value: allowed))
        headers.append(
            HTTPField(
                name: .accessControlExposeHeaders,
                value: "ETag, Idempotency-Replayed, Location, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, "
                    + "Retry-After, X-Request-Id"
            )
        )
    }

    /// The answer to a preflight request, but for what `mark` adds.
    func preflight(allowing methods: [Endpoint.Method]) -> Response {
        Response(.noContent)
            .with(.accessControlAllowMethods, methods.map(\.rawValue).joined(separator: ", "))
            .with(
                .accessControlAllowHeaders,
                "Accept, Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Request-Id"
            )
            .with(.accessControlMaxAge, "7200")
    }
}
