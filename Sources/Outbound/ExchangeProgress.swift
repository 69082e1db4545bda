import Synchronization

/// What is known about one exchange while it is under way, shared by the call and its watch.
final class ExchangeProgress: Sendable {
    private struct State {
        var waiting = OutboundError.Wait.slot
        /// nil while nobody waits for the destination to begin.
        var sentAt: ContinuousClock.Instant?
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
            $0.sentAt = nil
        }
    }

    func beginRead() { state.withLock { $0.readingSince = .now } }
    func endRead() { state.withLock { $0.readingSince = nil } }

    /// Returns when the time is over, with what was waited for; nil when the task is cancelled before.
    ///
    /// - Parameters:
    ///   - startTimeout: How long the beginning of the response may be waited for.
    ///   - idleTimeout: How long one read of its body may be waited for.
    func expiry(startTimeout: Duration?, idleTimeout: Duration?) async -> OutboundError.Wait? {
        while true {
            let now = ContinuousClock.now
            let (waiting, sentAt, readingSince) = state.withLock { ($0.waiting, $0.sentAt, $0.readingSince) }
            if now >= deadline { return waiting }
            var wake = deadline
            if let startTimeout {
                let end = (sentAt ?? now).advanced(by: startTimeout)
                if now >= end { return waiting }
                wake = min(wake, end)
            }
            if let idleTimeout {
                let end = (readingSince ?? now).advanced(by: idleTimeout)
                if now >= end { return waiting }
                wake = min(wake, end)
            }
            do { try await Task.sleep(until: wake, clock: .continuous) } catch { return nil }
        }
    }
}
