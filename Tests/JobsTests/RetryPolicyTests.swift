import Jobs
import Kernel
import Testing

@Suite("the wait between attempts")
struct RetryPolicyTests {
    private let policy = RetryPolicy(maxAttempts: 10, base: .seconds(10), ceiling: .seconds(300))

    @Test(
        "doubles up to the ceiling",
        arguments: [(1, 10), (2, 20), (3, 40), (5, 160), (6, 300), (64, 300), (Int.max, 300)]
    )
    func doubles(attempt: Int, seconds: Int) {
        #expect(policy.wait(afterAttempt: attempt, jitter: 0) == .seconds(seconds))
    }

    @Test("moves by at most a fifth", arguments: [(-1.0, 8), (1.0, 12), (9.0, 12), (.nan, 10), (-.infinity, 10)])
    func jitter(jitter: Double, seconds: Int) {
        #expect(policy.wait(afterAttempt: 1, jitter: jitter) == .seconds(seconds))
    }

    @Test(
        "gives way to a longer Retry-After, up to a week or what the kind can wait",
        arguments: [(0, 10), (5, 10), (90, 90), (999_999, 604_800), (-7, 10)]
    )
    func retryAfter(asked: Int, seconds: Int) {
        #expect(policy.wait(afterAttempt: 1, retryAfter: .seconds(asked), jitter: 0) == .seconds(seconds))
        let hasty = RetryPolicy(base: .seconds(10), longestRetryAfter: .seconds(60))
        #expect(hasty.wait(afterAttempt: 1, retryAfter: .seconds(asked), jitter: 0) == .seconds(min(seconds, 60)))
    }

    @Test(
        "a kind may have a list of delays of its own",
        arguments: [(0, 5), (1, 5), (2, 300), (3, 7_200), (9, 7_200)] as [(Int, Int)]
    )
    func delays(attempt: Int, seconds: Int) {
        let policy = RetryPolicy(delays: [.seconds(5), .seconds(300), .seconds(7_200)])
        #expect(policy.maxAttempts == 4)
        #expect(policy.wait(afterAttempt: attempt, jitter: 0) == .seconds(seconds))
        #expect(policy.wait(afterAttempt: attempt, jitter: -1) == .seconds(seconds) * 0.8)
    }

    @Test("never overflows")
    func extremes() {
        let policy = RetryPolicy(base: .seconds(Int64.max), ceiling: .seconds(Int64.max))
        #expect(policy.wait(afterAttempt: 60, retryAfter: .seconds(Int64.max), jitter: 1) > .zero)
        #expect(RetryPolicy(maxAttempts: -3, base: .seconds(-1)).wait(afterAttempt: 0, jitter: 1) == .zero)
        #expect(RetryPolicy(maxAttempts: -3).maxAttempts == 1)
    }
}
