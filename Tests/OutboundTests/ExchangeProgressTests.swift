import Testing

@testable import Outbound

@Suite("the time of an exchange")
struct ExchangeProgressTests {
    private let hour = Duration.seconds(3_600)

    /// An exchange whose destination has sent the head of its response, and is being read.
    private func begun(deadline: ContinuousClock.Instant) -> ExchangeProgress {
        let progress = ExchangeProgress(deadline: deadline)
        progress.wait(for: .response)
        progress.send()
        progress.received(status: 200, retryAfter: nil)
        progress.beginRead()
        return progress
    }

    @Test("the first bytes of a body have the time to begin, also when the head came at once")
    func firstRead() async {
        let deadline = ContinuousClock.now + .milliseconds(50)
        let progress = begun(deadline: deadline)
        #expect(await progress.expiry(startTimeout: hour, idleTimeout: .zero) == .body)
        #expect(ContinuousClock.now >= deadline)
    }

    @Test("the reads after it have the time between two pieces")
    func laterReads() async {
        let deadline = ContinuousClock.now + hour
        let progress = begun(deadline: deadline)
        progress.endRead()
        progress.beginRead()
        #expect(await progress.expiry(startTimeout: hour, idleTimeout: .zero) == .body)
        #expect(ContinuousClock.now < deadline)
    }

    @Test("without a time to begin the first read has the time between two pieces, too")
    func noStartTimeout() async {
        let deadline = ContinuousClock.now + hour
        #expect(await begun(deadline: deadline).expiry(startTimeout: nil, idleTimeout: .zero) == .body)
        #expect(ContinuousClock.now < deadline)
    }

    @Test("a destination that sends nothing at all is given up after its time to begin")
    func noHead() async {
        let deadline = ContinuousClock.now + hour
        let progress = ExchangeProgress(deadline: deadline)
        progress.wait(for: .response)
        progress.send()
        #expect(await progress.expiry(startTimeout: .zero, idleTimeout: hour) == .response)
        #expect(ContinuousClock.now < deadline)
    }
}
