import Kernel
import Synchronization

/// Bounds how often an address may come with credentials that have to be looked up and are not good.
///
/// Each 401 takes a token from the bucket of its address; with an empty bucket a credential is not even looked at.
/// A credential that was good lately from the same address is let through without a look at the bucket: people behind
/// one address do not suffer from a neighbour who guesses. It gains nothing for who guesses, as it is checked like any
/// other, and the first 401 ends its privilege. Only a credential that is new to an address whose bucket is empty has to
/// wait, as nothing tells it from a guess.
///
/// Memory is bounded by two generations, as in `RateLimiter`.
final class FailedAuthentications: Sendable {
    /// One credential from one address.
    ///
    /// Kept as a hash with this process's own seed: it names nobody, and who finds another text with the same hash is
    /// only checked like anybody else.
    struct CredentialAttempt: Hashable, Sendable {
        let address: ClientAddress?
        private let credential: Int

        init(_ bearer: Secret, from address: ClientAddress?) {
            self.address = address
            credential = bearer.exposed.hashValue
        }
    }

    private struct CredentialGenerations {
        var young: Set<CredentialAttempt> = []
        var old: Set<CredentialAttempt> = []

        mutating func insert(_ attempt: CredentialAttempt, _ capacity: Int) {
            if young.count >= capacity / 2 {
                old = young
                young = []
            }
            young.insert(attempt)
        }
    }

    private let limiter: RateLimiter<ClientAddress?>
    private let capacity: Int
    private let known = Mutex(CredentialGenerations())

    init(
        _ rate: WebConfiguration.Rate,
        capacity: Int = 100_000,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        limiter = RateLimiter(rate.limit, per: rate.period, capacity: capacity, now: now)
        self.capacity = max(2, capacity)
    }

    /// Whether the credential was good lately; for most requests the only question.
    func knows(_ attempt: CredentialAttempt) -> Bool {
        known.withLock { known in
            if known.young.contains(attempt) { return true }
            guard known.old.contains(attempt) else { return false }
            known.insert(attempt, capacity)
            return true
        }
    }

    /// How long the address has to wait before it may try what is not known; nil when it may now.
    func secondsToWait(_ attempt: CredentialAttempt) -> Int? {
        let decision = limiter.look(at: attempt.address)
        return decision.isAllowed ? nil : decision.retryAfterSeconds
    }

    func succeeded(_ attempt: CredentialAttempt) { known.withLock { $0.insert(attempt, capacity) } }

    func failed(_ attempt: CredentialAttempt) {
        known.withLock { known in
            known.young.remove(attempt)
            known.old.remove(attempt)
        }
        _ = limiter.take(attempt.address)
    }

    /// How many credentials are known; for tests.
    var count: Int { known.withLock { $0.young.count + $0.old.count } }
}
