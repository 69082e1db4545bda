package import Kernel

/// One way in which an endpoint may succeed.
package struct DeclaredResponse: Sendable {
    package enum Representation: Sendable {
        case none
        case json(Schema)
        /// Bytes of a media type that the description does not look into.
        case bytes(mediaType: String)
        /// Server-sent events; the words say which.
        case events
    }

    package let status: Int
    package let content: Representation
    package let description: String
    /// Whether an `ETag` may come with it.
    package let isTagged: Bool
    package let example: JSON?

    package init(
        status: Int,
        _ content: Representation,
        _ description: String,
        isTagged: Bool = false,
        example: JSON? = nil
    ) {
        self.status = status
        self.content = content
        self.description = description
        self.isTagged = isTagged
        self.example = example
    }

    package static func ok(_ schema: Schema, _ description: String = "Done.", example: JSON? = nil) -> DeclaredResponse
    {
        DeclaredResponse(status: 200, .json(schema), description, isTagged: !schema.isPage, example: example)
    }

    package static func created(
        _ schema: Schema,
        _ description: String = "Created; `Location` names it.",
        example: JSON? = nil
    ) -> DeclaredResponse {
        DeclaredResponse(status: 201, .json(schema), description, isTagged: true, example: example)
    }

    package static func accepted(
        _ schema: Schema,
        _ description: String = "Taken on; it will be done soon.",
        example: JSON? = nil
    ) -> DeclaredResponse {
        DeclaredResponse(status: 202, .json(schema), description, example: example)
    }

    package static let noContent = DeclaredResponse(status: 204, .none, "Done; there is nothing to say.")

    package static func bytes(_ mediaType: String, _ description: String = "The content.") -> DeclaredResponse {
        DeclaredResponse(status: 200, .bytes(mediaType: mediaType), description)
    }

    package static func html(_ description: String = "A page.") -> DeclaredResponse { bytes("text/html", description) }

    /// A stream, when the caller accepts `text/event-stream`.
    ///
    /// - Parameter description: Which events it carries.
    package static func events(_ description: String, status: Int = 200) -> DeclaredResponse {
        DeclaredResponse(status: status, .events, description)
    }
}

/// One way in which an endpoint may refuse, for the API reference.
package struct ProblemKind: Sendable, Hashable {
    package let status: Problem.Status
    /// As in `Problem.code`.
    package let code: String
    /// When it happens, and what the caller can do.
    package let meaning: String

    package init(_ status: Problem.Status, _ code: String, _ meaning: String) {
        self.status = status
        self.code = code
        self.meaning = meaning
    }

    /// Like `Problem.notFound`.
    package static func notFound(_ noun: String) -> ProblemKind {
        let problem = Problem.notFound(noun)
        return ProblemKind(.notFound, problem.code, problem.detail)
    }
}

extension ProblemKind {
    static let invalid = ProblemKind(
        .badRequest,
        "request.invalid",
        "A query parameter, a header or the body does not fit."
    )
    static let malformed = ProblemKind(
        .badRequest,
        "request.malformed",
        "The path, the query or the body cannot be read."
    )
    static let authenticationRequired = ProblemKind(
        .unauthorized,
        "auth.required",
        "There is no bearer token in `Authorization`."
    )
    static let invalidToken = ProblemKind(
        .unauthorized,
        "auth.invalid_token",
        "The token or key is unknown or has ended."
    )
    static let forbidden = ProblemKind(
        .forbidden,
        "auth.forbidden",
        "The credential lacks the permission that is named."
    )
    static let routeNotFound = ProblemKind(.notFound, "route.not_found", "There is nothing at this path.")
    static let methodNotAllowed = ProblemKind(
        .methodNotAllowed,
        "route.method_not_allowed",
        "`Allow` names the methods of this path."
    )
    static let timeout = ProblemKind(.requestTimeout, "request.timeout", "The body did not arrive in time.")
    static let inFlight = ProblemKind(
        .conflict,
        "idempotency.in_flight",
        "The first request with this key is still at work; try again later."
    )
    static let responseLost = ProblemKind(
        .conflict,
        "idempotency.response_lost",
        "The first request with this key took effect but its answer is not kept; read the resource."
    )
    static let conflict = ProblemKind(
        .conflict,
        "storage.conflict",
        "Other changes kept getting in the way; try again."
    )
    static let preconditionFailed = ProblemKind(
        .preconditionFailed,
        "request.precondition_failed",
        "It has changed since the `ETag` that `If-Match` names."
    )
    static let tooLarge = ProblemKind(.contentTooLarge, "request.too_large", "The body is larger than allowed.")
    static let unsupportedMediaType = ProblemKind(
        .unsupportedMediaType,
        "request.unsupported_media_type",
        "The body's media type is not one of those offered."
    )
    static let keyReused = ProblemKind(
        .unprocessable,
        "idempotency.key_reused",
        "The key was used before with another request; take a new one."
    )
    static let rateLimited = ProblemKind(
        .tooManyRequests,
        "rate_limit.exceeded",
        "Too many requests; wait as long as `Retry-After` says."
    )
    static let tooManyStreams = ProblemKind(
        .tooManyRequests,
        "stream.too_many",
        "The caller, or its organization, has as many event streams open as it may have."
    )
    static let `internal` = ProblemKind(
        .internalError,
        "internal",
        "Something went wrong on our side; `request_id` helps to find it."
    )
    static let unavailable = ProblemKind(
        .unavailable,
        "storage.unavailable",
        "A part that is needed cannot be reached; try again soon."
    )

    static let full = ProblemKind(
        .insufficientStorage,
        "storage.full",
        "The server has no room left to store what was sent; what is stored can be read."
    )

    static let busy = ProblemKind(
        .unavailable,
        "server.busy",
        "The server, or the caller's share of it, holds as many request bodies as it can; try again soon."
    )

    /// What Web itself may answer to any request.
    static let general: [ProblemKind] = [
        invalid, malformed, authenticationRequired, invalidToken, forbidden, routeNotFound, methodNotAllowed, timeout,
        inFlight, responseLost, conflict, preconditionFailed, tooLarge, unsupportedMediaType, keyReused, rateLimited,
        tooManyStreams,
        `internal`, unavailable, full, busy,
    ]
}

extension Endpoint {
    /// Everything that the endpoint may refuse with, by status.
    var allProblems: [ProblemKind] {
        var kinds: [ProblemKind] = [.invalid, .malformed]
        if isAuthenticated { kinds += [.authenticationRequired, .invalidToken, .forbidden] }
        if path.contains("{"), !problems.contains(where: { $0.status == .notFound }) {
            kinds.append(ProblemKind(.notFound, "not_found", "There is no such resource in this organization."))
        }
        if !pathParameters.isEmpty { kinds.append(.routeNotFound) }
        if payload.isPresent { kinds += [.timeout, .tooLarge, .unsupportedMediaType, .busy] }
        if method != .get { kinds += [.conflict, .full] }
        if isIdempotent { kinds += [.inFlight, .responseLost, .keyReused] }
        if edits { kinds.append(.preconditionFailed) }
        if rateLimit != .none || isAuthenticated { kinds.append(.rateLimited) }
        if streams, isAuthenticated { kinds.append(.tooManyStreams) }
        kinds += problems
        kinds += [.internal, .unavailable]
        return kinds.sorted { ($0.status.rawValue, $0.code) < ($1.status.rawValue, $1.code) }
    }
}
