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
    package var timeout: Duration
    /// How long a claim holds when its worker gives no sign of life; extended each third of it.
    package let lease: Duration

    /// The longest wait that the outside world may ask for.
    package let longestRetryAfter: Duration
    /// The waits after each failed attempt, in place of the doubling back-off; empty for that.
    package let delays: [Duration]

    /// - Parameter longestRetryAfter: A provider may ask for days; whoever cannot wait for so long says so here.
    package init(
        maxAttempts: Int = 10,
        base: Duration = .seconds(1),
        ceiling: Duration = .seconds(900),
        timeout: Duration = .seconds(60),
        lease: Duration = .seconds(30),
        longestRetryAfter: Duration = .seconds(7 * 86_400)
    ) {
        self.init(maxAttempts: maxAttempts, base, ceiling, [], timeout, lease, longestRetryAfter)
    }

    /// One attempt at once, and one more after each of the delays.
    package init(
        delays: [Duration],
        timeout: Duration = .seconds(60),
        lease: Duration = .seconds(30),
        longestRetryAfter: Duration = .seconds(7 * 86_400)
    ) {
        let longest = delays.max() ?? .zero
        self.init(maxAttempts: delays.count + 1, .zero, longest, delays, timeout, lease, longestRetryAfter)
    }

    private init(
        maxAttempts: Int,
        _ base: Duration,
        _ ceiling: Duration,
        _ delays: [Duration],
        _ timeout: Duration,
        _ lease: Duration,
        _ longestRetryAfter: Duration
    ) {
        self.maxAttempts = max(1, maxAttempts)
        self.base = max(.zero, base)
        self.ceiling = max(.zero, ceiling)
        self.delays = delays.map { max(.zero, $0) }
        self.longestRetryAfter = max(.zero, longestRetryAfter)
        self.timeout = max(.milliseconds(1), timeout)
        self.lease = max(.milliseconds(30), lease)
    }

    /// The wait between a failed attempt and the next.
    ///
    /// After attempt *n* it is the *n*th of `delays`, or `base · 2ⁿ⁻¹`, at most `ceiling`; moved by up to 20 % so that jobs
    /// that fail together do not come back together. A longer `retryAfter` wins, up to `longestRetryAfter`.
    ///
    /// - Parameters:
    ///   - attempt: The attempt that failed, counted from 1.
    ///   - jitter: From -1 to 1.
    /// - Returns: Whole milliseconds, never negative.
    package func wait(afterAttempt attempt: Int, retryAfter: Duration? = nil, jitter: Double) -> Duration {
        let wait = delay(afterAttempt: attempt)
        let moved = Double(wait) * (1 + 0.2 * min(max(jitter.isFinite ? jitter : 0, -1), 1))
        let backOff = Duration.milliseconds(Int64(exactly: moved.rounded()) ?? wait)
        guard let retryAfter else { return backOff }
        return max(backOff, .milliseconds(min(retryAfter, longestRetryAfter).wholeMilliseconds))
    }

    /// In milliseconds, before jitter.
    private func delay(afterAttempt attempt: Int) -> Int64 {
        let attempt = max(attempt, 1)
        let ceiling = min(self.ceiling.wholeMilliseconds, Int64.max / 4)
        let index = max(attempt - 1, 0)
        if let last = delays.last {
            return min((index < delays.count ? delays[index] : last).wholeMilliseconds, ceiling)
        }
        let (doubled, overflow) = base.wholeMilliseconds.multipliedReportingOverflow(by: 1 << Int64(min(index, 62)))
        return overflow ? ceiling : min(doubled, ceiling)
    }
}
