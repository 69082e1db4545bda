package import HTTPTypes
package import Kernel
package import Logging
package import NIOCore

/// What every handler can read of its request.
///
/// The query and the body already fit the endpoint's declaration.
package protocol Call: Sendable {
    var request: IncomingRequest { get }
}

/// A call that anybody may make.
package struct PublicCall: Call {
    package let request: IncomingRequest

    init(request: IncomingRequest) { self.request = request }
}

/// A call whose caller has proved to belong to an organization and to hold the endpoint's permission.
package struct OrganizationCall: Call {
    package let request: IncomingRequest
    package let principal: Principal
    /// What storage asks for; carries the claim of the idempotency key, if there is one.
    package let scope: OrganizationScope

    init(request: IncomingRequest, principal: Principal, claim: IdempotencyClaim? = nil) {
        self.request = request
        self.principal = principal
        let scope = OrganizationScope.authenticated(
            principal.organization,
            as: principal.actor,
            from: request.origin
        )
        self.scope = claim.map { scope.claiming($0) } ?? scope
    }

    package var logger: Logger {
        var logger = request.logger
        logger[metadataKey: "organization_id"] = .stringConvertible(principal.organization)
        return logger
    }
}

/// One request, read and checked.
package struct IncomingRequest: Sendable {
    let route: Route
    package let headers: HTTPFields
    package let origin: RequestOrigin
    /// In the order of the route's names.
    let pathValues: [String]
    let query: [String: JSON]
    package let body: JSON
    package let bytes: ByteBuffer
    let baseLogger: Logger

    package var logger: Logger {
        var logger = baseLogger
        logger[metadataKey: "request_id"] = .string(origin.requestID)
        logger[metadataKey: "route"] = .string(route.endpoint.path)
        return logger
    }

    /// The token that the caller sent, for endpoints that check one of their own.
    var bearer: Secret? { headers[.authorization].flatMap(bearerToken) }
}

extension Call {
    package var requestID: String { request.origin.requestID }
    package var origin: RequestOrigin { request.origin }
    /// Names the request and its route; holds no personal data.
    package var logger: Logger { request.logger }

    /// The body of an endpoint that takes JSON; null for every other.
    package var body: JSON { request.body }
    /// The body of an endpoint that takes an upload; empty for every other.
    package var upload: ByteBuffer { request.bytes }
    /// The media type of the body in lower case, without parameters.
    package var mediaType: String? { request.headers[.contentType].map(mediaTypeName) }

    // MARK: Path

    /// The text of a path parameter, decoded.
    ///
    /// Empty when the path has no such parameter.
    package func path(_ name: String) -> String {
        guard let index = request.route.parameters.firstIndex(of: name), index < request.pathValues.count else {
            return ""
        }
        return request.pathValues[index]
    }

    /// The id in the path.
    ///
    /// What is no id is answered like an id that does not exist.
    package func pathID<Entity>(
        _ name: String,
        or missing: @autoclosure () -> Problem,
        of: Entity.Type = Entity.self
    ) throws(Problem) -> ID<Entity> {
        guard let id = ID<Entity>(path(name)) else { throw missing() }
        return id
    }

    // MARK: Query

    /// The value of a declared query parameter: the one that was sent, else its declared default, else nil.
    package func query(_ name: String) -> JSON? {
        request.query[name] ?? request.route.endpoint.query.first { $0.name == name }?.defaultValue
    }

    /// A query parameter that holds the raw value of an enumeration.
    package func query<Value: RawRepresentable<String>>(_ name: String, as: Value.Type = Value.self) -> Value? {
        query(name)?.string.flatMap(Value.init(rawValue:))
    }

    package func query<Entity>(_ name: String, as: ID<Entity>.Type = ID<Entity>.self) -> ID<Entity>? {
        query(name)?.string.flatMap { ID<Entity>($0) }
    }

    package func query(_ name: String, as: Timestamp.Type = Timestamp.self) -> Timestamp? {
        query(name)?.string.flatMap { Timestamp($0) }
    }

    /// The page that `limit` and `cursor` ask for.
    package var page: PageRequest {
        PageRequest(
            limit: query("limit")?.int.flatMap { Int(exactly: $0) } ?? PageRequest.defaultLimit,
            after: query("cursor")?.string.flatMap { Cursor($0) }
        )
    }

    // MARK: Headers

    package func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { request.headers[$0] } }

    /// What `If-Match` asks for.
    package var ifMatch: Precondition { Precondition(ifMatch: request.headers[.ifMatch]) }

    /// Whether the caller asks for server-sent events.
    package var acceptsEvents: Bool { request.headers.acceptEvents }

    /// Where a stream that broke off is to go on.
    package var lastEventID: String? { request.headers[.lastEventID] }
}

extension HTTPFields {
    var acceptEvents: Bool {
        self[values: .accept].contains { value in
            value.split(separator: ",").contains { mediaTypeName(String($0)) == "text/event-stream" }
        }
    }
}

/// A media type in lower case, without parameters.
func mediaTypeName(_ text: String) -> String {
    let name = text.prefix { $0 != ";" }.drop { $0 == " " || $0 == "\t" }
    return String(name.reversed().drop { $0 == " " || $0 == "\t" }.reversed()).lowercased()
}

extension HTTPField.Name {
    package static let requestID = named("X-Request-Id")
    package static let idempotencyKey = named("Idempotency-Key")
    package static let lastEventID = named("Last-Event-ID")
    static let idempotencyReplayed = named("Idempotency-Replayed")
    static let rateLimitLimit = named("RateLimit-Limit")
    static let rateLimitRemaining = named("RateLimit-Remaining")
    static let rateLimitReset = named("RateLimit-Reset")
    static let forwardedFor = named("X-Forwarded-For")
    static let frameOptions = named("X-Frame-Options")
    static let referrerPolicy = named("Referrer-Policy")
    static let accelBuffering = named("X-Accel-Buffering")

    /// - Parameter name: A token, from this program's own text.
    private static func named(_ name: StaticString) -> HTTPField.Name {
        guard let name = HTTPField.Name("\(name)") else { preconditionFailure("\(name) is no field name") }
        return name
    }
}
