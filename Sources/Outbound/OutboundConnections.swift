import AsyncHTTPClient
import Dispatch
import Kernel
import NIOCore
import Synchronization

/// The pools of connections: one for trusted destinations, and one for each pinned pair of host and address.
///
/// AsyncHTTPClient pins a host to an address for a whole client, so a pinned pair has a client of its own. They all
/// share their event loops; the least recently used idle one goes when there are many.
final class OutboundConnections: Sendable {
    struct Pin: Sendable, Hashable {
        let host: String
        let address: OutboundAddress
    }

    private struct Entry {
        let client: HTTPClient
        var uses: Int
        var lastUse: UInt64
    }

    private struct State {
        var entries: [Pin: Entry] = [:]
        var uses: UInt64 = 0
        var isStopped = false
    }

    private let connectTimeout: Duration
    private let maximumPins: Int
    private let platform: HTTPClient
    private let state = Mutex(State())

    init(connectTimeout: Duration, maximumPins: Int = 128) {
        self.connectTimeout = connectTimeout
        self.maximumPins = maximumPins
        platform = Self.client(connectTimeout: connectTimeout, pin: nil)
    }

    deinit {
        // A client must be shut down before it goes; a second time is answered with an error that nobody needs.
        for client in [platform] + state.withLock({ $0.entries.values.map(\.client) }) {
            client.shutdown(queue: .global()) { _ in }
        }
    }

    /// Closes all connections; calls under way fail.
    func shutdown() async {
        let clients = state.withLock { state in
            state.isStopped = true
            defer { state.entries = [:] }
            return [platform] + state.entries.values.map(\.client)
        }
        for client in clients { await Self.shutDown(client) }
    }

    /// Runs `body` with a client that reaches the pinned address, or whatever the system resolves when there is no pin.
    func withClient<Result>(
        pinnedTo pin: Pin?,
        _ body: (HTTPClient) async throws -> Result
    ) async throws -> Result {
        guard let pin else { return try await body(platform) }
        let (client, evicted) = try lease(pin)
        // Nothing waits for the idle connections of a client that nobody uses.
        evicted?.shutdown(queue: .global()) { _ in }
        defer { state.withLock { $0.entries[pin]?.uses -= 1 } }
        return try await body(client)
    }

    private func lease(_ pin: Pin) throws -> (HTTPClient, evicted: HTTPClient?) {
        try state.withLock { state in
            if state.isStopped { throw OutboundError.stopped }
            state.uses &+= 1
            if var entry = state.entries[pin] {
                entry.uses += 1
                entry.lastUse = state.uses
                state.entries[pin] = entry
                return (entry.client, nil)
            }
            var evicted: HTTPClient?
            if state.entries.count >= maximumPins,
                let oldest = state.entries.filter({ $0.value.uses == 0 }).min(by: {
                    $0.value.lastUse < $1.value.lastUse
                })
            {
                evicted = state.entries.removeValue(forKey: oldest.key)?.client
            }
            let client = Self.client(connectTimeout: connectTimeout, pin: pin)
            state.entries[pin] = Entry(client: client, uses: 1, lastUse: state.uses)
            return (client, evicted)
        }
    }

    private static func client(connectTimeout: Duration, pin: Pin?) -> HTTPClient {
        var configuration = HTTPClient.Configuration(
            redirectConfiguration: .disallow,
            timeout: .init(connect: .milliseconds(max(connectTimeout.wholeMilliseconds, 1))),
            decompression: .disabled
        )
        // The slots bound the calls; the pool must not make them wait a second time.
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 1_024
        configuration.connectionPool.idleTimeout = .seconds(30)
        configuration.connectionPool.retryConnectionEstablishment = false
        if let pin { configuration.dnsOverride = [pin.host: pin.address.description] }
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    private static func shutDown(_ client: HTTPClient) async {
        await withCheckedContinuation { continuation in
            client.shutdown(queue: .global()) { _ in continuation.resume() }
        }
    }
}
