import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import NIOPosix

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension OutboundHeaders {
    init(_ headers: HTTPHeaders) { self.init(headers.map { ($0.name, $0.value) }) }
}

extension OutboundError {
    init(mapping error: any Error, whileConnecting isConnecting: Bool) {
        switch error {
        case let error as OutboundError: self = error
        case is CancellationError: self = .cancelled
        case let error as HTTPClientError: self.init(error)
        case is NIOConnectionError: self = .connectFailed
        case HTTPParserError.invalidEOFState: self = .connectionLost
        case is HTTPParserError: self = .garbled
        case let error where String(reflecting: type(of: error)).hasPrefix("NIOSSL."):
            self = isConnecting ? .tlsFailed : .connectionLost
        case let error as IOError where isConnecting && Self.isRefusal(error.errnoCode): self = .connectFailed
        default: self = .connectionLost
        }
    }

    /// Whether the system says that no connection came about.
    private static func isRefusal(_ code: CInt) -> Bool {
        [ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENETDOWN, EADDRNOTAVAIL].contains(code)
    }

    private init(_ error: HTTPClientError) {
        switch error {
        case .connectTimeout: self = .connectFailed
        case .tlsHandshakeTimeout: self = .tlsFailed
        case .cancelled, .requestStreamCancelled: self = .cancelled
        case .alreadyShutdown: self = .stopped
        case .remoteConnectionClosed, .uncleanShutdown: self = .connectionLost
        case .deadlineExceeded, .getConnectionFromPoolTimeout, .readTimeout, .writeTimeout:
            self = .timedOut(.response)
        case .invalidURL, .emptyHost, .emptyScheme: self = .invalidRequest("the URL")
        default:
            let summary = error.shortDescription
            self = summary.hasPrefix("Invalid header") ? .invalidRequest("a header field") : .connectionLost
        }
    }
}
