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
/// A lookup that is cancelled is not waited for; its thread is free again when the system gives up.
final class SystemHostResolver: Sendable {
    private let threads: NIOThreadPool

    init(threads count: Int = 8) {
        threads = NIOThreadPool(numberOfThreads: count)
        threads.start()
    }

    deinit { threads.shutdownGracefully { _ in } }

    func addresses(of host: String) async throws -> [OutboundAddress] {
        let lookup = Lookup()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                lookup.start(continuation)
                threads.submit { state in
                    guard case .active = state, !lookup.isOver else { return lookup.finish(.failure(.resolveFailed)) }
                    lookup.finish(Self.resolve(host))
                }
            }
        } onCancel: {
            lookup.finish(.failure(.cancelled))
        }
    }

    private static func resolve(_ host: String) -> Result<[OutboundAddress], OutboundError> {
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
