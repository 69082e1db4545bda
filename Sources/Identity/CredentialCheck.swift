import Crypto
package import Kernel
import Storage

/// Tells who a bearer token belongs to: an access token or an API key, by how it begins.
///
/// Three things are remembered: what a token says, so that its signature is checked once; the session behind it and the
/// key behind an API key, each for as long as `SessionTimes.check`; and keys that do not exist. What is revoked on this
/// node is forgotten at once.
package final class CredentialCheck: Sendable {
    private static let capacity = 50_000

    private let database: any Database
    private let tokens: AccessTokens
    private let usage: APIKeyUsage
    private let times: SessionTimes
    private let roles: RoleMatrix
    private let now: @Sendable () -> Timestamp

    private let claims = ExpiringCache<SHA256Digest, AccessClaims>(capacity: capacity)
    /// nil for sessions that have ended.
    private let sessions = ExpiringCache<ID<Session>, LiveSession?>(capacity: capacity)
    private let keys = ExpiringCache<SHA256Digest, LiveKey>(capacity: capacity)
    private let unknownKeys = ExpiringCache<SHA256Digest, Void>(capacity: 4_096)

    init(
        database: any Database,
        tokens: AccessTokens,
        usage: APIKeyUsage,
        times: SessionTimes,
        roles: RoleMatrix,
        now: @escaping @Sendable () -> Timestamp
    ) {
        self.database = database
        self.tokens = tokens
        self.usage = usage
        self.times = times
        self.roles = roles
        self.now = now
    }

    private static let invalidToken = SessionError.ended

    /// Throws `auth.invalid_token`, or `organization.suspended`.
    package func authenticate(_ bearer: Secret) async throws -> Principal {
        bearer.exposed.hasPrefix(APIKeyToken.prefix)
            ? try await authenticate(key: bearer) : try await authenticate(token: bearer)
    }

    private func authenticate(token: Secret) async throws -> Principal {
        let now = now()
        guard let claims = await read(token, at: now), let session = try await session(of: claims, at: now),
            session.user == claims.user, session.expiresAt > now
        else { throw Self.invalidToken }
        guard session.status == .active else { throw OrganizationError.suspended }
        return Principal(
            actor: .user(session.user),
            organization: session.organization,
            permissions: roles.permissions(of: session.role),
            session: claims.session.description
        )
    }

    private func read(_ token: Secret, at now: Timestamp) async -> AccessClaims? {
        let digest = SHA256.hash(data: Array(token.exposed.utf8))
        switch claims.look(for: digest, at: now) {
        case .found(let claims): return claims
        case .ask(let ticket):
            guard let read = await tokens.read(token, at: now) else { return nil }
            let end = read.expiresAt + times.leeway
            claims.keep(read, for: digest, renewAt: end, until: end, ticket)
            return read
        }
    }

    private func session(of claims: AccessClaims, at now: Timestamp) async throws -> LiveSession? {
        switch sessions.look(for: claims.session, at: now) {
        case .found(let session): return session
        case .ask(let ticket):
            let session = try await database.read(for: .authentication) { tx in
                try SessionStore.live(claims.session, in: claims.organization, at: now, tx)
            }
            sessions.keep(session, for: claims.session, renewAt: renewal(now), until: now + times.check, ticket)
            return session
        }
    }

    private func authenticate(key secret: Secret) async throws -> Principal {
        let now = now()
        guard let key = try await key(of: secret, at: now), key.expiresAt.map({ $0 > now }) ?? true
        else { throw Self.invalidToken }
        guard key.status == .active else { throw OrganizationError.suspended }
        usage.note(key, at: now)
        return Principal(actor: .apiKey(key.id), organization: key.organization, permissions: key.permissions)
    }

    private func key(of secret: Secret, at now: Timestamp) async throws -> LiveKey? {
        let digest = SHA256.hash(data: Array(secret.exposed.utf8))
        switch keys.look(for: digest, at: now) {
        case .found(let key): return key
        case .ask(let ticket):
            guard let token = APIKeyToken(secret) else { return nil }
            if case .found = unknownKeys.look(for: digest, at: now) { return nil }
            let end = now + times.check
            let key = try await database.read(for: .authentication) { tx in
                try APIKeyStore.live(token, at: now, in: tx)
            }
            if let key {
                keys.keep(key, for: digest, renewAt: renewal(now), until: end, ticket)
            } else if case .ask(let ticket) = unknownKeys.look(for: digest, at: now) {
                unknownKeys.keep((), for: digest, renewAt: end, until: end, ticket)
            }
            return key
        }
    }

    /// When one caller looks again while the others still use what is known.
    private func renewal(_ now: Timestamp) -> Timestamp { now + times.check * 0.8 }

    // MARK: Forgetting

    func forget(_ session: ID<Session>) { sessions.remove(session) }

    func forget(_ key: ID<APIKeyEntity>) { keys.removeAll { $0.id == key } }

    func forget(_ user: ID<UserEntity>, in organization: ID<OrganizationEntity>? = nil) {
        sessions.removeAll { session in
            session?.user == user && (organization == nil || session?.organization == organization)
        }
    }

    func forget(organization: ID<OrganizationEntity>) {
        sessions.removeAll { $0?.organization == organization }
        keys.removeAll { $0.organization == organization }
    }
}
