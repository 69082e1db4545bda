/// How often and how fast a kind of job is tried, and for how long one attempt may run.
package struct RetryPolicy: Sendable, Hashable {
    /// At least 1.
    ///
    /// After that many failed attempts the job is quarantined.
    package let maxAttempts: Int
    /// The wait after the first failed attempt.
    package let base: Duration
    /// The longest wait between attempts, before jitter.
    package let ceiling: Duration
    /// How long one attempt may run before it is cancelled and counts as failed.
    package let timeout: Duration
    /// How long a claim holds when its worker gives no sign of life; extended each third of it.
    package let lease: Duration

    /// The longest wait that the outside world may ask for.
    package static let longestRetryAfter = Duration.seconds(3_600)

    package init(
        maxAttempts: Int = 10,
        base: Duration = .seconds(1),
        ceiling: Duration = .seconds(900),
        timeout: Duration = .seconds(60),
        lease: Duration = .seconds(30)
    ) {
        self.maxAttempts = max(1, maxAttempts)
        self.base = max(.zero, base)
        self.ceiling = max(.zero, ceiling)
        self.timeout = max(.milliseconds(1), timeout)
        self.lease = max(.milliseconds(30), lease)
    }

    /// The wait between a failed attempt and the next.
    ///
    /// After attempt *n* it is `base · 2ⁿ⁻¹`, at most `ceiling`, moved by up to 20 % so that jobs that fail together do not
    /// come back together. A longer `retryAfter` wins, up to one hour.
    ///
    /// - Parameters:
    ///   - attempt: The attempt that failed, counted from 1.
    ///   - jitter: From -1 to 1.
    /// - Returns: Whole milliseconds, never negative.
    package func wait(afterAttempt attempt: Int, retryAfter: Duration? = nil, jitter: Double) -> Duration {
        let ceiling = min(self.ceiling.wholeMilliseconds, Int64.max / 4)
        let doublings = min(max(attempt - 1, 0), 62)
        let (doubled, overflow) = base.wholeMilliseconds.multipliedReportingOverflow(by: 1 << Int64(doublings))
        let wait = overflow ? ceiling : min(doubled, ceiling)
        let moved = Double(wait) * (1 + 0.2 * min(max(jitter.isFinite ? jitter : 0, -1), 1))
        let backOff = Duration.milliseconds(Int64(exactly: moved.rounded()) ?? wait)
        guard let retryAfter else { return backOff }
        return max(backOff, .milliseconds(min(retryAfter, Self.longestRetryAfter).wholeMilliseconds))
    }
}
