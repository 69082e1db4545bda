import HummingbirdCore
import Kernel
package import Logging
import Metrics
package import NIOCore
import NIOPosix
import ServiceLifecycle
import Storage

/// The HTTP server: all endpoints behind one socket, as a service that ends gracefully.
package struct WebServer: Service {
    private let responder: Responder
    private let configuration: WebConfiguration
    private let eventLoopGroup: any EventLoopGroup
    private let logger: Logger
    private let onRunning: @Sendable (_ port: Int) async -> Void
    /// The API description, as served.
    package let description: APIDescription

    /// - Parameters:
    ///   - endpoints: Those of all subsystems. Health, metrics, the API description and the reference are added.
    ///   - idempotency: Without it, keys are accepted and ignored.
    ///   - onRunning: Told the port once connections are accepted.
    package init(
        endpoints: [Endpoint],
        configuration: WebConfiguration,
        authenticator: Authenticator,
        idempotency: IdempotencyKeys?,
        readiness: [ReadinessCheck] = [],
        metrics: PrometheusRegistry,
        eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        logger: Logger,
        onRunning: @escaping @Sendable (_ port: Int) async -> Void = { _ in }
    ) throws {
        self.configuration = configuration
        self.eventLoopGroup = eventLoopGroup
        self.logger = logger
        self.onRunning = onRunning
        description = APIDescription(
            endpoints: endpoints,
            publicURL: configuration.publicURL,
            version: configuration.version
        )
        let all =
            endpoints + description.endpoints
            + Operations(
                readiness: Readiness(readiness, interval: configuration.readinessInterval),
                metrics: metrics,
                token: configuration.metricsToken
            ).endpoints
        let routes = all.map { endpoint in
            let meters = RouteMeters(method: endpoint.method.rawValue, route: endpoint.path, factory: metrics)
            return Route(endpoint, meters: meters, bodyLimit: configuration.bodyLimit)
        }
        metrics.describe("http_requests_total", "Answered requests by method, declared route and status.")
        metrics.describe("http_request_duration_seconds", "From the head of a request to the end of its answer.")
        metrics.describe("http_requests_in_flight", "Requests that are being answered.")
        responder = Responder(
            routes: try Routes(routes),
            unknownRoute: RouteMeters(method: "none", route: "none", factory: metrics),
            admission: Admission(configuration, authenticator: authenticator),
            idempotency: idempotency,
            configuration: configuration,
            headers: ResponseHeaders(configuration),
            bodies: BodyBudget(configuration.bodyBudget, largestBody: routes.map(\.bodyLimit).max() ?? 0),
            streams: OpenStreams(
                perActor: configuration.streamsPerActor,
                perOrganization: configuration.streamsPerOrganization
            ),
            inFlight: metrics.makeMeter(label: "http_requests_in_flight", dimensions: []),
            logger: logger
        )
    }

    /// Serves until a graceful shutdown; requests that are running then have `shutdownGrace` to finish.
    package func run() async throws {
        let times = ConnectionGuard.Times(
            body: TimeAmount(configuration.bodyDeadline),
            stall: TimeAmount(configuration.stallTimeout),
            heartbeat: TimeAmount(configuration.heartbeat)
        )
        let responder = responder
        let channel = OnEventLoop(
            base: HTTP1Channel(
                responder: { request, writer, channel in
                    try await responder.respond(to: request, writer, on: channel)
                },
                configuration: HTTP1Channel.Configuration(
                    additionalChannelHandlers: [ConnectionGuard(times)],
                    idleTimeout: TimeAmount(configuration.idleTimeout),
                    httpDecoderConfiguration: .init(
                        maxHeaderFieldSize: 16 * 1_024,
                        maxHeaderListSize: 64 * 1_024,
                        maxHeaderFieldCount: 100
                    )
                )
            )
        )
        let onRunning = onRunning
        let server = channel.server(
            configuration: ServerConfiguration(
                address: .hostname(configuration.host, port: configuration.port),
                backlog: 1_024,
                availableConnectionsDelegate: configuration.maximumConnections.map { MaximumAvailableConnections($0) }
            ),
            onServerRunning: { await onRunning($0.localAddress?.port ?? 0) },
            eventLoopGroup: eventLoopGroup,
            logger: logger
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run() }
            group.addTask {
                // Ends when it is cancelled, because the server has ended, or when the grace is over.
                try await gracefulShutdown()
                responder.headers.stopping.set()
                try await Task.sleep(for: configuration.shutdownGrace)
                logger.warning("requests were still running when the grace of the shutdown was over")
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }
}
