package import Kernel

/// Tells who a bearer token belongs to.
///
/// Identity makes one; Web calls it once for each authenticated request.
package struct Authenticator: Sendable {
    /// Throws a `Problem` of status 401, such as `auth.invalid_token`, when the token is not good.
    package let authenticate: @Sendable (_ bearer: Secret, _ origin: RequestOrigin) async throws -> Principal

    package init(
        authenticate: @escaping @Sendable (_ bearer: Secret, _ origin: RequestOrigin) async throws -> Principal
    ) {
        self.authenticate = authenticate
    }
}
