import HTTPTypes
import HummingbirdCore
import Kernel
import Logging
import Metrics
import NIOCore
import Storage

/// Takes each request from its head to the last byte of its answer, in one task.
struct Responder: Sendable {
    let routes: Routes
    let unknownRoute: RouteMeters
    let admission: Admission
    let idempotency: IdempotencyKeys?
    let configuration: WebConfiguration
    let headers: ResponseHeaders
    let bodies: BodyBudget
    let streams: OpenStreams
    let inFlight: any MeterHandler
    let logger: Logger

    /// What becomes known of a request on its way, for the answer's headers, the log and the end of the request.
    private struct RequestProgress {
        var route: Route?
        var principal: Principal?
        var rate: RateDecision?
        var body: BodyBudget.Share?
        var stream: OpenStreams.OpenStream?
    }

    // MARK: One request

    func respond(
        to request: Request,
        _ writer: consuming ResponseWriter,
        on channel: any Channel
    ) async throws {
        let start = ContinuousClock.now
        inFlight.increment(by: 1)
        defer { inFlight.decrement(by: 1) }
        let peer = ClientAddress(channel.remoteAddress)
        let client = ClientAddress.client(
            peer: peer,
            forwardedFor: configuration.trustedProxies.isEmpty ? [] : request.headers[values: .forwardedFor],
            trusting: configuration.trustedProxies
        )
        let origin = RequestOrigin(
            requestID: acceptableRequestID(request.headers) ?? ID<Request>().description,
            address: client?.text,
            userAgent: request.headers[.userAgent].map { String($0.prefix(512)) }
        )
        var progress = RequestProgress()
        defer {
            if let share = progress.body { bodies.giveBack(share) }
            if let place = progress.stream { streams.close(place) }
        }
        var response: Response
        do {
            if request.headers[.expect] == "100-continue" {
                try await writer.writeInformationalHead(HTTPResponse(status: .continue))
            }
            response = try await answer(request, from: origin, client, &progress)
            // Endpoints that do nothing but stream need not be asked for it.
            if case .events = response.content, progress.stream == nil, let principal = progress.principal {
                progress.stream = try streams.open(for: principal)
            }
            if configuration.verifiesResponses, let route = progress.route { try verify(response, of: route.endpoint) }
        } catch let broken as BrokenRequest {
            throw broken.cause
        } catch {
            response = self.response(to: error, origin, progress.route)
        }
        await headers.finish(&response, to: request, id: origin.requestID, rate: progress.rate)
        let status = response.status.code
        do {
            try await write(response, to: request, writer, on: channel, origin, progress)
        } catch {
            measure(status, start, origin, progress)
            throw error
        }
        measure(status, start, origin, progress)
    }

    /// Everything between the head and the handler's reply, in the order that the README shows.
    private func answer(
        _ request: Request,
        from origin: RequestOrigin,
        _ client: ClientAddress?,
        _ progress: inout RequestProgress
    ) async throws -> Response {
        let target = RequestTarget(request.head.path ?? "/")
        let method: Endpoint.Method? =
            request.method == .head ? .get : Endpoint.Method(rawValue: request.method.rawValue)
        let route: Route
        let values: [String]
        switch try routes.match(method, target.path) {
        case .found(let match, let captured):
            (route, values) = (match, captured)
            progress.route = match
        case .methodNotAllowed(let methods): return try refuse(request, allowing: methods)
        case .notFound: throw Self.noRoute
        }
        let endpoint = route.endpoint
        switch endpoint.handler {
        case .public(let handler):
            let caller = CallerKey.address(client?.rateLimitKey)
            try admission.limit(endpoint, as: caller, client, &progress.rate)
            let incoming = try await read(request, route, values, target, origin, for: caller, &progress)
            return try await handler(PublicCall(request: incoming))
        case .organization(let handler):
            let principal = try await admission.authenticate(request.headers, origin, client)
            progress.principal = principal
            try admission.limit(
                endpoint,
                as: .actor(principal.actor),
                of: principal.organization,
                client,
                &progress.rate
            )
            if let permission = endpoint.permission, !principal.permissions.contains(permission) {
                throw Problem(.forbidden, "auth.forbidden", "This needs the permission \(permission).")
            }
            // Before the handler, because it may change something before it streams.
            if route.streams, request.headers.acceptEvents { progress.stream = try streams.open(for: principal) }
            let key = endpoint.isIdempotent ? request.headers[.idempotencyKey] : nil
            let incoming = try await read(
                request,
                route,
                values,
                target,
                origin,
                for: .organization(principal.organization),
                &progress
            )
            guard let key, let idempotency else {
                return try await handler(OrganizationCall(request: incoming, principal: principal))
            }
            return try await once(key, idempotency, incoming, principal, target, handler)
        }
    }

    // MARK: Steps

    private static let noRoute = Problem(.notFound, "route.not_found", "There is nothing at this path.")

    private func refuse(_ request: Request, allowing methods: [Endpoint.Method]) throws(Problem) -> Response {
        var names = methods.map(\.rawValue)
        if methods.contains(.get) { names.append("HEAD") }
        let allow = (names + ["OPTIONS"]).joined(separator: ", ")
        if request.method == .options {
            let isPreflight = headers.cors.isOn && request.headers.contains(.accessControlRequestMethod)
            return (isPreflight ? headers.cors.preflight(allowing: methods) : .noContent).with(.allow, allow)
        }
        throw Problem(
            .methodNotAllowed,
            "route.method_not_allowed",
            "This path allows \(allow).",
            headers: ["Allow": allow]
        )
    }

    private func read(
        _ request: Request,
        _ route: Route,
        _ values: [String],
        _ target: RequestTarget,
        _ origin: RequestOrigin,
        for caller: CallerKey,
        _ progress: inout RequestProgress
    ) async throws -> IncomingRequest {
        for (name, value) in zip(route.parameters, values) {
            guard let parameter = route.endpoint.pathParameters.first(where: { $0.name == name }) else { continue }
            guard parameter.schema.validate(text: value, at: name).value != nil else { throw Self.noRoute }
        }
        try checkHeaders(request.headers, for: route)
        let query =
            target.query.isEmpty && route.endpoint.query.isEmpty
            ? [:] : try readQuery(target.query, for: route.endpoint)
        var body = JSON.null
        var bytes = ByteBuffer()
        switch route.endpoint.payload {
        case .none: break
        case .json(let schema, _):
            bytes = try await readBody(of: request, route, for: caller, &progress)
            guard bytes.readableBytes > 0 else {
                throw Problem(.badRequest, "request.malformed", "The body must be a JSON object; there is none.")
            }
            try checkMediaType(request.headers, oneOf: ["application/json"])
            body = try await parse(bytes, as: schema)
        case .bytes(let mediaTypes):
            bytes = try await readBody(of: request, route, for: caller, &progress)
            try checkMediaType(request.headers, oneOf: mediaTypes)
        }
        return IncomingRequest(
            route: route,
            headers: request.headers,
            origin: origin,
            pathValues: values,
            query: query,
            body: body,
            bytes: bytes,
            baseLogger: logger
        )
    }

    private func readBody(
        of request: Request,
        _ route: Route,
        for caller: CallerKey,
        _ progress: inout RequestProgress
    ) async throws -> ByteBuffer {
        var share = BodyBudget.Share(of: caller)
        // What was taken before it broke off is held until the request ends, too.
        defer { progress.body = share }
        return try await Web.readBody(of: request, limit: route.bodyLimit, from: bodies, for: &share)
    }

    /// Runs the handler unless a request with the same key has been here.
    private func once(
        _ key: String,
        _ keys: IdempotencyKeys,
        _ request: IncomingRequest,
        _ principal: Principal,
        _ target: RequestTarget,
        _ handler: @Sendable (OrganizationCall) async throws -> Response
    ) async throws -> Response {
        let hash = await offEventLoop(if: request.bytes.isLong) {
            IdempotencyKeys.hash(
                method: request.route.endpoint.method.rawValue,
                target: "\(target.path)?\(target.query)",
                body: request.bytes
            )
        }
        switch try await keys.claim(key, of: principal, hash: hash, from: request.origin) {
        case .answered(let response): return response
        case .claimed(let claim):
            let call = OrganizationCall(request: request, principal: principal, claim: claim)
            let response: Response
            do {
                response = try await handler(call)
            } catch {
                response = self.response(to: error, request.origin, request.route)
            }
            do {
                try await keys.finish(
                    claim,
                    in: OrganizationCall(request: request, principal: principal).scope,
                    with: response
                )
            } catch {
                // What was done is durable; only a repeated request will not see this answer.
                call.logger.warning(
                    "answer not kept for its idempotency key",
                    metadata: ["error.type": "\(type(of: error))"]
                )
            }
            return response
        }
    }

    // MARK: Errors

    private func response(to error: any Error, _ origin: RequestOrigin, _ route: Route?) -> Response {
        let problem: Problem =
            switch error {
            case let error as any ProblemConvertible: error.problem
            case is CancellationError:
                Problem(.unavailable, "server.stopping", "The server is shutting down.", retryAfterSeconds: 2)
            default: Problem(.internalError, "internal", "Something went wrong on our side.")
            }
        if problem.status.rawValue >= 500 {
            let isDeliberate = problem.status == .unavailable && !(error is StorageError)
            logger.log(
                level: isDeliberate ? .debug : .error,
                isDeliberate ? "request refused" : "request failed",
                metadata: [
                    "request_id": .string(origin.requestID), "route": .string(route?.endpoint.path ?? "none"),
                    "code": .string(problem.code), "error.type": .string(Self.describe(error)),
                ]
            )
        }
        return Response(problem, requestID: origin.requestID)
    }

    /// The type of an error, and what is known to hold nothing that a tenant wrote.
    private static func describe(_ error: any Error) -> String {
        switch error {
        case StorageError.database(let code, _): "StorageError.database(\(code))"
        case StorageError.unstorable: "StorageError.unstorable"
        case let error as StorageError: "StorageError: \(error)"
        default: String(reflecting: type(of: error))
        }
    }

    // MARK: The answer

    private func write(
        _ response: Response,
        to request: Request,
        _ writer: consuming ResponseWriter,
        on channel: any Channel,
        _ origin: RequestOrigin,
        _ progress: RequestProgress
    ) async throws {
        let head = HTTPResponse(status: response.status, headerFields: response.headers)
        guard request.method != .head else { return try await writer.writeResponse(head) }
        switch response.content {
        case .none: try await writer.writeResponse(head)
        case .bytes(let buffer):
            try await writer.write(response: head, body: HummingbirdCore.ResponseBody(byteBuffer: buffer))
        case .events(let stream):
            let sink = EventSink(try await writer.writeHead(head))
            do {
                try await sink.run(stream, until: channel.closeFuture, watchedBy: watch(request, origin, progress))
            } catch {
                // The head has been sent, so all that can be done is to end the stream; the reader comes back.
                logger.warning(
                    "stream broke off",
                    metadata: [
                        "request_id": .string(origin.requestID),
                        "route": .string(progress.route?.endpoint.path ?? "none"),
                        "error.type": .string(Self.describe(error)),
                    ]
                )
            }
            try await sink.finish()
        }
    }

    /// For how long the caller may read a stream.
    private func watch(_ request: Request, _ origin: RequestOrigin, _ progress: RequestProgress) -> EventSink.Watch {
        var isAllowed: (@Sendable () async -> Bool)?
        if let principal = progress.principal, let bearer = request.headers[.authorization].flatMap(bearerToken) {
            let permission = progress.route?.endpoint.permission
            isAllowed = { await admission.mayStillRead(principal, with: bearer, permission, origin) }
        }
        return EventSink.Watch(
            lifetime: configuration.streamLifetime,
            interval: configuration.streamCheck,
            isAllowed: isAllowed
        )
    }

    // MARK: Telling about it

    private func measure(
        _ status: Int,
        _ start: ContinuousClock.Instant,
        _ origin: RequestOrigin,
        _ progress: RequestProgress
    ) {
        let time = start.duration(to: .now)
        (progress.route?.meters ?? unknownRoute).answered(status, after: time)
        let isSlow = time > configuration.slowRequest && progress.route?.endpoint.streams != true
        let level: Logger.Level = status >= 500 || isSlow ? .info : .debug
        guard level >= logger.logLevel else { return }
        var metadata: Logger.Metadata = [
            "request_id": .string(origin.requestID), "status": .stringConvertible(status),
            "method": .string(progress.route?.endpoint.method.rawValue ?? "none"),
            "route": .string(progress.route?.endpoint.path ?? "none"),
            "duration_ms": .stringConvertible((time.seconds * 1_000_000).rounded() / 1_000),
        ]
        if let principal = progress.principal {
            metadata["organization_id"] = .stringConvertible(principal.organization)
        }
        logger.log(level: level, isSlow ? "slow request" : "request", metadata: metadata)
    }
}
