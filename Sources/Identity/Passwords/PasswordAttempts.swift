import Kernel
import Web

/// Bounds the guesses at passwords.
///
/// A small number from one network, so that nobody can lock somebody out from elsewhere, and a larger one from everywhere,
/// so that many networks do not guess without end. Only wrong guesses count: a right one is given back.
struct PasswordAttempts: Sendable {
    let near: RateLimiter<String>
    let everywhere: RateLimiter<String>

    /// One attempt that was counted.
    struct PasswordAttempt: Sendable {
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
    func begin(at account: String, from origin: RequestOrigin?) throws(SessionError) -> PasswordAttempt {
        let place = "\(Self.network(of: origin?.address)) \(account)"
        let here = near.take(place)
        guard here.isAllowed else { throw .tooManyAttempts(retryAfterSeconds: here.retryAfterSeconds) }
        let anywhere = everywhere.take(account)
        guard anywhere.isAllowed else {
            near.giveBack(place)
            throw .tooManyAttempts(retryAfterSeconds: anywhere.retryAfterSeconds)
        }
        return PasswordAttempt(attempts: self, account: account, place: place)
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
