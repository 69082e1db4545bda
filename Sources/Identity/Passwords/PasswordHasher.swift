import CArgon2
import Dispatch
package import Kernel
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The cost of one hash (RFC 9106).
///
/// The product's own is what OWASP lists first for argon2id with one pass.
package struct PasswordCost: Sendable, Hashable {
    package let memoryKiB: UInt32
    package let passes: UInt32

    package static let standard = PasswordCost(memoryKiB: 47_104, passes: 1)

    /// - Parameter memoryKiB: At least 8.
    package init(memoryKiB: UInt32, passes: UInt32) {
        self.memoryKiB = max(8, memoryKiB)
        self.passes = max(1, passes)
    }
}

package enum PasswordError: Error, Sendable, ProblemConvertible {
    /// Too many passwords wait to be hashed.
    case busy
    /// libargon2 could not do it: its own code, such as no memory.
    case failed(code: Int32)

    package var problem: Problem {
        switch self {
        case .busy, .failed(ARGON2_MEMORY_ALLOCATION_ERROR.rawValue):
            Problem(
                .unavailable,
                "auth.busy",
                "Too many people are signing in right now. Try again in a moment.",
                retryAfterSeconds: 2
            )
        case .failed: Problem(.internalError, "internal", "Something went wrong on our side.")
        }
    }
}

/// Hashes passwords with argon2id on threads of its own: one hash takes tens of milliseconds and as many MiB, and would
/// hold up everything else on the threads that requests share.
package final class PasswordHasher: Sendable {
    private static let saltLength = 16
    private static let hashLength = 32

    private let cost: PasswordCost
    private let queue: WorkQueue
    /// What an unknown account's password is compared to.
    ///
    /// It belongs to no password; only its cost counts.
    private let decoy: String

    /// - Parameters:
    ///   - threads: How many passwords are hashed at a time. Each takes the memory of its cost.
    ///   - waiting: How many more may wait. New passwords take at most half of it, so that those who log in do not wait
    ///     behind them in vain.
    package init(threads: Int = 2, waiting: Int = 64, cost: PasswordCost = .standard) {
        self.cost = cost
        queue = WorkQueue(limit: max(1, waiting))
        decoy =
            "$argon2id$v=19$m=\(cost.memoryKiB),t=\(cost.passes),p=1$a3V2ZW5kIGRlY295IHNhbHQ"
            + "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        queue.start(threads: max(1, threads))
    }

    deinit { queue.stop() }

    /// The hash of a new password in PHC string format, with a new salt.
    package func hash(_ password: Secret) async throws -> String {
        let cost = cost
        var generator = SystemRandomNumberGenerator()
        let salt = (0..<Self.saltLength).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
        return try await queue.run(.new) { Self.hash(password, salt: salt, cost: cost) }
    }

    /// Whether a hash is that of a password.
    ///
    /// - Parameter hash: nil for an account that does not exist or has no password: the answer is false and takes as long.
    package func verify(_ password: Secret, against hash: String?) async throws -> Bool {
        let encoded = hash ?? decoy
        let isRight = try await queue.run(.known) { Self.verify(password, against: encoded) }
        return isRight && hash != nil
    }

    private static func hash(_ password: Secret, salt: [UInt8], cost: PasswordCost) -> Result<String, PasswordError> {
        let password = Array(password.exposed.utf8)
        let length = argon2_encodedlen(
            cost.passes,
            cost.memoryKiB,
            1,
            UInt32(salt.count),
            UInt32(hashLength),
            Argon2_id
        )
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: length) { encoded in
            let code = argon2id_hash_encoded(
                cost.passes,
                cost.memoryKiB,
                1,
                password,
                password.count,
                salt,
                salt.count,
                hashLength,
                encoded.baseAddress,
                length
            )
            guard code == ARGON2_OK.rawValue, let start = encoded.baseAddress else {
                return .failure(.failed(code: code))
            }
            return .success(String(cString: start))
        }
    }

    private static func verify(_ password: Secret, against encoded: String) -> Result<Bool, PasswordError> {
        let password = Array(password.exposed.utf8)
        let code = argon2id_verify(encoded, password, password.count)
        switch code {
        case ARGON2_OK.rawValue: return .success(true)
        case ARGON2_VERIFY_MISMATCH.rawValue: return .success(false)
        default: return .failure(.failed(code: code))
        }
    }
}

/// Threads that take work from one queue of bounded length.
private final class WorkQueue: Sendable {
    enum Kind {
        case new
        case known
    }

    private struct State {
        var waiting: [(kind: Kind, work: @Sendable () -> Void)] = []
        var threads = 0
        var isStopped = false
    }

    private let limit: Int
    private let state = Mutex(State())
    private let available = DispatchSemaphore(value: 0)

    init(limit: Int) { self.limit = limit }

    func start(threads: Int) {
        for _ in 0..<threads {
            let argument = Unmanaged.passRetained(self)
            #if canImport(Darwin)
            var thread: pthread_t?
            #else
            var thread = pthread_t()
            #endif
            guard pthread_create(&thread, nil, serveQueue, argument.toOpaque()) == 0 else {
                argument.release()
                continue
            }
            #if canImport(Darwin)
            if let thread { pthread_detach(thread) }
            #else
            pthread_detach(thread)
            #endif
            state.withLock { $0.threads += 1 }
        }
    }

    /// Lets the threads end once nothing waits.
    func stop() {
        let threads = state.withLock { state in
            state.isStopped = true
            return state.threads
        }
        for _ in 0..<threads { available.signal() }
    }

    func run<Value: Sendable>(
        _ kind: Kind,
        _ work: @escaping @Sendable () -> Result<Value, PasswordError>
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Value, any Error>) in
            let isTaken = state.withLock { state in
                guard state.threads > 0, !state.isStopped, state.waiting.count < limit else { return false }
                if kind == .new {
                    guard state.waiting.count(where: { $0.kind == .new }) < max(1, limit / 2) else { return false }
                }
                state.waiting.append((kind, { continuation.resume(with: work().mapError { $0 as any Error }) }))
                return true
            }
            if isTaken { available.signal() } else { continuation.resume(throwing: PasswordError.busy) }
        }
    }

    func serve() {
        while true {
            available.wait()
            let next = state.withLock { state -> (@Sendable () -> Void)? in
                state.waiting.isEmpty ? nil : state.waiting.removeFirst().work
            }
            guard let next else { return }
            next()
        }
    }
}

#if canImport(Darwin)
private func serveQueue(_ argument: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    Unmanaged<WorkQueue>.fromOpaque(argument).takeRetainedValue().serve()
    return nil
}
#else
private func serveQueue(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let argument else { return nil }
    Unmanaged<WorkQueue>.fromOpaque(argument).takeRetainedValue().serve()
    return nil
}
#endif
