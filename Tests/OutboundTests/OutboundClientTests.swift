import Hummingbird
import Kernel
import Logging
import NIOCore
import NIOPosix
import Simulators
import Synchronization
import Testing

@testable import Outbound

@Suite("Outbound client", .timeLimit(.minutes(5)))
struct OutboundClientTests {
    static let loopback = AddressPolicy(
        schemes: [.http],
        ports: .any,
        exceptions: ["127.0.0.1/32"].compactMap { OutboundNetwork($0) }
    )

    @discardableResult
    private func withClient<Value>(
        _ configuration: OutboundClient.Configuration = .init(),
        resolve: HostResolver? = nil,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now },
        _ body: (OutboundClient) async throws -> Value
    ) async throws -> Value {
        let client = OutboundClient(
            configuration: configuration,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            resolve: resolve,
            now: now
        )
        do {
            let value = try await body(client)
            await client.shutdown()
            return value
        } catch {
            await client.shutdown()
            throw error
        }
    }

    private func request(
        _ port: Int,
        _ path: String = "/",
        host: String = "127.0.0.1",
        access: OutboundAccess = .trusted,
        organization: ID<OrganizationEntity>? = nil,
        within time: Duration = .seconds(120),
        start: Duration? = nil,
        idle: Duration? = nil,
        limit: Int = 1 << 20
    ) throws -> OutboundRequest {
        OutboundRequest(
            provider: "test",
            method: .post,
            url: try OutboundURL("http://\(host):\(port)\(path)"),
            headers: ["x-test": "yes"],
            body: Array("hello".utf8),
            access: access,
            organization: organization,
            deadline: .now.advanced(by: time),
            startTimeout: start,
            idleTimeout: idle,
            maximumResponseBytes: limit
        )
    }

    private func expect(
        _ status: Int,
        from client: OutboundClient,
        _ request: OutboundRequest,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let response = try await client.send(request)
        #expect(response.status == status, sourceLocation: sourceLocation)
    }

    @Test("sends a request and reads the response")
    func roundTrip() async throws {
        let server = SimulatedServer { request in
            .simulated(
                201,
                ["x-host": request.headers["host"] ?? "", "x-sent": request.headers["x-test"] ?? ""],
                body: Array(request.method.utf8) + request.body
            )
        }
        try await server.withPort { port in
            try await withClient { client in
                let response = try await client.send(request(port, "/a?b=c"))
                #expect(response.status == 201)
                #expect(response.headers["X-Host"] == "127.0.0.1:\(port)")
                #expect(response.headers["x-sent"] == "yes")
                #expect(String(decoding: response.body, as: UTF8.self) == "POSThello")
            }
        }
    }

    @Test("does not follow a redirect")
    func redirect() async throws {
        let seen = Watched(0)
        let server = SimulatedServer { _ in
            seen.change { $0 += 1 }
            return .simulated(302, ["location": "/elsewhere"])
        }
        try await server.withPort { port in
            try await withClient { client in
                try await expect(302, from: client, request(port))
                #expect(seen.current == 1)
            }
        }
    }

    @Test("stops reading at the byte cap")
    func tooLarge() async throws {
        let isBroken = Watched(false)
        let server = SimulatedServer { _ in
            .simulated(200) { write in
                do {
                    while true { try await write([UInt8](repeating: 7, count: 16_384)) }
                } catch {
                    isBroken.set(true)
                    throw error
                }
            }
        }
        try await server.withPort { port in
            try await withClient { client in
                await #expect(throws: OutboundError.tooLarge(limit: 100_000)) {
                    try await client.send(request(port, limit: 100_000))
                }
                try await isBroken.value { $0 }
            }
        }
    }

    @Test("gives up at the deadline, before the headers and in the middle of the body")
    func deadlines() async throws {
        let server = SimulatedServer { request in
            if request.path == "/headers" { try await Task.sleep(for: .seconds(600)) }
            return .simulated(200) { write in
                try await write([1])
                try await Task.sleep(for: .seconds(600))
            }
        }
        try await server.withPort { port in
            try await withClient { client in
                await #expect(throws: OutboundError.timedOut(.response)) {
                    try await client.send(self.request(port, "/headers", within: .seconds(2)))
                }
                await #expect(throws: OutboundError.timedOut(.response)) {
                    try await client.send(self.request(port, "/headers", within: .seconds(3_600), start: .seconds(2)))
                }
                let request = try request(port, "/body", within: .seconds(2))
                let error = await #expect(throws: OutboundError.self) { try await client.send(request) }
                #expect(error?.outcome == "timed_out")
                await #expect(throws: OutboundError.timedOut(.body)) {
                    try await client.send(self.request(port, "/body", within: .seconds(3_600), idle: .seconds(2)))
                }
            }
        }
    }

    @Test("a slow reader is not an idle server")
    func slowReader() async throws {
        let server = SimulatedServer { _ in
            .simulated(200) { write in
                for byte in 0..<3 as Range<UInt8> { try await write([byte]) }
            }
        }
        try await server.withPort { port in
            try await withClient { client in
                let count = try await client.stream(request(port, idle: .seconds(2))) { stream in
                    var count = 0
                    for try await chunk in stream.chunks {
                        if count == 0 { try await Task.sleep(for: .milliseconds(2_500)) }
                        count += chunk.count
                    }
                    return count
                }
                #expect(count == 3)
            }
        }
    }

    @Test("a reader that stops cancels the call upstream, and so does a cancelled task")
    func cancelledUpstream() async throws {
        let broken = Watched(0)
        let started = Watched(0)
        let server = SimulatedServer { _ in
            .simulated(200) { write in
                do {
                    started.change { $0 += 1 }
                    while true {
                        try await write([1])
                        try await Task.sleep(for: .milliseconds(5))
                    }
                } catch {
                    broken.change { $0 += 1 }
                    throw error
                }
            }
        }
        try await server.withPort { port in
            try await withClient { client in
                let first = try await client.stream(request(port)) { stream in
                    for try await chunk in stream.chunks { return chunk.first }
                    return nil
                }
                #expect(first == 1)
                try await broken.value { $0 == 1 }

                let request = try request(port)
                let task = Task { try await client.send(request) }
                try await started.value { $0 == 2 }
                task.cancel()
                await #expect(throws: OutboundError.cancelled) { try await task.value }
                try await broken.value { $0 == 2 }
            }
        }
    }

    @Test("what a reader throws comes out as it is")
    func readerThrows() async throws {
        struct Enough: Error {}
        let server = SimulatedServer { _ in .simulated(200, body: [1]) }
        try await server.withPort { port in
            try await withClient { client in
                await #expect(throws: Enough.self) {
                    try await client.stream(request(port)) { _ in throw Enough() }
                }
            }
        }
    }

    @Test("an organization waits for its own slots in order, and nobody else does")
    func slots() async throws {
        let gate = Watched(false)
        let running = Watched(0)
        let order = Watched([String]())
        let server = SimulatedServer { request in
            order.change { $0.append(request.path) }
            running.change { $0 += 1 }
            if request.path != "/free" { try await gate.value { $0 } }
            return .simulated(200)
        }
        let busy = ID<OrganizationEntity>()
        try await server.withPort { port in
            try await withClient(.init(slotsPerOrganization: 1)) { client in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    let first = try request(port, "/1", organization: busy)
                    group.addTask { _ = try await client.send(first) }
                    try await running.value { $0 == 1 }
                    let second = try request(port, "/2", organization: busy)
                    group.addTask { _ = try await client.send(second) }
                    await #expect(throws: OutboundError.timedOut(.slot)) {
                        try await client.send(request(port, "/late", organization: busy, within: .milliseconds(200)))
                    }
                    _ = try await client.send(request(port, "/free", organization: ID()))
                    gate.set(true)
                    try await group.waitForAll()
                }
                #expect(order.current == ["/1", "/free", "/2"])
            }
        }
    }

    @Test("leaves a failing destination alone, probes it, and comes back")
    func breaker() async throws {
        let status = Watched(503)
        let calls = Watched(0)
        let server = SimulatedServer { _ in
            calls.change { $0 += 1 }
            return .simulated(status.current)
        }
        let now = Watched(ContinuousClock.now)
        let breaker = CircuitBreaker.Configuration(threshold: 2, firstPause: .seconds(60))
        try await server.withPort { port in
            try await withClient(.init(breaker: breaker), now: { now.current }) { client in
                for _ in 0..<2 { try await expect(503, from: client, request(port)) }
                await #expect(throws: OutboundError.circuitOpen(retryAfter: .seconds(60))) {
                    try await client.send(request(port))
                }
                #expect(calls.current == 2)
                now.change { $0 = $0.advanced(by: .seconds(60)) }
                status.set(200)
                for _ in 0..<3 { try await expect(200, from: client, request(port)) }
            }
        }
    }

    @Test("one organization's failures close the administrator's destination for itself only; those of two, for all")
    func sharedBreaker() async throws {
        let organizations = (0..<3).map { _ in ID<OrganizationEntity>() }
        let server = SimulatedServer { request in .simulated(request.path == "/fails" ? 500 : 200) }
        try await server.withPort { port in
            try await withClient(.init(breaker: .init(threshold: 2, firstPause: .seconds(60)))) { client in
                func expectRefusal(of organization: ID<OrganizationEntity>) async throws {
                    let refused = try request(port, organization: organization)
                    let error = await #expect(throws: OutboundError.self) { try await client.send(refused) }
                    #expect(error?.outcome == "circuit_open")
                }
                for _ in 0..<2 {
                    try await expect(500, from: client, request(port, "/fails", organization: organizations[0]))
                }
                try await expectRefusal(of: organizations[0])
                try await expect(200, from: client, request(port, organization: organizations[1]))
                for organization in organizations[1...] {
                    try await expect(500, from: client, request(port, "/fails", organization: organization))
                }
                for organization in organizations { try await expectRefusal(of: organization) }
            }
        }
    }

    @Test("client errors and rate limits do not open the circuit")
    func clientErrors() async throws {
        let server = SimulatedServer { request in .simulated(request.path == "/429" ? 429 : 404) }
        try await server.withPort { port in
            try await withClient(.init(breaker: .init(threshold: 1))) { client in
                for path in ["/429", "/404", "/429"] { _ = try await client.send(request(port, path)) }
            }
        }
    }

    @Test("a refused connection fails at once and is transient")
    func refused() async throws {
        let port = try ReservedPort()
        try await withClient { client in
            await #expect(throws: OutboundError.connectFailed) { try await client.send(request(port.number)) }
            #expect(OutboundError.connectFailed.isTransient)
        }
    }

    @Test("a broken connection in the middle of the body is no whole response")
    func dropped() async throws {
        struct Break: Error {}
        let server = SimulatedServer { _ in
            .simulated(200) { write in
                try await write([1])
                throw Break()
            }
        }
        try await server.withPort { port in
            try await withClient { client in
                await #expect(throws: OutboundError.connectionLost) { try await client.send(request(port)) }
            }
        }
    }

    @Test("headers that would smuggle lines are refused without being shown")
    func headerInjection() async throws {
        let server = SimulatedServer { _ in .simulated(200) }
        try await server.withPort { port in
            try await withClient { client in
                var bad = try request(port)
                bad.headers["x-bad"] = "geheim\r\nx-more: y"
                let request = bad
                await #expect(throws: OutboundError.invalidRequest("a header field")) {
                    try await client.send(request)
                }
            }
        }
    }

    @Test("calls after the end fail")
    func stopped() async throws {
        let client = OutboundClient(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        await client.shutdown()
        await #expect(throws: OutboundError.stopped) { try await client.send(request(9)) }
    }

    // MARK: Tenants

    @Test("the connection goes to the address that was checked, with the host's own name")
    func pinned() async throws {
        let server = SimulatedServer { .simulated(200, body: Array(($0.headers["host"] ?? "").utf8)) }
        let lookups = Watched(0)
        try await server.withPort { port in
            try await withClient(resolve: { host in
                #expect(host == "hooks.invalid")
                lookups.change { $0 += 1 }
                return [.v4(0x7F00_0001)]
            }) { client in
                for _ in 0..<2 {
                    let response = try await client.send(
                        request(port, host: "Hooks.Invalid", access: .tenant(Self.loopback), organization: ID())
                    )
                    #expect(String(decoding: response.body, as: UTF8.self) == "hooks.invalid:\(port)")
                }
                #expect(lookups.current == 2)
            }
        }
    }

    @Test("TLS asks the pinned address for the certificate of the host")
    func pinnedTLS() async throws {
        let received = Watched([UInt8]())
        let listener = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(FirstBytes(received: received))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(listener.localAddress?.port)
        let policy = AddressPolicy(ports: .any, exceptions: ["127.0.0.1"].compactMap { OutboundNetwork($0) })
        try await withClient(resolve: { _ in [.v4(0x7F00_0001)] }) { client in
            var request = try request(port, access: .tenant(policy))
            request.url = try OutboundURL("https://hooks.invalid:\(port)/")
            let sent = request
            let error = await #expect(throws: OutboundError.self) { try await client.send(sent) }
            #expect(error?.isTransient == true)
        }
        #expect(received.current.first == 0x16)
        #expect(String(decoding: received.current, as: UTF8.self).contains("hooks.invalid"))
        try await listener.close()
    }

    @Test("a name that changes its mind is checked at every call")
    func rebinding() async throws {
        let server = SimulatedServer { _ in .simulated(200) }
        let addresses = Watched([OutboundAddress.v4(0x7F00_0001)])
        try await server.withPort { port in
            try await withClient(resolve: { _ in addresses.current }) { client in
                let access = OutboundAccess.tenant(Self.loopback)
                try await expect(200, from: client, request(port, host: "a.invalid", access: access))
                addresses.set([.v4(0x7F00_0001), .v4(0x0A00_0001)])
                await #expect(throws: OutboundError.refusedAddress(.privateNetwork)) {
                    try await client.send(request(port, host: "a.invalid", access: access))
                }
                addresses.set([])
                await #expect(throws: OutboundError.refusedAddress(.noAddress)) {
                    try await client.send(request(port, host: "a.invalid", access: access))
                }
            }
        }
    }

    @Test("the next address is tried when nobody listens at the first")
    func nextAddress() async throws {
        let policy = AddressPolicy(
            schemes: [.http],
            ports: .any,
            exceptions: ["127.0.0.0/8"].compactMap { OutboundNetwork($0) }
        )
        let server = SimulatedServer { _ in .simulated(200) }
        try await server.withPort { port in
            try await withClient(resolve: { _ in [.v4(0x7F00_0002), .v4(0x7F00_0001)] }) { client in
                try await expect(200, from: client, request(port, host: "a.invalid", access: .tenant(policy)))
            }
        }
    }

    @Test(
        "spellings of the loopback address are refused by the system's resolver",
        arguments: [
            "localhost", "127.1", "2130706433", "0x7f000001", "017700000001", "127.0.0.1",
        ]
    )
    func spellings(_ host: String) async throws {
        let calls = Watched(0)
        let server = SimulatedServer { _ in
            calls.change { $0 += 1 }
            return .simulated(200)
        }
        try await server.withPort { port in
            try await withClient { client in
                let policy = AddressPolicy(schemes: [.http], ports: .any)
                await #expect(throws: OutboundError.refusedAddress(.loopback)) {
                    try await client.send(request(port, host: host, access: .tenant(policy)))
                }
                #expect(calls.current == 0)
            }
        }
    }

    @Test("a slow lookup does not outlive the deadline")
    func slowLookup() async throws {
        try await withClient(resolve: { _ in
            try await Task.sleep(for: .seconds(600))
            return []
        }) { client in
            await #expect(throws: OutboundError.timedOut(.response)) {
                try await client.send(
                    request(9, host: "a.invalid", access: .tenant(Self.loopback), within: .seconds(2))
                )
            }
        }
    }

    @Test("a name that does not exist cannot be resolved")
    func unknownName() async throws {
        try await withClient { client in
            await #expect(throws: OutboundError.resolveFailed) {
                try await client.send(request(9, host: "does-not-exist.invalid", access: .tenant(Self.loopback)))
            }
        }
    }
}

/// Keeps what a client says first, and hangs up.
private final class FirstBytes: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let received: Watched<[UInt8]>

    init(received: Watched<[UInt8]>) { self.received = received }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        received.set(Array(unwrapInboundIn(data).readableBytesView))
        context.close(promise: nil)
    }
}
