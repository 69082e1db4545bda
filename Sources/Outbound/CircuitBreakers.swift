import Kernel
import Synchronization

/// The circuit breakers of all destinations that have failed lately.
final class CircuitBreakers: Sendable {
    /// What fails together: a destination, for one organization or for all.
    private struct Key: Hashable {
        let origin: String
        /// nil for what all share.
        let organization: ID<OrganizationEntity>?

        /// A tenant's URL is its own affair, so that nobody can close the way for another.
        ///
        /// What the administrator configured is shared, and each organization has a breaker of its own beside it: its failures
        /// alone close the way for it, and say nothing about the destination to the others.
        static func all(of request: OutboundRequest) -> [Key] {
            let origin = request.url.origin
            guard let organization = request.organization else { return [Key(origin: origin, organization: nil)] }
            let own = Key(origin: origin, organization: organization)
            if case .tenant = request.access { return [own] }
            return [own, Key(origin: origin, organization: nil)]
        }
    }

    private static let most = 10_000

    private let configuration: CircuitBreaker.Configuration
    private let breakers = Mutex<[Key: CircuitBreaker]>([:])

    init(configuration: CircuitBreaker.Configuration) { self.configuration = configuration }

    func admit(_ request: OutboundRequest, _ progress: ExchangeProgress, at now: ContinuousClock.Instant) throws {
        var permits: [CircuitBreaker.Permit] = []
        for key in Key.all(of: request) {
            switch change(key, { $0.admit(at: now, of: request.organization ?? .zero) }) {
            case .allowed(let permit): permits.append(permit)
            case .refused(let wait):
                for (key, permit) in zip(Key.all(of: request), permits) {
                    change(key) { $0.abandoned(permit, at: now) }
                }
                throw OutboundError.circuitOpen(retryAfter: wait)
            }
        }
        progress.admitted(permits)
    }

    func answered(_ request: OutboundRequest, _ progress: ExchangeProgress) {
        for (key, permit) in zip(Key.all(of: request), progress.permits) { change(key) { $0.answered(permit) } }
    }

    /// - Returns: For how long a circuit has just been opened.
    func record(
        _ request: OutboundRequest,
        _ progress: ExchangeProgress,
        _ result: Result<Void, any Error>,
        at now: ContinuousClock.Instant
    ) -> Duration? {
        var pauses: [Duration] = []
        for (key, permit) in zip(Key.all(of: request), progress.permits) {
            change(key) { breaker in
                switch Self.verdict(progress, result) {
                case true?: breaker.succeeded(permit)
                case false?:
                    breaker.failed(permit, at: now, retryAfter: progress.retryAfter)
                    if case .open(let until) = breaker.state { pauses.append(now.duration(to: until)) }
                case nil: breaker.abandoned(permit, at: now)
                }
            }
        }
        return pauses.max()
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

    /// What all share is closed by the failures of two organizations or more.
    private func configuration(of key: Key) -> CircuitBreaker.Configuration {
        var configuration = configuration
        if key.organization == nil { configuration.callers = 2 }
        return configuration
    }

    @discardableResult
    private func change<Value>(_ key: Key, _ body: (inout CircuitBreaker) -> Value) -> Value {
        breakers.withLock { breakers in
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
