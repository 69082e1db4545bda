import Kernel

/// Why a call to the outside did not give a usable HTTP response.
///
/// Holds no URL, no header and no body.
package enum OutboundError: Error, Sendable, Hashable {
    package enum Wait: String, Sendable, Hashable {
        /// For one of the organization's slots.
        case slot
        /// For the destination: name, connection, TLS, headers.
        case response
        /// For the rest of a body.
        case body
    }

    /// The request could not be sent as it is: an invalid URL or header.
    case invalidRequest(String)
    case refusedAddress(AddressPolicy.Refusal)
    case resolveFailed
    case connectFailed
    case tlsFailed
    /// The connection ended in the middle.
    case connectionLost
    /// The deadline passed while waiting for this, or a body stood still for longer than it may.
    case timedOut(Wait)
    case tooLarge(limit: Int)
    /// What came back is no HTTP.
    case garbled
    /// The destination failed so often that it is left alone for this long.
    case circuitOpen(retryAfter: Duration)
    case cancelled
    /// The client has been shut down.
    case stopped

    /// Whether the same call may succeed later.
    package var isTransient: Bool {
        switch self {
        case .resolveFailed, .connectFailed, .tlsFailed, .connectionLost, .timedOut, .garbled, .circuitOpen, .cancelled,
            .stopped:
            true
        case .invalidRequest, .refusedAddress, .tooLarge: false
        }
    }

    package var retryAfter: Duration? {
        if case .circuitOpen(let retryAfter) = self { retryAfter } else { nil }
    }

    /// One word for metrics and for columns that keep outcomes.
    package var outcome: String {
        switch self {
        case .invalidRequest: "invalid_request"
        case .refusedAddress: "refused_address"
        case .resolveFailed: "resolve_failed"
        case .connectFailed: "connect_failed"
        case .tlsFailed: "tls_failed"
        case .connectionLost: "connection_lost"
        case .timedOut: "timed_out"
        case .tooLarge: "too_large"
        case .garbled: "garbled"
        case .circuitOpen: "circuit_open"
        case .cancelled: "cancelled"
        case .stopped: "stopped"
        }
    }
}

extension OutboundError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .invalidRequest(let what): "the request is invalid: \(what)"
        case .refusedAddress(let refusal): "the address is not allowed: \(refusal.rawValue)"
        case .resolveFailed: "the host name could not be resolved"
        case .connectFailed: "no connection could be opened"
        case .tlsFailed: "the TLS handshake failed"
        case .connectionLost: "the connection was lost"
        case .timedOut(let wait): "timed out waiting for the \(wait.rawValue)"
        case .tooLarge(let limit): "the response has more than \(limit) bytes"
        case .garbled: "the response is not valid HTTP"
        case .circuitOpen(let retryAfter): "left alone after failures for \(retryAfter.wholeMilliseconds) ms"
        case .cancelled: "cancelled"
        case .stopped: "the client has been shut down"
        }
    }
}
