import Synchronization

/// Counts uses of keys in memory and says when one has used up its share.
///
/// Each key has a bucket of `limit` tokens that refills evenly over `period`. A bucket is one number, the moment at which
/// it will be full again (the generic cell rate algorithm, ITU-T I.371). Nodes count on their own.
///
/// Memory is bounded by two generations: when the young one is full it becomes the old one, whose keys count as unused
/// unless they come back before the next turn. Forgetting a key can only give it tokens.
package final class RateLimiter<Key: Hashable & Sendable>: Sendable {
    package typealias Decision = RateDecision

    private let limit: Int
    /// Nanoseconds in which the whole bucket refills, and in which one token does.
    private let period: Int64
    private let interval: Int64
    private let capacity: Int
    private let state = Mutex(BucketGenerations())
    private let now: @Sendable () -> ContinuousClock.Instant
    private let start: ContinuousClock.Instant

    private struct BucketGenerations {
        var young: [Key: Int64] = [:]
        var old: [Key: Int64] = [:]
    }

    /// - Parameters:
    ///   - limit: 1 or more.
    ///   - capacity: The most keys to remember.
    package init(
        _ limit: Int,
        per period: Duration,
        capacity: Int = 100_000,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        self.limit = max(1, limit)
        self.period = min(max(1, period.wholeNanoseconds), 1 << 60)
        interval = max(1, self.period / Int64(self.limit))
        self.capacity = max(2, capacity)
        self.now = now
        start = now()
    }

    /// Uses one token of a key, if it has one.
    package func take(_ key: Key) -> Decision { decide(key, takes: true) }

    /// What `take` would say, without using a token.
    package func look(at key: Key) -> Decision { decide(key, takes: false) }

    /// Returns a token that was taken for nothing.
    package func giveBack(_ key: Key) {
        state.withLock { state in
            if let full = state.young[key] {
                state.young[key] = full - interval
            } else if let full = state.old[key] {
                state.old[key] = full - interval
            }
        }
    }

    private func decide(_ key: Key, takes: Bool) -> Decision {
        let time = (now() - start).wholeNanoseconds
        return state.withLock { state in
            let full = max(state.young[key] ?? state.old[key] ?? time, time)
            let (next, overflow) = full.addingReportingOverflow(interval)
            let wait = overflow ? Int64.max : next - time - period
            guard wait <= 0 else {
                return Decision(
                    isAllowed: false,
                    limit: limit,
                    remaining: 0,
                    resetSeconds: seconds(full - time),
                    retryAfterSeconds: max(1, seconds(wait))
                )
            }
            if takes {
                if state.young.count >= capacity / 2, state.young[key] == nil {
                    state.old = state.young
                    state.young = [:]
                }
                state.young[key] = next
            }
            return Decision(
                isAllowed: true,
                limit: limit,
                remaining: Int((period - (next - time)) / interval),
                resetSeconds: seconds(next - time),
                retryAfterSeconds: 0
            )
        }
    }

    /// How many keys are remembered.
    package var count: Int { state.withLock { $0.young.count + $0.old.count } }

    private func seconds(_ nanoseconds: Int64) -> Int {
        Int(nanoseconds / 1_000_000_000) + (nanoseconds % 1_000_000_000 > 0 ? 1 : 0)
    }
}

/// Whether a key had a token, and when it has the next ones.
package struct RateDecision: Sendable, Hashable {
    package let isAllowed: Bool
    package let limit: Int
    /// Whole tokens left.
    package let remaining: Int
    /// Whole seconds, rounded up, until the bucket is full.
    package let resetSeconds: Int
    /// Whole seconds, rounded up, until the next token; 0 when allowed.
    package let retryAfterSeconds: Int
}

extension Duration {
    /// Rounded towards zero and clamped to the range of `Int64`.
    var wholeNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        guard !overflow else { return seconds < 0 ? .min : .max }
        let (sum, overflowed) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
        return overflowed ? (seconds < 0 ? .min : .max) : sum
    }

    var seconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) / 1e18
    }
}
