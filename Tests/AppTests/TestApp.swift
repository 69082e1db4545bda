import App
import AsyncHTTPClient
import Foundation
import Kernel
import Logging
import NIOCore
import NIOHTTP1
import Outbound
import Schema
import Storage
import Synchronization
import TestKit
import Web

/// A whole node on a fresh database, reached over a real socket.
struct TestApp: Sendable {
    let node: Node
    let port: Int
    let client: HTTPClient

    var baseURL: String { "http://127.0.0.1:\(port)" }

    /// Somebody without credentials.
    var stranger: TestClient { TestClient(app: self, token: nil, organization: "", user: "") }

    /// A new organization and its owner.
    func signUp(_ organization: String = "Ana Books") async throws -> TestClient {
        let email = "\(ID<Void>().description.prefix(13))-\(UInt32.random(in: 0...UInt32.max))@example.com"
        let reply = try await stranger.post(
            "/api/v1/auth/signup",
            [
                "email": .string(email), "password": "correct horse battery", "name": "Ana",
                "organization_name": .string(organization),
            ]
        )
        guard reply.status == 201, let token = reply.json["access_token"]?.string else {
            throw TestAppFailure("signup: \(reply.status) \(reply.text)")
        }
        return TestClient(
            app: self,
            token: token,
            organization: reply.json["organization"]?["id"]?.string ?? "",
            user: reply.json["user"]?["id"]?.string ?? ""
        )
    }
}

struct TestAppFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

struct TestReply: Sendable {
    let status: Int
    let headers: [String: String]
    let text: String

    var json: JSON { (try? JSON(parsing: text)) ?? .null }
    var code: String? { json["code"]?.string }
    var id: String { json["id"]?.string ?? "" }
}

/// One event of a stream, as a client reads it.
struct TestEvent: Sendable {
    /// As a client sends it back: `3f0c91ab-12`.
    let eventID: String
    let kind: String
    let data: JSON

    init(_ event: ServerSentEvent) {
        eventID = event.id ?? ""
        kind = event.name
        data = (try? JSON(parsing: event.data)) ?? .null
    }

    /// The place in the stream of its conversation; -1 when there is none.
    var id: Int64 { eventID.split(separator: "-").last.flatMap { Int64($0) } ?? -1 }
}

/// A caller with a token.
struct TestClient: Sendable {
    let app: TestApp
    let token: String?
    let organization: String
    let user: String

    func send(
        _ method: String,
        _ path: String,
        body: [UInt8]? = nil,
        headers: [String: String] = [:]
    ) async throws -> TestReply {
        let response = try await app.client.execute(
            try request(method, path, body: body, headers: headers),
            timeout: .seconds(60)
        )
        let buffer = try await response.body.collect(upTo: 64 << 20)
        return TestReply(
            status: Int(response.status.code),
            headers: Dictionary(response.headers.map { ($0.name.lowercased(), $0.value) }) { first, _ in first },
            text: String(buffer: buffer)
        )
    }

    func get(_ path: String, headers: [String: String] = [:]) async throws -> TestReply {
        try await send("GET", path, headers: headers)
    }

    func post(_ path: String, _ body: JSON? = nil, headers: [String: String] = [:]) async throws -> TestReply {
        try await send("POST", path, body: body?.bytes, headers: headers)
    }

    func patch(_ path: String, _ body: JSON, headers: [String: String] = [:]) async throws -> TestReply {
        try await send("PATCH", path, body: body.bytes, headers: headers)
    }

    func delete(_ path: String) async throws -> TestReply { try await send("DELETE", path) }

    /// Creates something and gives its id; anything but 201 is an error.
    func create(_ path: String, _ body: JSON) async throws -> String {
        let reply = try await post(path, body)
        guard reply.status == 201 else { throw TestAppFailure("POST \(path): \(reply.status) \(reply.text)") }
        return reply.id
    }

    /// Follows a stream until `isEnough` says so, or the server ends it.
    func events(
        _ method: String = "GET",
        _ path: String,
        body: JSON? = nil,
        headers: [String: String] = [:],
        until isEnough: @escaping @Sendable (TestEvent) -> Bool
    ) async throws -> [TestEvent] {
        let response = try await app.client.execute(
            try request(
                method,
                path,
                body: body?.bytes,
                headers: headers.merging(["accept": "text/event-stream"]) { first, _ in first }
            ),
            timeout: .seconds(60)
        )
        guard (200..<300).contains(response.status.code) else {
            throw TestAppFailure("\(method) \(path): \(response.status.code)")
        }
        var parser = ServerSentEventParser()
        var events: [TestEvent] = []
        for try await chunk in response.body {
            for event in try parser.read(chunk.readableBytesView) {
                let event = TestEvent(event)
                events.append(event)
                if isEnough(event) { return events }
            }
        }
        return events
    }

    /// Posts a contact's message and follows its answer to the end.
    func ask(_ question: String, in conversation: String) async throws -> [TestEvent] {
        try await events(
            "POST",
            "/api/v1/conversations/\(conversation)/messages",
            body: ["content": .string(question)]
        ) { ["reply.completed", "reply.failed", "reply.cancelled"].contains($0.kind) }
    }

    /// A channel, a contact and a conversation between them.
    func startConversation(channel: JSON = ["name": "Website", "type": "api"]) async throws -> String {
        let channel = try await create("/api/v1/channels", channel)
        let contact = try await create("/api/v1/contacts", ["name": "Besa"])
        return try await create(
            "/api/v1/conversations",
            ["channel_id": .string(channel), "contact_id": .string(contact)]
        )
    }

    private func request(
        _ method: String,
        _ path: String,
        body: [UInt8]?,
        headers: [String: String]
    ) throws -> HTTPClientRequest {
        var request = HTTPClientRequest(url: app.baseURL + path)
        request.method = .init(rawValue: method)
        if let token { request.headers.replaceOrAdd(name: "authorization", value: "Bearer \(token)") }
        if let body {
            request.headers.replaceOrAdd(name: "content-type", value: "application/json")
            request.body = .bytes(body)
        }
        for (name, value) in headers { request.headers.replaceOrAdd(name: name, value: value) }
        return request
    }
}

/// Runs `body` with a node of its own.
///
/// - Parameters:
///   - environment: Settings, as `KUVEND_*`.
///   - roles: With `http` alone nothing runs in the background: tests call `node.runner.runOnce(…)`.
func withApp<Value: Sendable>(
    on kind: TestDatabase.Kind,
    environment: [String: String] = [:],
    roles: String = "http,worker,scheduler",
    secretKey: String = String(repeating: "k", count: 64),
    now: @escaping @Sendable () -> Timestamp = { .now() },
    _ body: @escaping @Sendable (TestApp) async throws -> Value
) async throws -> Value {
    try await withDatabase(on: kind, migrations: ProductSchema.migrations) { database in
        try await withApp(over: database, environment: environment, roles: roles, secretKey: secretKey, now: now, body)
    }
}

/// Runs `body` with one more node on a database that is there already.
func withApp<Value: Sendable>(
    over database: any Database,
    environment: [String: String] = [:],
    roles: String = "http,worker,scheduler",
    secretKey: String = String(repeating: "k", count: 64),
    now: @escaping @Sendable () -> Timestamp = { .now() },
    _ body: @escaping @Sendable (TestApp) async throws -> Value
) async throws -> Value {
    var settings = ["KUVEND_PORT": "0", "KUVEND_ROLES": roles, "KUVEND_RATE_LIMITS": "off"]
    settings.merge(environment) { $1 }
    var loaded = try await Settings.load(environment: settings)
    loaded.web.verifiesResponses = true
    var logger = Logger(label: "test")
    logger.logLevel = .error
    let (ports, continuation) = AsyncStream.makeStream(of: Int.self)
    let node = try await Node(
        settings: loaded,
        database: database,
        secretKey: Secret(secretKey),
        metrics: PrometheusRegistry(),
        logger: logger,
        now: now,
        jitter: { 0 },
        onRunning: { port in continuation.yield(port) }
    )
    let client = HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup)
    let result: Result<Value, any Error> = await withTaskGroup(of: Void.self) { group in
        group.addTask {
            try? await node.run()
            continuation.finish()
        }
        let result: Result<Value, any Error>
        if let port = await ports.first(where: { _ in true }) {
            do {
                result = .success(try await body(TestApp(node: node, port: port, client: client)))
            } catch {
                result = .failure(error)
            }
        } else {
            result = .failure(TestAppFailure("the node ended before it listened"))
        }
        group.cancelAll()
        return result
    }
    try await client.shutdown()
    return try result.get()
}
