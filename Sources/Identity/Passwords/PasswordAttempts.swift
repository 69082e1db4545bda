import Kernel
import Synchronization

/// Bounds the guesses at passwords.
///
/// A small number from one network, so that nobody can lock somebody out from elsewhere, and a larger one from everywhere,
/// so that many networks do not guess without end. Only wrong guesses count: a right one is given back.
struct PasswordAttempts: Sendable {
    let near: AttemptLimiter
    let everywhere: AttemptLimiter

    /// One attempt that was counted.
    struct Attempt: Sendable {
        fileprivate let attempts: PasswordAttempts
        fileprivate let account: String
        fileprivate let place: String

        /// The password was right, or not looked at.
        func giveBack() {
            attempts.near.giveBack(place)
            attempts.everywhere.giveBack(account)
        }

        /// Gives the attempt back when the password could not be checked.
        func giveBackOnError<Value>(_ check: () async throws -> Value) async throws -> Value {
            do {
                return try await check()
            } catch {
                giveBack()
                throw error
            }
        }
    }

    /// Counts an attempt.
    ///
    /// - Parameter account: What is guessed at.
    func begin(at account: String, from origin: RequestOrigin?) throws(SessionError) -> Attempt {
        let place = "\(Self.network(of: origin?.address)) \(account)"
        if let seconds = near.take(place) { throw .tooManyAttempts(retryAfterSeconds: seconds) }
        if let seconds = everywhere.take(account) {
            near.giveBack(place)
            throw .tooManyAttempts(retryAfterSeconds: seconds)
        }
        return Attempt(attempts: self, account: account, place: place)
    }

    /// The network that one client may have to itself: the /24 of an IPv4 address, the /48 of an IPv6 address.
    ///
    /// - Parameter address: As Web writes it.
    static func network(of address: String?) -> String {
        guard let address else { return "" }
        guard address.contains(":") else {
            return address.split(separator: ".").prefix(3).joined(separator: ".")
        }
        // Where groups are left out, they are zeros.
        let groups = address.split(separator: ":", omittingEmptySubsequences: false).prefix { !$0.isEmpty }.prefix(3)
        return (groups + Array(repeating: "0", count: 3 - groups.count)).joined(separator: ":")
    }
}

/// Buckets of attempts that refill evenly, like Web's rate limits, whose tokens can be given back.
///
/// Memory is bounded by two generations: when the young one is full it becomes the old one, whose keys count as unused
/// unless they come back before the next turn.
final class AttemptLimiter: Sendable {
    /// When a bucket is full again, since `start`.
    private struct Generations {
        var young: [String: Duration] = [:]
        var old: [String: Duration] = [:]
    }

    private let period: Duration
    private let interval: Duration
    private let capacity: Int
    private let state = Mutex(Generations())
    private let start: ContinuousClock.Instant
    private let now: @Sendable () -> ContinuousClock.Instant

    /// - Parameters:
    ///   - limit: 1 or more.
    ///   - capacity: The most keys to remember.
    init(
        _ limit: Int,
        per period: Duration,
        capacity: Int = 100_000,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        self.period = period
        interval = period / max(1, limit)
        self.capacity = max(2, capacity)
        self.now = now
        start = now()
    }

    /// Uses one token.
    ///
    /// - Returns: nil when there was one, else the whole seconds until there is, at least 1.
    func take(_ key: String) -> Int? {
        let time = now() - start
        return state.withLock { state in
            let next = max(state.young[key] ?? state.old[key] ?? time, time) + interval
            let wait = next - time - period
            guard wait <= .zero else {
                return Int(wait.components.seconds) + (wait.components.attoseconds > 0 ? 1 : 0)
            }
            if state.young.count >= capacity / 2, state.young[key] == nil {
                state.old = state.young
                state.young = [:]
            }
            state.old[key] = nil
            state.young[key] = next
            return nil
        }
    }

    func giveBack(_ key: String) {
        state.withLock { state in
            if let full = state.young[key] { state.young[key] = full - interval }
            if let full = state.old[key] { state.old[key] = full - interval }
        }
    }
}
