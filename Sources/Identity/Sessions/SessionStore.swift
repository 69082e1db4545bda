import Kernel
import Storage

/// What the check of a token needs to know about its session.
struct LiveSession: RowDecodable, Sendable {
    let user: ID<UserEntity>
    let organization: ID<OrganizationEntity>
    let role: MemberRole
    let status: Organization.Status
    let family: ID<Session>
    let signedInAt: Timestamp
    let expiresAt: Timestamp

    init(row: inout Row) throws {
        user = try row.next()
        organization = try row.next()
        role = try row.next()
        status = try row.next()
        family = try row.next()
        signedInAt = try row.next()
        expiresAt = try row.next()
    }
}

/// A refresh token, its session and what is left of the access to its organization.
struct RefreshRecord: RowDecodable, Sendable {
    let organization: ID<OrganizationEntity>
    let session: ID<Session>
    let user: ID<UserEntity>
    let usedAt: Timestamp?
    let successor: [UInt8]?
    let expiresAt: Timestamp
    let family: ID<Session>
    let signedInAt: Timestamp
    let sessionExpiresAt: Timestamp
    let revokedAt: Timestamp?

    init(row: inout Row) throws {
        organization = try row.next()
        session = try row.next()
        user = try row.next()
        usedAt = try row.next()
        successor = try row.next()
        expiresAt = try row.next()
        family = try row.next()
        signedInAt = try row.next()
        sessionExpiresAt = try row.next()
        revokedAt = try row.next()
    }
}

/// Sessions, in transactions of `SystemPurpose.authentication` unless said otherwise: a credential names its organization,
/// not the other way round.
enum SessionStore {
    static let loggedOut = "logged_out"
    static let passwordChanged = "password_changed"
    static let passwordReset = "password_reset"
    static let refreshReused = "refresh_reused"

    /// In either kind of transaction.
    static func insert(
        _ session: Session,
        in organization: ID<OrganizationEntity>,
        _ refreshToken: RefreshToken,
        _ tx: any Transaction
    ) throws {
        try tx.run(
            """
            INSERT INTO sessions (organization_id, id, user_id, family_id, user_agent, ip_address, signed_in_at,
                created_at, expires_at)
            VALUES (\(organization), \(session.id), \(session.userID), \(session.family), \(session.userAgent),
                \(session.address.map(InetText.init)), \(session.signedInAt), \(session.createdAt),
                \(session.expiresAt))
            """
        )
        try insert(
            refreshToken,
            of: session.id,
            in: organization,
            at: session.createdAt,
            until: session.expiresAt,
            tx
        )
    }

    private static func insert(
        _ token: RefreshToken,
        of session: ID<Session>,
        in organization: ID<OrganizationEntity>,
        at now: Timestamp,
        until expiresAt: Timestamp,
        _ tx: any Transaction
    ) throws {
        try tx.run(
            """
            INSERT INTO refresh_tokens (organization_id, session_id, token_hash, created_at, expires_at)
            VALUES (\(organization), \(session), \(token.hash), \(now), \(expiresAt))
            """
        )
    }

    /// The session of a token, with the role as it is now; nil when nobody may use it any more.
    static func live(
        _ session: ID<Session>,
        in organization: ID<OrganizationEntity>,
        at now: Timestamp,
        _ tx: any Transaction
    ) throws -> LiveSession? {
        try tx.first(
            """
            SELECT s.user_id, s.organization_id, m.role, o.status, s.family_id, s.signed_in_at, s.expires_at
            FROM sessions s
            JOIN memberships m ON m.organization_id = s.organization_id AND m.user_id = s.user_id
            JOIN organizations o ON o.id = s.organization_id
            WHERE s.organization_id = \(organization) AND s.id = \(session) AND s.revoked_at IS NULL
                AND s.expires_at > \(now) AND o.status <> 'deleted'
            """
        )
    }

    static func find(_ token: RefreshToken, _ tx: any Transaction) throws -> RefreshRecord? {
        try tx.first(
            """
            SELECT t.organization_id, t.session_id, s.user_id, t.used_at, t.successor, t.expires_at, s.family_id,
                s.signed_in_at, s.expires_at, s.revoked_at
            FROM refresh_tokens t JOIN sessions s ON s.organization_id = t.organization_id AND s.id = t.session_id
            WHERE t.token_hash = \(token.hash)
            """
        )
    }

    /// Uses up a refresh token.
    ///
    /// - Parameter sealed: The new token, for whoever sends the old one again within the replay window.
    static func rotate(
        _ old: RefreshToken,
        _ record: RefreshRecord,
        to new: RefreshToken,
        sealed: [UInt8],
        at now: Timestamp,
        until end: Timestamp,
        _ tx: any Transaction
    ) throws {
        try tx.run(
            """
            UPDATE refresh_tokens SET used_at = \(now), successor = \(SQLValue.bytes(sealed))
            WHERE organization_id = \(record.organization) AND session_id = \(record.session)
                AND token_hash = \(old.hash)
            """
        )
        // A successor is of use within the replay window only; what is left of it is a risk.
        try tx.run(
            """
            UPDATE refresh_tokens SET successor = NULL
            WHERE organization_id = \(record.organization) AND session_id = \(record.session)
                AND token_hash <> \(old.hash) AND successor IS NOT NULL
            """
        )
        try insert(new, of: record.session, in: record.organization, at: now, until: end, tx)
        try tx.run(
            """
            UPDATE sessions SET expires_at = \(end)
            WHERE organization_id = \(record.organization) AND id = \(record.session)
            """
        )
    }

    /// Ends the sessions of one sign-in, in every organization that it was switched to.
    ///
    /// - Returns: Those that had not ended.
    static func revokeFamily(
        _ family: ID<Session>,
        of user: ID<UserEntity>,
        because reason: String,
        at now: Timestamp,
        _ tx: any Transaction
    ) throws -> [ID<Session>] {
        try tx.values(
            """
            UPDATE sessions SET revoked_at = \(now), revoked_reason = \(reason), \(ends(now))
            WHERE user_id = \(user) AND family_id = \(family) AND revoked_at IS NULL RETURNING id
            """
        )
    }

    /// The family of a session; nil when there is no such session of the user.
    static func family(
        of session: ID<Session>,
        in organization: ID<OrganizationEntity>,
        user: ID<UserEntity>,
        _ tx: any Transaction
    ) throws -> ID<Session>? {
        try tx.value(
            """
            SELECT family_id FROM sessions
            WHERE organization_id = \(organization) AND id = \(session) AND user_id = \(user)
            """
        )
    }

    /// Ends all sessions of a user, in every organization, but for one.
    static func revokeAll(
        of user: ID<UserEntity>,
        but session: ID<Session>?,
        because reason: String,
        at now: Timestamp,
        _ tx: any Transaction
    ) throws {
        try tx.run(
            """
            UPDATE sessions SET revoked_at = \(now), revoked_reason = \(reason), \(ends(now))
            WHERE user_id = \(user) AND id <> \(session ?? ID<Session>.zero) AND revoked_at IS NULL
            """
        )
    }

    /// What is revoked has ended, which is what the purge counts from.
    private static func ends(_ now: Timestamp) -> SQL {
        "expires_at = CASE WHEN expires_at < \(now) THEN expires_at ELSE \(now) END"
    }

    /// Deletes the sessions of a user in one organization.
    static func deleteAll(of user: ID<UserEntity>, in scope: OrganizationScope, _ tx: any Transaction) throws {
        try tx.run("DELETE FROM sessions WHERE organization_id = \(scope.id) AND user_id = \(user)")
    }
}
