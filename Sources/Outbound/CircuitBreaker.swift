package import Kernel

/// Leaves a destination alone that keeps failing, and finds out with few calls at a time whether it is back.
///
/// Closed, it counts failures in a row. At the threshold it opens, once calls of enough callers are among them, so that nobody
/// closes the way for others with requests that only fail for them: calls are refused until the pause is over. Then one
/// call goes out as the probe, and one of each other caller beside it, so that none waits for a probe of another that
/// hangs: the first to succeed closes the circuit; failures of enough callers, or of all that probe, open it again for twice
/// as long. Outcomes of calls that were admitted
/// before the last change of state are ignored; and where callers share the circuit so are failures of calls since whose
/// admission another succeeded: the destination was there, and calls that hang all end at a time.
package struct CircuitBreaker: Sendable, Hashable {
    package struct Configuration: Sendable, Hashable {
        /// Failures in a row that open the circuit.
        package var threshold: Int
        package var firstPause: Duration
        package var longestPause: Duration
        /// How many different callers must have failed before the circuit opens, 1 or 2; the platform alone is enough.
        package var callers: Int

        package init(
            threshold: Int = 5,
            firstPause: Duration = .seconds(5),
            longestPause: Duration = .seconds(120),
            callers: Int = 1
        ) {
            self.threshold = max(threshold, 1)
            self.firstPause = firstPause
            self.longestPause = longestPause
            self.callers = min(max(callers, 1), 2)
        }
    }

    package enum State: Sendable, Hashable {
        case closed(failures: Int)
        case open(until: ContinuousClock.Instant)
        /// Probes are under way.
        case halfOpen
    }

    /// The right to make one call; its outcome is reported with it.
    package struct Permit: Sendable, Hashable {
        fileprivate let generation: UInt64
        fileprivate let successes: UInt64
        fileprivate let caller: ID<OrganizationEntity>
    }

    package enum CallDecision: Sendable, Hashable {
        case allowed(Permit)
        case refused(retryAfter: Duration)
    }

    /// What a caller is told to wait while a probe is under way.
    private static let probeWait = Duration.seconds(1)
    private static let mostProbes = 8

    package let configuration: Configuration
    package private(set) var state = State.closed(failures: 0)
    private var generation: UInt64 = 0
    /// Pauses since the circuit was last closed.
    private var pauses = 0
    /// Two of those whose calls failed since the last that did not.
    private var failing: Set<ID<OrganizationEntity>> = []
    /// Whose probes are under way or have failed.
    private var probing: Set<ID<OrganizationEntity>> = []
    private var failedProbes = 0
    /// Counted where callers share the circuit.
    private var successes: UInt64 = 0

    package init(configuration: Configuration = Configuration()) { self.configuration = configuration }

    /// Whether it knows nothing that a new one would not know.
    package var isPristine: Bool { state == .closed(failures: 0) && failing.isEmpty && successes == 0 }

    /// - Parameter caller: Whose call it is; zero for the platform's own.
    package mutating func admit(
        at now: ContinuousClock.Instant,
        of caller: ID<OrganizationEntity> = .zero
    ) -> CallDecision {
        switch state {
        case .closed:
            break
        case .open(let until) where now < until:
            return .refused(retryAfter: now.duration(to: until))
        case .open:
            change(to: .halfOpen)
            probing.insert(caller)
        case .halfOpen:
            guard probing.count < Self.mostProbes, probing.insert(caller).inserted else {
                return .refused(retryAfter: Self.probeWait)
            }
        }
        return .allowed(Permit(generation: generation, successes: successes, caller: caller))
    }

    /// The destination began to answer.
    ///
    /// Others need not wait for the end of a probe that streams for a minute; the next failures open the circuit again, one of
    /// each caller that it takes.
    package mutating func answered(_ permit: Permit) {
        guard permit.generation == generation, state == .halfOpen else { return }
        failing = []
        close(failures: configuration.threshold - 1)
    }

    package mutating func succeeded(_ permit: Permit) {
        guard permit.generation == generation else { return }
        if configuration.callers > 1 { successes &+= 1 }
        pauses = 0
        failing = []
        close(failures: 0)
    }

    /// - Parameter retryAfter: The wait that the destination asked for; a longer one than its own pause wins, up to the
    ///   longest pause.
    package mutating func failed(_ permit: Permit, at now: ContinuousClock.Instant, retryAfter: Duration? = nil) {
        guard permit.generation == generation else { return }
        if state != .halfOpen, permit.successes != successes { return }
        if failing.count < 2 { failing.insert(permit.caller) }
        switch state {
        case .closed(let failures) where failures + 1 < configuration.threshold:
            state = .closed(failures: failures + 1)
        case .closed where failing.count < configuration.callers && !failing.contains(.zero):
            // The next failure of somebody else opens it.
            state = .closed(failures: configuration.threshold - 1)
        case .closed:
            open(at: now, retryAfter: retryAfter)
        case .halfOpen:
            failedProbes += 1
            // It may have failed for this caller only, and another's probe find the destination back.
            guard failedProbes >= min(configuration.callers, probing.count) || permit.caller == .zero else { return }
            open(at: now, retryAfter: retryAfter)
        case .open:
            break
        }
    }

    /// The call was given up for reasons of the caller: an abandoned probe leaves its place to the next call.
    package mutating func abandoned(_ permit: Permit, at now: ContinuousClock.Instant) {
        guard permit.generation == generation, state == .halfOpen else { return }
        probing.remove(permit.caller)
        if probing.isEmpty {
            change(to: .open(until: now))
        } else if failedProbes >= probing.count {
            open(at: now, retryAfter: nil)
        }
    }

    private mutating func open(at now: ContinuousClock.Instant, retryAfter: Duration?) {
        let doubled = configuration.firstPause * (1 << min(pauses, 16))
        let pause = min(max(doubled, retryAfter ?? .zero), configuration.longestPause)
        pauses += 1
        change(to: .open(until: now.advanced(by: pause)))
    }

    private mutating func close(failures: Int) {
        state = .closed(failures: failures)
        probing = []
        failedProbes = 0
    }

    private mutating func change(to state: State) {
        self.state = state
        probing = []
        failedProbes = 0
        generation &+= 1
    }
}
