import Kernel
import NIOPosix
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Finds all addresses of a host name, in the order in which they should be tried.
package typealias HostResolver = @Sendable (_ host: String) async throws -> [OutboundAddress]

/// The system's resolver on threads of its own, because `getaddrinfo` blocks for as long as it likes.
///
/// A lookup that is cancelled is not waited for; its thread is free again when the system gives up. An organization has
/// few threads at a time, counted until they are free, so that names which nobody answers for mostly hold up itself; and a
/// name that was not found is not asked for again for some seconds.
final class SystemHostResolver: Sendable {
    typealias Search = @Sendable (_ host: String) -> Result<[OutboundAddress], OutboundError>

    /// For how long a name that was not found stays so.
    private static let memory = Duration.seconds(5)
    private static let mostFailures = 1_000

    private let threads: NIOThreadPool
    private let slots: OutboundSlots
    private let search: Search
    private let now: @Sendable () -> ContinuousClock.Instant
    /// Until when each of the names counts as not to be found.
    private let failures = Mutex<[String: ContinuousClock.Instant]>([:])

    /// - Parameters:
    ///   - perOrganization: How many of the threads an organization may use at once.
    ///   - search: Blocks until the system has an answer.
    init(
        threads count: Int = 32,
        perOrganization: Int = 2,
        search: @escaping Search = SystemHostResolver.resolve,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        self.search = search
        self.now = now
        slots = OutboundSlots(limit: perOrganization, platformLimit: count)
        threads = NIOThreadPool(numberOfThreads: count)
        threads.start()
    }

    deinit { threads.shutdownGracefully { _ in } }

    /// - Parameter organization: Whose threads are counted; nil for the platform, which may use all.
    func addresses(
        of host: String,
        for organization: ID<OrganizationEntity>? = nil
    ) async throws -> [OutboundAddress] {
        guard !hasFailed(host) else { throw OutboundError.resolveFailed }
        let lane = organization ?? .zero
        try await slots.acquire(lane)
        let lookup = Lookup()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                lookup.start(continuation)
                threads.submit { state in
                    // Only here is the thread free, whoever still waits for it.
                    defer { self.slots.release(lane) }
                    guard case .active = state, !lookup.isOver else { return lookup.finish(.failure(.resolveFailed)) }
                    // Another lookup may have found out meanwhile.
                    guard !self.hasFailed(host) else { return lookup.finish(.failure(.resolveFailed)) }
                    let result = self.search(host)
                    if case .failure(.resolveFailed) = result { self.remember(host) }
                    lookup.finish(result)
                }
            }
        } onCancel: {
            lookup.finish(.failure(.cancelled))
        }
    }

    /// How many lookups of an organization wait for a thread; for tests.
    func waiting(_ organization: ID<OrganizationEntity>) -> Int { slots.waiting(organization) }

    private func hasFailed(_ host: String) -> Bool {
        let now = now()
        return failures.withLock { failures in
            guard let end = failures[host] else { return false }
            if end <= now { failures[host] = nil }
            return end > now
        }
    }

    private func remember(_ host: String) {
        let end = now() + Self.memory
        failures.withLock { failures in
            if failures.count >= Self.mostFailures { failures.removeAll() }
            failures[host] = end
        }
    }

    static func resolve(_ host: String) -> Result<[OutboundAddress], OutboundError> {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        #if canImport(Glibc)
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        #else
        hints.ai_socktype = SOCK_STREAM
        #endif
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, &hints, &list) == 0 else { return .failure(.resolveFailed) }
        defer { if let list { freeaddrinfo(list) } }
        var addresses: [OutboundAddress] = []
        var entry = list
        while let info = entry?.pointee {
            if let address = address(info), !addresses.contains(address) { addresses.append(address) }
            entry = info.ai_next
        }
        return .success(addresses)
    }

    private static func address(_ info: addrinfo) -> OutboundAddress? {
        guard let socketAddress = info.ai_addr else { return nil }
        switch info.ai_family {
        case AF_INET:
            return socketAddress.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                .v4(UInt32(bigEndian: $0.pointee.sin_addr.s_addr))
            }
        case AF_INET6:
            let bytes = socketAddress.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { address in
                withUnsafeBytes(of: address.pointee.sin6_addr) { Array($0) }
            }
            func word(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
            return .v6(word(bytes[..<8]), word(bytes[8...]))
        default:
            return nil
        }
    }
}

/// Resumes its continuation once, with whichever comes first: the addresses or the cancellation.
private final class Lookup: Sendable {
    private enum State {
        case waiting(CheckedContinuation<[OutboundAddress], any Error>?)
        case over(OutboundError?)
    }

    private let state = Mutex(State.waiting(nil))

    var isOver: Bool { state.withLock { if case .over = $0 { true } else { false } } }

    func start(_ continuation: CheckedContinuation<[OutboundAddress], any Error>) {
        let early: OutboundError? = state.withLock { state in
            if case .over(let error) = state { return error ?? .cancelled }
            state = .waiting(continuation)
            return nil
        }
        if let early { continuation.resume(throwing: early) }
    }

    func finish(_ result: Result<[OutboundAddress], OutboundError>) {
        let continuation = state.withLock { state -> CheckedContinuation<[OutboundAddress], any Error>? in
            guard case .waiting(let continuation) = state else { return nil }
            if case .failure(let error) = result { state = .over(error) } else { state = .over(nil) }
            return continuation
        }
        continuation?.resume(with: result.mapError { $0 })
    }
}
