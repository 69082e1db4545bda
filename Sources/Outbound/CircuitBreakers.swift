import Kernel
import Synchronization

/// The circuit breakers of all destinations that have failed lately.
final class CircuitBreakers: Sendable {
    /// What fails together: a destination, and for URLs of tenants the tenant too, so that nobody can close the way for
    /// another.
    private struct Key: Hashable {
        let origin: String
        let organization: ID<OrganizationEntity>?

        init(_ request: OutboundRequest) {
            origin = request.url.origin
            if case .tenant = request.access { organization = request.organization } else { organization = nil }
        }
    }

    private static let most = 10_000

    private let configuration: CircuitBreaker.Configuration
    private let breakers = Mutex<[Key: CircuitBreaker]>([:])

    init(configuration: CircuitBreaker.Configuration) { self.configuration = configuration }

    func admit(_ request: OutboundRequest, _ progress: ExchangeProgress, at now: ContinuousClock.Instant) throws {
        let admission = change(request) { $0.admit(at: now) }
        switch admission {
        case .allowed(let permit): progress.admitted(permit)
        case .refused(let wait): throw OutboundError.circuitOpen(retryAfter: wait)
        }
    }

    func answered(_ request: OutboundRequest, _ progress: ExchangeProgress) {
        guard let permit = progress.permit else { return }
        change(request) { $0.answered(permit) }
    }

    /// - Returns: For how long the circuit has just been opened.
    func record(
        _ request: OutboundRequest,
        _ progress: ExchangeProgress,
        _ result: Result<Void, any Error>,
        at now: ContinuousClock.Instant
    ) -> Duration? {
        guard let permit = progress.permit else { return nil }
        return change(request) { breaker in
            switch Self.verdict(progress, result) {
            case true?: breaker.succeeded(permit)
            case false?:
                breaker.failed(
                    permit,
                    of: request.organization ?? .zero,
                    at: now,
                    retryAfter: progress.retryAfter
                )
                if case .open(let until) = breaker.state { return now.duration(to: until) }
            case nil: breaker.abandoned(permit, at: now)
            }
            return nil
        }
    }

    /// Whether the destination did its part; nil when the call says nothing about it.
    private static func verdict(_ progress: ExchangeProgress, _ result: Result<Void, any Error>) -> Bool? {
        let isAlive = progress.status.map { $0 < 500 }
        switch result {
        case .success: return isAlive
        case .failure(let error as OutboundError):
            switch error {
            case .connectFailed, .tlsFailed, .connectionLost, .garbled: return false
            case .timedOut: return progress.isReading ? false : isAlive
            case .tooLarge: return isAlive
            case .cancelled, .stopped, .invalidRequest, .refusedAddress, .resolveFailed, .circuitOpen: return nil
            }
        case .failure: return progress.failure == nil ? isAlive : false
        }
    }

    /// What the administrator configured is shared: one organization's failures say nothing about it to the others.
    private func configuration(of key: Key) -> CircuitBreaker.Configuration {
        var configuration = configuration
        if key.organization == nil { configuration.callers = 2 }
        return configuration
    }

    @discardableResult
    private func change<Value>(_ request: OutboundRequest, _ body: (inout CircuitBreaker) -> Value) -> Value {
        let key = Key(request)
        return breakers.withLock { breakers in
            var breaker = breakers[key] ?? CircuitBreaker(configuration: configuration(of: key))
            defer {
                if breaker.isPristine {
                    breakers[key] = nil
                } else {
                    if breakers.count >= Self.most, breakers[key] == nil { breakers.removeAll() }
                    breakers[key] = breaker
                }
            }
            return body(&breaker)
        }
    }
}
