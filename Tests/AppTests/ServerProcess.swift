import AsyncHTTPClient
import Foundation
import Kernel
import Logging
import NIOCore
import NIOHTTP1
import Outbound
import Simulators
import TestKit
import Web

/// A directory for the servers of one test: data, port files, logs.
///
/// Removed with what is in it.
struct ServerDirectory: Sendable {
    let path: String

    /// What all servers of a test are given, so that they accept each other's tokens.
    let secretKey = String(repeating: "k", count: 64)

    fileprivate init() throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("kuvend-server-\(ID<Void>())").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    fileprivate func remove() { try? FileManager.default.removeItem(atPath: path) }
}

/// `kuvend serve` as a process of its own, which can be killed.
final class ServerProcess: Sendable {
    let port: Int
    let pid: Int32
    private let process: Process
    private let logFile: String
    /// 0 to 255 after an exit, negative after a signal; nil while it runs.
    private let ending: Watched<Int32?>

    /// Starts a server and waits until it is ready; one without the role `http` is not waited for.
    ///
    /// - Parameter environment: Settings, as `KUVEND_*`. Nothing of this process's own settings is handed on.
    static func start(
        database: String,
        in directory: ServerDirectory,
        environment: [String: String] = [:]
    ) async throws -> ServerProcess {
        let name = ID<Void>().description
        let portFile = "\(directory.path)/\(name).port"
        let logFile = "\(directory.path)/\(name).log"
        var variables = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("KUVEND_") }
        variables.merge([
            "KUVEND_DATABASE_URL": database, "KUVEND_DATA_DIR": directory.path, "KUVEND_PORT": "0",
            "KUVEND_PORT_FILE": portFile, "KUVEND_SECRET_KEY": directory.secretKey, "KUVEND_RATE_LIMITS": "off",
            "KUVEND_LOG_LEVEL": "notice",
        ]) { $1 }
        variables.merge(environment) { $1 }

        _ = FileManager.default.createFile(atPath: logFile, contents: nil)
        guard let log = FileHandle(forWritingAtPath: logFile) else { throw TestAppFailure("no log file") }
        defer { try? log.close() }
        let process = Process()
        process.executableURL = try binary()
        process.arguments = ["serve"]
        process.environment = variables
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = log
        process.standardError = log
        let ending = Watched<Int32?>(nil)
        process.terminationHandler = { process in
            let status = process.terminationStatus
            ending.set(process.terminationReason == .uncaughtSignal ? -status : status)
        }
        try process.run()
        func failure(_ what: String) -> TestAppFailure {
            TestAppFailure("\(what):\n\((try? String(contentsOfFile: logFile, encoding: .utf8)) ?? "")")
        }

        guard variables["KUVEND_ROLES"]?.contains("http") ?? true else {
            return ServerProcess(0, process, logFile, ending)
        }
        // The file appears, whole, when the server listens.
        let clock = ContinuousClock()
        let limit = clock.now + .seconds(60)
        while clock.now < limit {
            if let code = ending.current { throw failure("the server ended with \(code) before it listened") }
            if let text = try? String(contentsOfFile: portFile, encoding: .utf8),
                let port = Int(text.filter { !$0.isWhitespace })
            {
                let server = ServerProcess(port, process, logFile, ending)
                do {
                    // A look at the database that is held up for two seconds says no, for the time being.
                    try await eventually("the server is ready") {
                        try await server.stranger.get("/readyz").status == 200 ? () : nil
                    }
                } catch {
                    server.kill()
                    throw error
                }
                return server
            }
            try await Task.sleep(for: .milliseconds(5))
        }
        Glibc.kill(process.processIdentifier, SIGKILL)
        throw failure("the server does not listen")
    }

    private init(_ port: Int, _ process: Process, _ logFile: String, _ ending: Watched<Int32?>) {
        self.port = port
        pid = process.processIdentifier
        self.process = process
        self.logFile = logFile
        self.ending = ending
    }

    /// Beside the bundle of the tests.
    ///
    /// `swift build --build-tests` builds it; where it is missing, tests fail.
    private static func binary() throws -> URL {
        let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        var directory = URL(fileURLWithPath: own).deletingLastPathComponent()
        // The executable of a bundle lies in it.
        while directory.path.contains(".xctest") { directory = directory.deletingLastPathComponent() }
        let binary = directory.appendingPathComponent("kuvend")
        guard FileManager.default.isExecutableFile(atPath: binary.path) else {
            throw TestAppFailure("\(binary.path) is missing; build it with `swift build --build-tests`")
        }
        return binary
    }

    /// Everything that it has written.
    var log: String { (try? String(contentsOfFile: logFile, encoding: .utf8)) ?? "" }

    /// A caller without credentials.
    var stranger: ServerClient { ServerClient(port: port, token: nil) }

    func client(_ token: String) -> ServerClient { ServerClient(port: port, token: token) }

    /// `kill -9`.
    func kill() { signal(SIGKILL) }

    /// What an administrator's system sends to stop it.
    func terminate() { signal(SIGTERM) }

    private func signal(_ number: Int32) {
        // Never a stranger who got the number after it.
        if ending.current == nil { Glibc.kill(pid, number) }
    }

    /// How it ended: its exit code, or minus the signal.
    @discardableResult
    func waitForEnd() async throws -> Int32 { try await ending.value { $0 != nil } ?? 0 }
}

/// Runs `body` with a fresh database and a directory; ends the servers that `body` leaves, and removes everything.
func withServers<Value>(
    isolation: isolated (any _Concurrency.Actor)? = #isolation,
    _ body: (ServerFleet) async throws -> Value
) async throws -> Value {
    let fleet = try ServerFleet(directory: ServerDirectory())
    let result: Result<Value, any Error>
    do { result = .success(try await body(fleet)) } catch { result = .failure(error) }
    for server in fleet.servers.current {
        server.kill()
        // Also when the test was cancelled: its files are removed next.
        await Task { _ = try? await server.waitForEnd() }.value
    }
    fleet.directory.remove()
    return try result.get()
}

/// The servers of one test.
struct ServerFleet: Sendable {
    /// For what tests open themselves beside the servers.
    static let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    let directory: ServerDirectory
    fileprivate let servers = Watched<[ServerProcess]>([])

    func start(database: String, environment: [String: String] = [:]) async throws -> ServerProcess {
        let server = try await ServerProcess.start(database: database, in: directory, environment: environment)
        servers.change { $0.append(server) }
        return server
    }
}

/// A caller of a server in another process.
struct ServerClient: Sendable {
    let port: Int
    let token: String?

    /// Never shut down: it lives as long as the tests.
    private static let http: HTTPClient = {
        var configuration = HTTPClient.Configuration.singletonConfiguration
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 64
        // A server that is gone is gone at once.
        configuration.connectionPool.retryConnectionEstablishment = false
        return HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: configuration)
    }()

    func send(_ method: String, _ path: String, _ body: JSON? = nil) async throws -> TestReply {
        let response = try await Self.http.execute(request(method, path, body), timeout: .seconds(120))
        let buffer = try await response.body.collect(upTo: 64 << 20)
        return TestReply(
            status: Int(response.status.code),
            headers: Dictionary(response.headers.map { ($0.name.lowercased(), $0.value) }) { first, _ in first },
            text: String(buffer: buffer)
        )
    }

    func get(_ path: String) async throws -> TestReply { try await send("GET", path) }

    func post(_ path: String, _ body: JSON? = nil) async throws -> TestReply { try await send("POST", path, body) }

    /// Creates something and gives its id; anything but 201 is an error.
    func create(_ path: String, _ body: JSON) async throws -> String {
        let reply = try await post(path, body)
        guard reply.status == 201 else { throw TestAppFailure("POST \(path): \(reply.status) \(reply.text)") }
        return reply.id
    }

    /// A new organization's owner: a token that all servers on the database accept.
    func signUp() async throws -> String {
        let reply = try await post(
            "/api/v1/auth/signup",
            [
                "email": .string("\(ID<Void>())@example.com"), "password": "correct horse battery", "name": "Ana",
                "organization_name": "Ana Books",
            ]
        )
        guard reply.status == 201, let token = reply.json["access_token"]?.string else {
            throw TestAppFailure("signup: \(reply.status) \(reply.text)")
        }
        return token
    }

    /// All messages of a conversation, oldest first, page by page.
    func messages(of conversation: String) async throws -> [JSON] {
        var messages: [JSON] = []
        var cursor: String?
        repeat {
            let place = cursor.map { "&cursor=\($0)" } ?? ""
            let reply = try await get(
                "/api/v1/conversations/\(conversation)/messages?order=oldest_first&limit=100\(place)"
            )
            guard reply.status == 200, let page = reply.json["data"]?.array else {
                throw TestAppFailure("messages: \(reply.status) \(reply.text)")
            }
            messages += page
            cursor = reply.json["next_cursor"]?.string
        } while cursor != nil
        return messages
    }

    /// Follows a conversation from the event after `sequence` until `isEnough` says so.
    func events(
        of conversation: String,
        after sequence: Int64 = 0,
        until isEnough: @Sendable (TestEvent) -> Bool
    ) async throws -> [TestEvent] {
        let response = try await Self.http.execute(
            request("GET", "/api/v1/conversations/\(conversation)/events?after=\(sequence)", nil),
            timeout: .seconds(90)
        )
        guard response.status == .ok else { throw TestAppFailure("events: \(response.status.code)") }
        var parser = ServerSentEventParser()
        var events: [TestEvent] = []
        for try await chunk in response.body {
            for event in try parser.read(chunk.readableBytesView) {
                let event = TestEvent(event)
                events.append(event)
                if isEnough(event) { return events }
            }
        }
        throw TestAppFailure("the stream of \(conversation) ended after \(events.map(\.kind))")
    }

    /// The sum of the samples of a metric whose labels hold all of `labels`.
    func metric(_ name: String, _ labels: [String] = []) async throws -> Int {
        var sum = 0
        for line in try await get("/metrics").text.split(separator: "\n") {
            guard line.hasPrefix(name + "{") || line.hasPrefix(name + " "), labels.allSatisfy({ line.contains($0) }),
                let value = line.split(separator: " ").last.flatMap({ Double($0) })
            else { continue }
            sum += Int(value)
        }
        return sum
    }

    private func request(_ method: String, _ path: String, _ body: JSON?) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)\(path)")
        request.method = HTTPMethod(rawValue: method)
        if let token { request.headers.replaceOrAdd(name: "authorization", value: "Bearer \(token)") }
        if let body {
            request.headers.replaceOrAdd(name: "content-type", value: "application/json")
            request.body = .bytes(body.bytes)
        }
        return request
    }
}
