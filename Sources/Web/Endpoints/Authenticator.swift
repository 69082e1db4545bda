package import Kernel

/// Tells who a bearer token belongs to.
///
/// Identity makes one; Web calls it once for each authenticated request.
package struct Authenticator: Sendable {
    /// Throws a `Problem` of status 401, such as `auth.invalid_token`, when the token is not good.
    package let authenticate: @Sendable (_ bearer: Secret, _ origin: RequestOrigin) async throws -> Principal
    /// Whether a token that nobody has used lately costs a look into the database, so that guesses have to be bounded.
    ///
    /// Not for signed tokens: whether one is genuine can be computed, and all that clients send after one has ended would
    /// count as guesses of their address.
    let isLookedUp: @Sendable (_ bearer: Secret) -> Bool

    package init(
        isLookedUp: @escaping @Sendable (_ bearer: Secret) -> Bool = { _ in true },
        authenticate: @escaping @Sendable (_ bearer: Secret, _ origin: RequestOrigin) async throws -> Principal
    ) {
        self.isLookedUp = isLookedUp
        self.authenticate = authenticate
    }
}
