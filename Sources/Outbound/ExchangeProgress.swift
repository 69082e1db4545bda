import Synchronization

/// What is known about one exchange while it is under way, shared by the call and its watch.
final class ExchangeProgress: Sendable {
    private struct State {
        var waiting = OutboundError.Wait.slot
        var readingSince: ContinuousClock.Instant?
        var status: Int?
        var failure: OutboundError?
        var permit: CircuitBreaker.Permit?
        var retryAfter: Duration?
    }

    private let deadline: ContinuousClock.Instant
    private let state = Mutex(State())

    init(deadline: ContinuousClock.Instant) { self.deadline = deadline }

    var status: Int? { state.withLock { $0.status } }
    var permit: CircuitBreaker.Permit? { state.withLock { $0.permit } }
    var retryAfter: Duration? { state.withLock { $0.retryAfter } }
    var failure: OutboundError? { state.withLock { $0.failure } }
    /// Whether the destination is the one that others wait for.
    var isReading: Bool { state.withLock { $0.waiting == .response || $0.readingSince != nil } }

    func wait(for wait: OutboundError.Wait) {
        state.withLock {
            $0.waiting = wait
            // From here on the destination is waited for: a server that never begins is idle, too.
            if wait == .response { $0.readingSince = .now }
        }
    }
    func admitted(_ permit: CircuitBreaker.Permit) { state.withLock { $0.permit = permit } }
    func failed(_ failure: OutboundError) { state.withLock { $0.failure = $0.failure ?? failure } }

    func received(status: Int, retryAfter: Duration?) {
        state.withLock {
            $0.status = status
            $0.retryAfter = retryAfter
            $0.waiting = .body
            $0.readingSince = nil
        }
    }

    func beginRead() { state.withLock { $0.readingSince = .now } }
    func endRead() { state.withLock { $0.readingSince = nil } }

    /// Returns when the time is over, with what was waited for; nil when the task is cancelled before.
    func expiry(idleTimeout: Duration?) async -> OutboundError.Wait? {
        while true {
            let now = ContinuousClock.now
            let (waiting, readingSince) = state.withLock { ($0.waiting, $0.readingSince) }
            if now >= deadline { return waiting }
            var wake = deadline
            if let idleTimeout {
                let end = (readingSince ?? now).advanced(by: idleTimeout)
                if now >= end { return waiting }
                wake = min(wake, end)
            }
            do { try await Task.sleep(until: wake, clock: .continuous) } catch { return nil }
        }
    }
}
