import Synchronization

/// What is known about one exchange while it is under way, shared by the call and its watch.
final class ExchangeProgress: Sendable {
    private struct State {
        var waiting = OutboundError.Wait.slot
        /// nil before the request went out.
        var sentAt: ContinuousClock.Instant?
        var hasBody = false
        var readingSince: ContinuousClock.Instant?
        var status: Int?
        var failure: OutboundError?
        var permits: [CircuitBreaker.Permit] = []
        var retryAfter: Duration?
    }

    private let deadline: ContinuousClock.Instant
    private let state = Mutex(State())

    init(deadline: ContinuousClock.Instant) { self.deadline = deadline }

    var status: Int? { state.withLock { $0.status } }
    /// One of each breaker that admitted the call.
    var permits: [CircuitBreaker.Permit] { state.withLock { $0.permits } }
    var retryAfter: Duration? { state.withLock { $0.retryAfter } }
    var failure: OutboundError? { state.withLock { $0.failure } }
    /// Whether the destination is the one that others wait for.
    var isReading: Bool { state.withLock { $0.waiting == .response || $0.readingSince != nil } }

    func wait(for wait: OutboundError.Wait) {
        state.withLock {
            $0.waiting = wait
        }
    }

    /// The request goes out: a destination that never begins to answer is idle, too.
    func send() { state.withLock { $0.sentAt = .now } }
    func admitted(_ permits: [CircuitBreaker.Permit]) { state.withLock { $0.permits = permits } }
    func failed(_ failure: OutboundError) { state.withLock { $0.failure = $0.failure ?? failure } }

    func received(status: Int, retryAfter: Duration?) {
        state.withLock {
            $0.status = status
            $0.retryAfter = retryAfter
            $0.waiting = .body
        }
    }

    func beginRead() { state.withLock { $0.readingSince = .now } }
    func endRead() {
        state.withLock {
            $0.readingSince = nil
            $0.hasBody = true
        }
    }

    /// Returns when the time is over, with what was waited for; nil when the task is cancelled before.
    ///
    /// - Parameters:
    ///   - startTimeout: How long the head of the response may be waited for. There are servers that send it at once and then
    ///     think: the first bytes of the body have as much time, from when the request went out.
    ///   - idleTimeout: How long one read of its body may be waited for.
    func expiry(startTimeout: Duration?, idleTimeout: Duration?) async -> OutboundError.Wait? {
        while true {
            let now = ContinuousClock.now
            let current = state.withLock { $0 }
            let waiting = current.waiting
            if now >= deadline { return waiting }
            var wake = deadline
            let startEnd = startTimeout.map { (current.sentAt ?? now).advanced(by: $0) }
            if let startEnd, current.status == nil {
                if now >= startEnd { return waiting }
                wake = min(wake, startEnd)
            }
            if let idleTimeout {
                let idleEnd = (current.readingSince ?? now).advanced(by: idleTimeout)
                let end = current.hasBody ? idleEnd : max(idleEnd, startEnd ?? idleEnd)
                if now >= end { return waiting }
                // The first read may end meanwhile, and then the time of the next one counts.
                wake = min(wake, end, now.advanced(by: max(idleTimeout, .milliseconds(100))))
            }
            do { try await Task.sleep(until: wake, clock: .continuous) } catch { return nil }
        }
    }
}
