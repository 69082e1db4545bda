package import Kernel

/// One method and path: what it takes, what it answers and who may call it, declared once for the router, for the checks
/// before the handler and for the API description.
package struct Endpoint: Sendable {
    package enum Method: String, Sendable, CaseIterable {
        case get = "GET"
        case post = "POST"
        case put = "PUT"
        case patch = "PATCH"
        case delete = "DELETE"
    }

    /// Which rate limit counts a call.
    package enum RateLimit: Sendable {
        /// The API's: per caller, or per client address where nobody is authenticated.
        case standard
        /// The strict one for guesses at credentials, per client address, beside the API's.
        case authentication
        case none
    }

    /// What the request body is.
    package enum Payload: Sendable {
        case none
        case json(Schema, example: JSON?)
        /// Raw bytes of one of these media types.
        case bytes([String])
    }

    enum Action: Sendable {
        case `public`(@Sendable (PublicCall) async throws -> Response)
        case organization(@Sendable (OrganizationCall) async throws -> Response)
    }

    package let method: Method
    /// With parameters in braces: `/api/v1/channels/{id}`.
    package internal(set) var path: String
    package internal(set) var tag: String
    /// A few words: `List channels`.
    package let summary: String
    package let description: String
    /// What the caller must hold; nil when any credential of the organization will do, or none is asked for.
    package let permission: Permission?
    package let pathParameters: [Schema.Property]
    package let query: [Schema.Property]
    package let payload: Payload
    /// Whether `If-Match` is offered.
    package let edits: Bool
    package let responses: [DeclaredResponse]
    package let problems: [ProblemKind]
    package let rateLimit: RateLimit
    /// In bytes; nil for the server's own limit.
    package let bodyLimit: Int?
    /// Whether `Idempotency-Key` is offered.
    package let isIdempotent: Bool
    /// Whether the API description shows it.
    package let isListed: Bool
    let handler: Action

    package var isAuthenticated: Bool {
        if case .organization = handler { true } else { false }
    }

    /// An endpoint inside one organization: the call proves it.
    ///
    /// - Parameters:
    ///   - path: Appended to the group's.
    ///   - permission: nil when every credential of the organization will do.
    ///   - parameters: Path parameters that are no UUIDs, or that need words.
    ///   - upload: Media types, when the body is raw bytes.
    ///   - edits: Offers `If-Match`; the handler checks `call.ifMatch` in its transaction.
    ///   - problems: Those of the resource. What Web itself answers is known: 400, 401, 403, 404 where there is a path
    ///     parameter, 408, 409, 412, 413, 415, 422, 429, 503, 507.
    ///   - bodyLimit: In bytes; nil for the server's own limit.
    ///   - idempotent: False for a POST that has its own way to be repeated.
    package static func organization(
        _ method: Method,
        _ path: String,
        _ summary: String,
        _ description: String = "",
        permission: Permission?,
        parameters: [Schema.Property] = [],
        query: [Schema.Property] = [],
        body: Schema? = nil,
        example: JSON? = nil,
        upload: [String] = [],
        edits: Bool = false,
        responses: [DeclaredResponse],
        problems: [ProblemKind] = [],
        rateLimit: RateLimit = .standard,
        bodyLimit: Int? = nil,
        idempotent: Bool = true,
        listed: Bool = true,
        use handler: @escaping @Sendable (OrganizationCall) async throws -> Response
    ) -> Endpoint {
        Endpoint(
            method: method,
            path: path,
            tag: "",
            summary: summary,
            description: description,
            permission: permission,
            pathParameters: parameters,
            query: query,
            payload: Payload(body, example, upload),
            edits: edits,
            responses: responses,
            problems: problems,
            rateLimit: rateLimit,
            bodyLimit: bodyLimit,
            isIdempotent: idempotent && method == .post,
            isListed: listed,
            handler: .organization(handler)
        )
    }

    /// An endpoint that anybody may call.
    package static func `public`(
        _ method: Method,
        _ path: String,
        _ summary: String,
        _ description: String = "",
        parameters: [Schema.Property] = [],
        query: [Schema.Property] = [],
        body: Schema? = nil,
        example: JSON? = nil,
        upload: [String] = [],
        responses: [DeclaredResponse],
        problems: [ProblemKind] = [],
        rateLimit: RateLimit = .standard,
        bodyLimit: Int? = nil,
        listed: Bool = true,
        use handler: @escaping @Sendable (PublicCall) async throws -> Response
    ) -> Endpoint {
        Endpoint(
            method: method,
            path: path,
            tag: "",
            summary: summary,
            description: description,
            permission: nil,
            pathParameters: parameters,
            query: query,
            payload: Payload(body, example, upload),
            edits: false,
            responses: responses,
            problems: problems,
            rateLimit: rateLimit,
            bodyLimit: bodyLimit,
            isIdempotent: false,
            isListed: listed,
            handler: .public(handler)
        )
    }
}

extension Endpoint.Payload {
    fileprivate init(_ schema: Schema?, _ example: JSON?, _ mediaTypes: [String]) {
        if let schema {
            self = .json(schema, example: example)
        } else {
            self = mediaTypes.isEmpty ? .none : .bytes(mediaTypes)
        }
    }

    var isPresent: Bool {
        if case .none = self { false } else { true }
    }
}

extension [Endpoint] {
    /// Endpoints below one path, and with one heading in the API description.
    package static func under(_ path: String, tag: String, _ endpoints: [Endpoint]) -> [Endpoint] {
        endpoints.map { endpoint in
            var endpoint = endpoint
            endpoint.path = path + endpoint.path
            if endpoint.tag.isEmpty { endpoint.tag = tag }
            return endpoint
        }
    }
}

extension [Schema.Property] {
    /// The query parameters of every list: `limit` and `cursor`.
    package static var page: [Schema.Property] {
        [
            .optional(
                "limit",
                .integer(Int64(PageRequest.limits.lowerBound)...Int64(PageRequest.limits.upperBound)),
                "How many items at most.",
                default: .integer(Int64(PageRequest.defaultLimit))
            ),
            .optional("cursor", .cursor, "The `next_cursor` of the page before; absent for the first page."),
        ]
    }
}

extension Schema {
    /// A place in a list.
    ///
    /// Callers should not look inside.
    package static let cursor = Schema.string(48...48, [.singleLine])

    /// One page of a list.
    package static func page(of element: Schema) -> Schema {
        .object([
            .required("data", .array(of: element, count: 0...PageRequest.limits.upperBound), "The items, in order."),
            .required(
                "next_cursor",
                .nullable(.string(1...256)),
                "Where the next page begins; null on the last page."
            ),
        ])
    }

    /// Whether this is one page of a list, which has no entity tag of its own.
    var isPage: Bool {
        guard case .object(let properties) = form else { return false }
        return properties.map(\.name) == ["data", "next_cursor"]
    }
}
