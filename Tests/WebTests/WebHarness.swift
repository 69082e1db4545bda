import AsyncHTTPClient
import Foundation
import Kernel
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle
import Synchronization
import Testing
import Web

/// A running server and a client for it.
struct TestServer: Sendable {
    let port: Int
    let metrics: PrometheusRegistry
    let logs: LogStore
    let stop: @Sendable () async -> Void

    struct TestResponse: Sendable {
        let status: Int
        let headers: HTTPHeaders
        let bytes: [UInt8]

        var text: String { String(decoding: bytes, as: UTF8.self) }

        var json: JSON {
            get throws { try bytes.withUnsafeBufferPointer { try JSON(parsing: $0) } }
        }

        /// The code of the problem that this is.
        var code: String? {
            guard headers.first(name: "Content-Type") == "application/problem+json" else { return nil }
            return try? json["code"]?.string
        }

        func header(_ name: String) -> String? { headers.first(name: name) }

        /// The refused fields: pointer and code.
        var errors: [String] {
            let errors = (try? json["errors"]?.array) ?? []
            return errors.map { "\($0["pointer"]?.string ?? "") \($0["code"]?.string ?? "")" }
        }
    }

    /// One that leaves answers compressed.
    ///
    /// It lives as long as the process.
    private static let client = HTTPClient(eventLoopGroup: MultiThreadedEventLoopGroup.singleton)

    func send(
        _ method: String,
        _ path: String,
        _ body: String? = nil,
        token: String? = "good",
        headers: [(String, String)] = []
    ) async throws -> TestResponse {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)\(path)")
        request.method = HTTPMethod(rawValue: method)
        if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
        if let body {
            request.body = .bytes(Array(body.utf8))
            if !headers.contains(where: { $0.0 == "Content-Type" }) {
                request.headers.add(name: "Content-Type", value: "application/json")
            }
        }
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        let response = try await Self.client.execute(request, timeout: .seconds(120))
        let bytes = try await response.body.collect(upTo: 16 << 20)
        return TestResponse(
            status: Int(response.status.code),
            headers: response.headers,
            bytes: Array(bytes.readableBytesView)
        )
    }

    func get(_ path: String, token: String? = "good", headers: [(String, String)] = []) async throws -> TestResponse {
        try await send("GET", path, token: token, headers: headers)
    }

    func post(_ path: String, _ body: String, key: String? = nil, token: String? = "good") async throws -> TestResponse
    {
        try await send("POST", path, body, token: token, headers: key.map { [("Idempotency-Key", $0)] } ?? [])
    }

    /// Sends bytes as they are and returns everything up to the end of the connection, or nil if it did not end in time.
    func raw(_ text: String, then more: String? = nil, patience: Duration = .seconds(60)) async throws -> String? {
        try await raw([ByteBuffer(string: text)] + (more.map { [ByteBuffer(string: $0)] } ?? []), patience: patience)
    }

    /// - Parameter words: Leaves as soon as they have arrived.
    func raw(
        _ parts: [ByteBuffer],
        until words: String? = nil,
        patience: Duration = .seconds(60)
    ) async throws -> String? {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await withThrowingTaskGroup(of: String?.self) { group in
            group.addTask {
                try await channel.executeThenClose { inbound, outbound in
                    for part in parts { try await outbound.write(part) }
                    var received = ByteBuffer()
                    do {
                        for try await part in inbound {
                            received.writeImmutableBuffer(part)
                            if let words, String(buffer: received).contains(words) { break }
                        }
                    } catch is IOError {
                        // A reset also is an end.
                    }
                    return String(buffer: received)
                }
            }
            group.addTask {
                try await Task.sleep(for: patience)
                return nil
            }
            let result = try await group.next() ?? nil
            group.cancelAll()
            return result
        }
    }
}

/// What the server logged.
final class LogStore: Sendable {
    private let lines = Mutex<[String]>([])

    func append(_ line: String) { lines.withLock { $0.append(line) } }
    var text: String { lines.withLock { $0.joined(separator: "\n") } }

    struct Handler: LogHandler {
        let store: LogStore
        var logLevel = Logger.Level.debug
        var metadata = Logger.Metadata()
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let all = metadata.merging(event.metadata ?? [:]) { $1 }
            let words = all.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
            store.append("\(event.level) \(event.message) \(words)")
        }
    }

    var logger: Logger { Logger(label: "test") { _ in Handler(store: self) } }
}

extension Permission {
    static let channelsRead = Permission("channels", "read")
    static let channelsWrite = Permission("channels", "write")
    static let auditRead = Permission("audit", "read")
}

/// The organization and the user of the token `good`; `reader` may only read, `other` belongs to another organization.
enum TestCaller {
    static let permissions: Set<Permission> = [.channelsRead, .channelsWrite, .auditRead]
    static let organization = ID<OrganizationEntity>(high: 0x0191_0000_0000_7000, low: 0x8000_0000_0000_0001)
    static let otherOrganization = ID<OrganizationEntity>(high: 0x0191_0000_0000_7000, low: 0x8000_0000_0000_0002)

    static func principal(of token: String) throws -> Principal {
        let user = Actor(ActorKind("user", isUser: true), id: "01910000-0000-7000-8000-000000000009")
        switch token {
        case "good": return Principal(actor: user, organization: organization, permissions: TestCaller.permissions)
        case "reader": return Principal(actor: user, organization: organization, permissions: [.channelsRead])
        case "other":
            return Principal(actor: user, organization: otherOrganization, permissions: TestCaller.permissions)
        default: throw Problem(.unauthorized, "auth.invalid_token", "The token is not good.")
        }
    }
}

/// Starts a server with these endpoints, and stops it when `body` has ended.
func withServer(
    _ endpoints: [Endpoint],
    idempotency: IdempotencyKeys? = nil,
    readiness: [ReadinessCheck] = [],
    eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
    authenticator: Authenticator = Authenticator { bearer, _ in try TestCaller.principal(of: bearer.exposed) },
    configure: (inout WebConfiguration) -> Void = { _ in },
    _ body: (TestServer) async throws -> Void
) async throws {
    var configuration = WebConfiguration()
    configuration.port = 0
    configuration.verifiesResponses = true
    configuration.shutdownGrace = .seconds(30)
    configure(&configuration)
    let (ports, port) = AsyncStream.makeStream(of: Int.self)
    let metrics = PrometheusRegistry()
    let logs = LogStore()
    let server = try WebServer(
        endpoints: endpoints,
        configuration: configuration,
        authenticator: authenticator,
        idempotency: idempotency,
        readiness: readiness,
        metrics: metrics,
        eventLoopGroup: eventLoopGroup,
        logger: logs.logger,
        onRunning: { port.yield($0) }
    )
    var quiet = Logger(label: "services")
    quiet.logLevel = .critical
    let services = ServiceGroup(configuration: .init(services: [server], logger: quiet))
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
            defer { port.finish() }
            try await services.run()
        }
        let number = try #require(await ports.first { _ in true }, "the server did not start")
        let running = TestServer(
            port: number,
            metrics: metrics,
            logs: logs,
            stop: { await services.triggerGracefulShutdown() }
        )
        do {
            try await body(running)
            await services.triggerGracefulShutdown()
            try await group.waitForAll()
        } catch {
            await services.triggerGracefulShutdown()
            throw error
        }
    }
}

// MARK: - A little resource

/// What the tests call: things that live in memory.
struct ThingBody: ResponseBody {
    static let schema = Schema.named(
        "Thing",
        .object([
            .required("id", .uuid, "The id."), .required("name", .string(1...20), "What it is called."),
            .required("updated_at", .dateTime, "When it changed last."),
        ])
    )

    let id: ID<ThingBody>
    let name: String
    let updatedAt: Timestamp

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.value(id.description)
        json.key("name")
        json.value(name)
        json.key("updated_at")
        json.value(updatedAt.description)
        json.endObject()
    }

    static let sample = ThingBody(
        id: ID(high: 0x0191_2d68_783e_7a03, low: 0x8467_5661_c124_3ad4),
        name: "first",
        updatedAt: Timestamp(milliseconds: 1_700_000_000_000)
    )
}

struct Things: Sendable {
    static let newThing = Schema.object([
        .required("name", .string(1...20, [.singleLine, .notBlank]), "What it is called."),
        .optional("size", .integer(1...9), "How large it is.", default: 1),
    ])

    let body: @Sendable (OrganizationCall) async throws -> Response

    init(create: @escaping @Sendable (OrganizationCall) async throws -> Response = { _ in .noContent }) {
        body = create
    }

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/things",
            tag: "Things",
            [
                Endpoint.organization(
                    .get,
                    "",
                    "List things",
                    permission: .channelsRead,
                    query: .page + [.optional("kind", .choice("big", "small"), "Only these.")],
                    responses: [.ok(.page(of: ThingBody.schema))]
                ) { call in
                    #expect(call.page.limit <= 100)
                    return .page(
                        Page(items: Array(repeating: ThingBody.sample, count: call.page.limit), next: call.page.after)
                    )
                },
                Endpoint.organization(
                    .post,
                    "",
                    "Create a thing",
                    permission: .channelsWrite,
                    body: Self.newThing,
                    responses: [.created(ThingBody.schema), .noContent],
                    problems: [.notFound("parent")],
                    use: body
                ),
                Endpoint.organization(
                    .get,
                    "/{id}",
                    "Read a thing",
                    permission: .channelsRead,
                    responses: [.ok(ThingBody.schema)],
                    problems: [.notFound("thing")]
                ) { call in
                    let id: ID<ThingBody> = try call.pathID("id", or: .notFound("thing"))
                    guard id == ThingBody.sample.id else { throw Problem.notFound("thing") }
                    return .ok(ThingBody.sample, tag: EntityTag(ThingBody.sample.updatedAt))
                },
                Endpoint.organization(
                    .patch,
                    "/{id}",
                    "Change a thing",
                    permission: .channelsWrite,
                    body: .object([.optional("name", .string(1...20))]),
                    edits: true,
                    responses: [.ok(ThingBody.schema)],
                    problems: [.notFound("thing")]
                ) { call in
                    try call.ifMatch.check(EntityTag(ThingBody.sample.updatedAt))
                    return .ok(ThingBody.sample, tag: EntityTag(ThingBody.sample.updatedAt))
                },
                Endpoint.organization(
                    .delete,
                    "/{id}",
                    "Delete a thing",
                    permission: .channelsWrite,
                    responses: [.noContent]
                ) { _ in .noContent },
                Endpoint.organization(
                    .get,
                    "/special",
                    "Read the special thing",
                    permission: nil,
                    responses: [.ok(ThingBody.schema)]
                ) { _ in .ok(ThingBody.sample) },
                Endpoint.organization(
                    .post,
                    "/{id}/parts/{part}",
                    "Part of a thing",
                    permission: nil,
                    parameters: [.required("part", .string(1...40), "Which part.")],
                    responses: [.ok(.array(of: .string()))]
                ) { call in
                    .json { json in
                        json.beginArray()
                        json.value(call.path("id"))
                        json.value(call.path("part"))
                        json.endArray()
                    }
                },
            ]
        )
    }
}
