import Synchronization

/// A clock of instants that stands still until it is moved.
package final class InstantClock: Sendable {
    private let start = ContinuousClock.now
    private let elapsed = Mutex(Duration.zero)

    package init() {}

    package var now: ContinuousClock.Instant { start + elapsed.withLock { $0 } }
    package func advance(by duration: Duration) { elapsed.withLock { $0 += duration } }
}
