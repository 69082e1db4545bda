import AsyncHTTPClient
import Kernel
package import Logging
import Metrics
import NIOCore
import NIOHTTP1

/// The one way to the outside world.
///
/// Every call has a deadline for all of it, a cap on the bytes it reads, a slot of its organization and a circuit
/// breaker for its destination; redirects are never followed and nothing is sent twice. Where a tenant supplied the
/// URL, the host is resolved here, all its addresses are checked, and the connection goes to a checked address with the
/// host's own name in `Host` and TLS.
///
/// Metrics: `kuvend_provider_requests_total{provider,outcome}`, `kuvend_provider_request_duration_seconds{provider}`.
/// The outcome is `ok`, a class of status (`http_429`, `http_4xx`, `http_5xx`, `http_3xx`), `consumer` when the reader
/// of a stream gave up, or that of an `OutboundError`.
package final class OutboundClient: Sendable {
    package struct Configuration: Sendable {
        package var connectTimeout: Duration
        package var slotsPerOrganization: Int
        package var platformSlots: Int
        package var breaker: CircuitBreaker.Configuration
        package var userAgent: String

        package init(
            connectTimeout: Duration = .seconds(5),
            slotsPerOrganization: Int = 16,
            platformSlots: Int = 64,
            breaker: CircuitBreaker.Configuration = .init(),
            userAgent: String = "Kuvend"
        ) {
            self.connectTimeout = connectTimeout
            self.slotsPerOrganization = slotsPerOrganization
            self.platformSlots = platformSlots
            self.breaker = breaker
            self.userAgent = userAgent
        }
    }

    /// At most this many addresses of a pinned host are tried.
    private static let mostAttempts = 3

    private let configuration: Configuration
    private let connections: OutboundConnections
    private let slots: OutboundSlots
    private let breakers: CircuitBreakers
    private let resolve: @Sendable (_ host: String, ID<OrganizationEntity>?) async throws -> [OutboundAddress]
    private let now: @Sendable () -> ContinuousClock.Instant
    private let logger: Logger

    /// - Parameters:
    ///   - resolve: The addresses of a host that a tenant named; nil asks the system.
    ///   - now: The clock of the circuit breakers; deadlines always follow the real one.
    package init(
        configuration: Configuration = Configuration(),
        logger: Logger,
        resolve: HostResolver? = nil,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        self.configuration = configuration
        self.logger = logger
        self.now = now
        connections = OutboundConnections(connectTimeout: configuration.connectTimeout)
        slots = OutboundSlots(
            limit: configuration.slotsPerOrganization,
            platformLimit: configuration.platformSlots
        )
        breakers = CircuitBreakers(configuration: configuration.breaker)
        if let resolve {
            self.resolve = { host, _ in try await resolve(host) }
        } else {
            let resolver = SystemHostResolver()
            self.resolve = { try await resolver.addresses(of: $0, for: $1) }
        }
    }

    /// Closes all connections.
    ///
    /// Calls that are under way fail, and so do all later ones.
    package func shutdown() async { await connections.shutdown() }

    // MARK: Calls

    /// Sends a request and reads the whole response, whatever its status.
    package func send(_ request: OutboundRequest) async throws(OutboundError) -> OutboundResponse {
        do {
            return try await stream(request) { stream in
                OutboundResponse(
                    status: stream.status,
                    headers: stream.headers,
                    body: try await stream.readAll()
                )
            }
        } catch let error as OutboundError {
            throw error
        } catch {
            throw .garbled
        }
    }

    /// Sends a request and hands over the response while it comes in.
    ///
    /// Bytes are fetched as `body` asks for them. When it returns before the end or throws, when the task is cancelled
    /// and when the deadline passes, the call is cancelled upstream.
    ///
    /// - Throws: `OutboundError`, or what `body` throws.
    package func stream<Value: Sendable>(
        _ request: OutboundRequest,
        _ body: @escaping @Sendable (OutboundStream) async throws -> Value
    ) async throws -> Value {
        let started = ContinuousClock.now
        let progress = ExchangeProgress(deadline: request.deadline)
        let result = await bounded(progress, request) {
            try await self.exchange(request, progress, body)
        }
        report(request, progress, result.map { _ in }, since: started)
        return try result.get()
    }

    /// Runs an operation beside a watch that cancels it when its time is over.
    private func bounded<Value: Sendable>(
        _ progress: ExchangeProgress,
        _ request: OutboundRequest,
        _ operation: @escaping @Sendable () async throws -> Value
    ) async -> Result<Value, any Error> {
        await withTaskGroup(of: Ending<Value>.self) { group in
            group.addTask {
                do { return .finished(.success(try await operation())) } catch { return .finished(.failure(error)) }
            }
            group.addTask {
                await progress.expiry(startTimeout: request.startTimeout, idleTimeout: request.idleTimeout)
                    .map(Ending<Value>.expired) ?? .watchCancelled
            }
            var expired: OutboundError.Wait?
            while let ending = await group.next() {
                group.cancelAll()
                switch ending {
                case .finished(.success(let value)):
                    return .success(value)
                case .finished(.failure(let error)):
                    if let expired { return .failure(OutboundError.timedOut(expired)) }
                    // Only the caller cancels while the watch is still running.
                    return .failure(Task.isCancelled ? OutboundError.cancelled : error)
                case .expired(let wait):
                    expired = wait
                case .watchCancelled:
                    continue
                }
            }
            return .failure(OutboundError.cancelled)
        }
    }

    private enum Ending<Value: Sendable>: Sendable {
        case finished(Result<Value, any Error>)
        case expired(OutboundError.Wait)
        case watchCancelled
    }

    private func exchange<Value: Sendable>(
        _ request: OutboundRequest,
        _ progress: ExchangeProgress,
        _ body: @Sendable (OutboundStream) async throws -> Value
    ) async throws -> Value {
        let lane = request.organization ?? .zero
        if case .tenant(let policy) = request.access, let refusal = policy.refusal(of: request.url) {
            throw OutboundError.refusedAddress(refusal)
        }
        try await slots.acquire(lane)
        defer { slots.release(lane) }
        progress.wait(for: .response)
        let pins = try await pins(for: request)
        try breakers.admit(request, progress, at: now())
        let clientRequest = clientRequest(request)
        for (attempt, pin) in pins.enumerated() {
            do {
                progress.send()
                return try await connections.withClient(pinnedTo: pin) { client in
                    let response = try await response(to: clientRequest, from: client, deadline: request.deadline)
                    let status = Int(response.status.code)
                    progress.received(
                        status: status,
                        retryAfter: RetryAfter.wait(in: OutboundHeaders(response.headers), at: .now())
                    )
                    if status < 500 { breakers.answered(request, progress) }
                    return try await body(OutboundStream(response, request, progress))
                }
            } catch OutboundError.connectFailed where attempt + 1 < pins.count {
                // Nothing was sent, so the next address of the same host may be tried.
                continue
            }
        }
        throw OutboundError.refusedAddress(.noAddress)
    }

    private func response(
        to request: HTTPClientRequest,
        from client: HTTPClient,
        deadline: ContinuousClock.Instant
    ) async throws -> HTTPClientResponse {
        let left = ContinuousClock.now.duration(to: deadline)
        guard left > .zero else { throw OutboundError.timedOut(.response) }
        do {
            // The watch is what ends the call; the client's own deadline only makes sure that nothing outlives it.
            let margin = TimeAmount.seconds(1)
            return try await client.execute(
                request,
                deadline: .now() + .milliseconds(min(left.wholeMilliseconds, 86_400_000)) + margin
            )
        } catch {
            throw OutboundError(mapping: error, whileConnecting: true)
        }
    }

    /// Where the connection goes: nil lets the system choose, otherwise each pin is a checked address.
    private func pins(for request: OutboundRequest) async throws -> [OutboundConnections.Pin?] {
        guard case .tenant(let policy) = request.access else { return [nil] }
        // A literal was checked with the URL and cannot resolve to anything else.
        if OutboundAddress(request.url.host) != nil { return [nil] }
        let addresses = try await resolve(request.url.host, request.organization)
        if let refusal = policy.refusal(of: addresses) { throw OutboundError.refusedAddress(refusal) }
        return addresses.prefix(Self.mostAttempts).map { .init(host: request.url.host, address: $0) }
    }

    private func clientRequest(_ request: OutboundRequest) -> HTTPClientRequest {
        var clientRequest = HTTPClientRequest(url: request.url.text)
        clientRequest.method = HTTPMethod(rawValue: request.method.rawValue)
        clientRequest.headers.add(name: "user-agent", value: configuration.userAgent)
        for (name, value) in request.headers.fields { clientRequest.headers.replaceOrAdd(name: name, value: value) }
        if !request.body.isEmpty { clientRequest.body = .bytes(ByteBuffer(bytes: request.body)) }
        return clientRequest
    }

    // MARK: What came of it

    private func report(
        _ request: OutboundRequest,
        _ progress: ExchangeProgress,
        _ result: Result<Void, any Error>,
        since start: ContinuousClock.Instant
    ) {
        let outcome: String
        switch result {
        case .success:
            outcome = Self.outcome(of: progress.status ?? 0)
        case .failure(let error as OutboundError):
            outcome = error.outcome
        case .failure:
            outcome = progress.status.map(Self.outcome).flatMap { $0 == "ok" ? nil : $0 } ?? "consumer"
        }
        Counter(
            label: "kuvend_provider_requests_total",
            dimensions: [("provider", request.provider), ("outcome", outcome)]
        ).increment()
        let nanoseconds = start.duration(to: .now) / .nanoseconds(1)
        Metrics.Timer(
            label: "kuvend_provider_request_duration_seconds",
            dimensions: [("provider", request.provider)]
        ).recordNanoseconds(Int64(min(max(nanoseconds, 0), 1e18)))
        if let pause = breakers.record(request, progress, result, at: now()) {
            logger.warning(
                "destination left alone after failures",
                metadata: [
                    "provider": "\(request.provider)", "destination": "\(request.url.origin)", "outcome": "\(outcome)",
                    "pause_ms": "\(pause.wholeMilliseconds)",
                ]
            )
        }
    }

    private static func outcome(of status: Int) -> String {
        switch status {
        case 200..<300: "ok"
        case 429: "http_429"
        case 300..<400: "http_3xx"
        case 400..<500: "http_4xx"
        case 500..<600: "http_5xx"
        default: "http_other"
        }
    }
}
