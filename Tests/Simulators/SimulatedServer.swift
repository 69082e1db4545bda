import HTTPTypes
package import Hummingbird
package import Kernel
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// A request that a simulator has received.
package struct SimulatedRequest: Sendable {
    package let method: String
    package let path: String
    package let query: String?
    /// By lower-case name.
    package let headers: [String: String]
    package let body: [UInt8]

    package var json: JSON? { try? JSON(parsing: body, limits: JSONLimits(depth: 64, values: 10_000_000)) }
}

/// A local HTTP server that answers with a function, for simulators of providers and receivers.
///
/// `run()` serves until its task is cancelled; handlers that wait are cancelled with it.
package final class SimulatedServer: Sendable {
    package typealias Handler = @Sendable (SimulatedRequest) async throws -> Response

    private let host: String
    private let port: Int
    private let handler: Handler
    private let start = Watched<Result<Int, any Error>?>(nil)

    /// - Parameter port: 0 lets the system choose.
    package init(host: String = "127.0.0.1", port: Int = 0, handler: @escaping Handler) {
        self.host = host
        self.port = port
        self.handler = handler
    }

    package func run() async throws {
        var logger = Logger(label: "simulator")
        logger.logLevel = .critical
        let application = Application(
            responder: CallbackResponder { (request: Request, _: BasicRequestContext) in
                try await self.respond(to: request)
            },
            configuration: ApplicationConfiguration(address: .hostname(host, port: port)),
            onServerRunning: { channel in self.start.set(.success(channel.localAddress?.port ?? 0)) },
            // One loop takes connections in the order in which they come, which `settle(_:)` relies on.
            eventLoopGroupProvider: .shared(MultiThreadedEventLoopGroup.singleton.any()),
            logger: logger
        )
        do {
            try await application.run()
        } catch {
            start.change { $0 = $0 ?? .failure(error) }
            throw error
        }
    }

    /// The port, as soon as the server listens; throws when it cannot.
    package func listeningPort() async throws -> Int {
        try await start.value { $0 != nil }?.get() ?? 0
    }

    /// Serves while `body` runs.
    @discardableResult
    package func withPort<Value: Sendable>(_ body: (Int) async throws -> Value) async throws -> Value {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.run() }
            let port = try await listeningPort()
            let result: Result<Value, any Error>
            do { result = .success(try await body(port)) } catch { result = .failure(error) }
            await settle(port)
            group.cancelAll()
            // It was cancelled: how it ends says nothing.
            while let end = await group.nextResult() { _ = end }
            return try result.get()
        }
    }

    /// Waits until the server has taken up every connection that was opened before.
    ///
    /// A server that is cancelled between accepting a connection and serving it ends the process: NIO insists that the
    /// connection's writer is finished. So the last connection that it sees is this one, and it is served.
    private func settle(_ port: Int) async {
        do {
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: host, port: port).get()
            let timeout = channel.eventLoop.scheduleTask(in: .seconds(60)) { channel.close(promise: nil) }
            let request = "GET \(Self.lastPath) HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n\r\n"
            try await channel.writeAndFlush(ByteBuffer(string: request))
            try await channel.closeFuture.get()
            timeout.cancel()
        } catch {
            // It does not listen any more.
            return
        }
    }

    private static let lastPath = "/.simulator/last"

    private func respond(to request: Request) async throws -> Response {
        if request.uri.path == Self.lastPath { return .simulated(204) }
        let body = try await request.body.collect(upTo: 64 << 20)
        var headers = request.headers.map { ($0.name.canonicalName, $0.value) }
        if let authority = request.head.authority { headers.append(("host", authority)) }
        return try await handler(
            SimulatedRequest(
                method: request.method.rawValue,
                path: request.uri.path,
                query: request.uri.query,
                headers: Dictionary(headers) { first, _ in first },
                body: Array(body.readableBytesView)
            )
        )
    }
}

/// A value that tests can wait for instead of sleeping.
package final class Watched<Value: Sendable>: Sendable {
    private struct Waiter {
        let id: UInt64
        let condition: @Sendable (Value) -> Bool
        let continuation: CheckedContinuation<Value, any Error>
    }

    private struct State {
        var value: Value
        var waiters: [Waiter] = []
        var nextID: UInt64 = 0
    }

    private let state: Mutex<State>

    package init(_ value: Value) { state = Mutex(State(value: value)) }

    package var current: Value { state.withLock { $0.value } }

    package func set(_ value: Value) { change { $0 = value } }

    @discardableResult
    package func change<Result: Sendable>(_ body: @Sendable (inout Value) -> Result) -> Result {
        let (result, ready, value) = state.withLock { state in
            let result = body(&state.value)
            let value = state.value
            let ready = state.waiters.filter { $0.condition(value) }
            state.waiters.removeAll { $0.condition(value) }
            return (result, ready, value)
        }
        for waiter in ready { waiter.continuation.resume(returning: value) }
        return result
    }

    /// The value as soon as it fulfils a condition.
    ///
    /// - Parameter limit: For machines that hang; nothing is concluded from how long it takes.
    /// - Throws: ``NeverCame`` when it is over.
    @discardableResult
    package func value(
        within limit: Duration = .seconds(300),
        when condition: @escaping @Sendable (Value) -> Bool
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Value.self) { group in
            group.addTask { try await self.next(condition) }
            group.addTask {
                try await Task.sleep(for: limit)
                throw NeverCame()
            }
            defer { group.cancelAll() }
            guard let value = try await group.next() else { throw NeverCame() }
            return value
        }
    }

    private func next(_ condition: @escaping @Sendable (Value) -> Bool) async throws -> Value {
        let id = state.withLock { state in
            state.nextID &+= 1
            return state.nextID
        }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let result: Result<Value, any Error>? = state.withLock { state in
                    if Task.isCancelled { return .failure(CancellationError()) }
                    if condition(state.value) { return .success(state.value) }
                    state.waiters.append(Waiter(id: id, condition: condition, continuation: continuation))
                    return nil
                }
                if let result { continuation.resume(with: result) }
            }
        } onCancel: {
            let waiter = state.withLock { state -> Waiter? in
                guard let place = state.waiters.firstIndex(where: { $0.id == id }) else { return nil }
                return state.waiters.remove(at: place)
            }
            waiter?.continuation.resume(throwing: CancellationError())
        }
    }
}

/// What was waited for did not come, for minutes.
package struct NeverCame: Error {}

/// What a simulator throws into a response to break its connection.
struct Disconnect: Error {}

extension Response {
    /// A response with a body that is at hand.
    package static func simulated(
        _ status: Int,
        _ headers: [String: String] = [:],
        body: [UInt8] = []
    ) -> Response {
        var fields = HTTPFields()
        for (name, value) in headers {
            if let name = HTTPField.Name(name) { fields[name] = value }
        }
        return Response(
            status: HTTPResponse.Status(code: status),
            headers: fields,
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: body))
        )
    }

    package static func simulated(_ status: Int, _ headers: [String: String] = [:], json: JSON) -> Response {
        simulated(status, headers.merging(["content-type": "application/json"]) { own, _ in own }, body: json.bytes)
    }

    /// A response whose body is written piece by piece; when `write` throws, the connection breaks.
    package static func simulated(
        _ status: Int,
        _ headers: [String: String] = [:],
        writing write: @escaping @Sendable (_ piece: @escaping ([UInt8]) async throws -> Void) async throws -> Void
    ) -> Response {
        var response = simulated(status, headers)
        response.body = ResponseBody { writer in
            let box = WriterBox(writer)
            try await write { try await box.writer.write(ByteBuffer(bytes: $0)) }
            try await writer.finish(nil)
        }
        return response
    }
}

/// Lends the writer of a response to a closure that does not outlive it.
private final class WriterBox {
    var writer: any ResponseBodyWriter

    init(_ writer: any ResponseBodyWriter) { self.writer = writer }
}
