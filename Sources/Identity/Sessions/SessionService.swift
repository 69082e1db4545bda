import Events
package import Kernel
import Storage
import Vault
import Web

/// Signing up, in, on and out.
package struct SessionService: Sendable {
    let database: any Database
    let passwords: PasswordHasher
    let tokens: AccessTokens
    let credentials: CredentialCheck
    let roles: RoleMatrix
    /// Seals the successor of a refresh token for its replay.
    let box: SecretBox
    let attempts: PasswordAttempts
    let times: SessionTimes
    let now: @Sendable () -> Timestamp

    /// Creates an organization, its owner and their first session.
    package func signUp(_ new: SignUp, from origin: RequestOrigin? = nil) async throws -> SignedIn {
        try PasswordRules.check(new.password, email: new.email, at: "/password")
        try Slug.check(new.organization.slug, at: "/organization_slug")
        let now = now()
        let hash = try await passwords.hash(new.password)
        let id = ID<OrganizationEntity>()
        let user = User(id: ID(), organizationID: id, email: new.email, name: new.name, role: .owner, at: now)
        let session = Session(userID: user.id, from: origin, at: now, times)
        let refreshToken = RefreshToken()
        let accessToken = try await tokens.sign(user.id, in: id, session.id, at: now)
        let scope = OrganizationScope.authenticated(id, as: .user(user.id), from: origin)
        let organization = try await OrganizationService.withSlug(new.organization) { slug in
            let organization = Organization(id: id, name: new.organization.name, slug: slug, at: now)
            try await database.write(scope) { tx in
                try OrganizationService.insert(organization, ownedBy: user.id, in: scope, tx, at: now) {
                    try UserStore(tx: tx, scope: scope).insert(user, passwordHash: hash)
                    try tx.record(.user(IdentityEvents.userCreated, user.id), in: scope, now: now)
                }
                try SessionStore.insert(session, in: id, refreshToken, tx)
            }
            return organization
        }
        return SignedIn(
            accessToken: accessToken,
            expiresIn: times.access,
            refreshToken: refreshToken.secret,
            user: user,
            organization: organization,
            role: .owner
        )
    }

    /// Creates the account of somebody who was invited, their membership and their first session.
    ///
    /// The organization becomes its home.
    package func join(_ new: Joining, from origin: RequestOrigin? = nil) async throws -> SignedIn {
        guard let code = InvitationCode(new.code) else { throw InvitationError.unknown }
        let now = now()
        let open = try await database.read(for: .authentication) { tx in
            guard let open = try InvitationStore.open(code, at: now, in: tx) else { throw InvitationError.unknown }
            guard try UserStore.find(email: open.invitation.email, in: tx) == nil else { throw UserError.emailTaken }
            return open
        }
        try PasswordRules.check(new.password, email: open.invitation.email, at: "/password")
        let hash = try await passwords.hash(new.password)
        let user = User(
            id: ID(),
            organizationID: open.organization,
            email: open.invitation.email,
            name: new.name,
            role: open.invitation.role,
            at: now
        )
        let session = Session(userID: user.id, from: origin, at: now, times)
        let refreshToken = RefreshToken()
        let accessToken = try await tokens.sign(user.id, in: open.organization, session.id, at: now)
        let scope = OrganizationScope.authenticated(open.organization, as: .user(user.id), from: origin)
        let organization = try await database.write(scope) { tx in
            let (role, organization) = try InvitationService.take(open, in: scope, roles, tx, at: now)
            try UserStore(tx: tx, scope: scope).insert(user, passwordHash: hash)
            try tx.record(.user(IdentityEvents.userCreated, user.id), in: scope, now: now)
            try MembershipService.insert(user.id, role, in: scope, tx, at: now)
            try SessionStore.insert(session, in: scope.id, refreshToken, tx)
            return organization
        }
        return SignedIn(
            accessToken: accessToken,
            expiresIn: times.access,
            refreshToken: refreshToken.secret,
            user: user,
            organization: organization,
            role: user.role
        )
    }

    /// Starts a session for an address and its password.
    ///
    /// - Parameter organization: nil for the home.
    package func logIn(
        email: String,
        password: Secret,
        organization: ID<OrganizationEntity>? = nil,
        from origin: RequestOrigin? = nil
    ) async throws -> SignedIn {
        let attempt = try attempts.begin(at: "email:\(User.folded(email))", from: origin)
        let (credential, isRight) = try await attempt.giveBackOnError {
            let credential = try await database.read(for: .authentication) { tx in
                try UserStore.credential(email: email, in: tx)
            }
            return (credential, try await passwords.verify(password, against: credential?.passwordHash))
        }
        guard isRight, let credential else { throw SessionError.invalidCredentials }
        attempt.giveBack()
        let id = credential.user.id
        let now = now()
        let session = Session(userID: id, from: origin, at: now, times)
        let refreshToken = RefreshToken()
        let (user, place) = try await database.write(for: .authentication) { tx in
            let current = try UserStore.credential(of: id, in: tx)
            // The password may have been changed while this one was checked.
            guard let current, current.passwordHash == credential.passwordHash else {
                throw SessionError.invalidCredentials
            }
            let belonging = try Belonging.choose(
                organization,
                home: current.user.organizationID,
                of: MembershipStore.all(of: id, in: tx)
            )
            guard let place = try MembershipStore.place(of: id, in: belonging.organization.id, tx) else {
                throw OrganizationError.unknown
            }
            let scope = OrganizationScope.authenticated(place.organization.id, as: .user(id), from: origin)
            try SessionStore.insert(session, in: scope.id, refreshToken, tx)
            try tx.record(.session(IdentityEvents.userSignedIn, session.id, of: id), in: scope, now: now)
            return (current.user, place)
        }
        return try await signedIn(user, place, session.id, refreshToken.secret, at: now)
    }

    /// Starts a session of the same user in another of their organizations.
    ///
    /// It belongs to the sign-in of the session that it is started from: it lasts no longer, and ends with it.
    package func switchOrganization(
        to organization: ID<OrganizationEntity>,
        by principal: Principal,
        from origin: RequestOrigin? = nil
    ) async throws -> SignedIn {
        let id = try principal.user
        guard let present = principal.sessionID else { throw SessionError.ended }
        let now = now()
        let times = times
        let session = ID<Session>()
        let refreshToken = RefreshToken()
        let (user, place) = try await database.write(for: .authentication) { tx in
            // The principal may have been remembered from before the session ended.
            let live = try SessionStore.live(present, in: principal.organization, at: now, tx)
            guard let live, live.user == id, let user = try UserStore.find(id, in: tx) else {
                throw SessionError.ended
            }
            guard live.status == .active else { throw OrganizationError.suspended }
            guard organization != principal.organization else { throw SessionError.sameOrganization }
            guard let place = try MembershipStore.place(of: id, in: organization, tx) else {
                throw OrganizationError.unknown
            }
            guard place.organization.status == .active else { throw OrganizationError.suspended }
            let scope = OrganizationScope.authenticated(organization, as: .user(id), from: origin)
            let next = Session(session, userID: id, continuing: live, from: origin, at: now, times)
            try SessionStore.insert(next, in: organization, refreshToken, tx)
            try tx.record(.session(IdentityEvents.userSignedIn, session, of: id), in: scope, now: now)
            return (user, place)
        }
        return try await signedIn(user, place, session, refreshToken.secret, at: now)
    }

    private enum Refresh: Sendable {
        case rotated(User, ActingMember, ID<Session>)
        case replayed(User, ActingMember, ID<Session>, successor: [UInt8])
        case reused([ID<Session>])
    }

    /// Exchanges a refresh token for the next one and a new access token.
    package func refresh(_ secret: Secret, from origin: RequestOrigin? = nil) async throws -> SignedIn {
        guard let old = RefreshToken(secret) else { throw SessionError.invalidRefreshToken }
        let now = now()
        let new = RefreshToken()
        let sealed = try box.seal(new.secret, in: Self.place(old))
        let times = times
        let outcome = try await database.write(for: .authentication) { tx -> Refresh in
            guard let record = try SessionStore.find(old, tx), record.revokedAt == nil, record.expiresAt > now,
                record.sessionExpiresAt > now
            else { throw SessionError.invalidRefreshToken }
            let replay = record.usedAt.map { now - $0 <= times.replay } ?? false
            if record.usedAt != nil, !replay {
                let scope = OrganizationScope.authenticated(record.organization, as: .user(record.user), from: origin)
                let ended = try SessionStore.revokeFamily(
                    record.family,
                    of: record.user,
                    because: SessionStore.refreshReused,
                    at: now,
                    tx
                )
                try tx.record(
                    .session(IdentityEvents.userSessionRevoked, record.session, of: record.user),
                    in: scope,
                    now: now
                )
                return .reused(ended)
            }
            guard let user = try UserStore.find(record.user, in: tx) else { throw SessionError.invalidRefreshToken }
            guard let place = try MembershipStore.place(of: record.user, in: record.organization, tx) else {
                throw SessionError.invalidRefreshToken
            }
            guard place.organization.status == .active else { throw OrganizationError.suspended }
            if replay {
                // The successor has been used itself, so there is nothing to give again.
                guard let successor = record.successor else { throw SessionError.invalidRefreshToken }
                return .replayed(user, place, record.session, successor: successor)
            }
            try SessionStore.rotate(
                old,
                record,
                to: new,
                sealed: sealed,
                at: now,
                until: times.end(ofSessionFrom: record.signedInAt, refreshedAt: now),
                tx
            )
            return .rotated(user, place, record.session)
        }
        switch outcome {
        case .rotated(let user, let place, let session):
            return try await signedIn(user, place, session, new.secret, at: now)
        case .replayed(let user, let place, let session, let successor):
            let secret = try box.openSecret(successor, in: Self.place(old))
            return try await signedIn(user, place, session, secret, at: now)
        case .reused(let ended):
            for session in ended { credentials.forget(session) }
            throw SessionError.refreshReused
        }
    }

    /// Ends the session that the caller's token belongs to, and with it those that were switched to and from.
    package func logOut(_ principal: Principal, in scope: OrganizationScope) async throws {
        let user = try principal.user
        guard let session = principal.sessionID else { throw UserError.personRequired }
        let now = now()
        let ended = try await database.write(for: .authentication) { tx -> [ID<Session>] in
            let family = try SessionStore.family(of: session, in: scope.id, user: user, tx)
            guard let family else { return [] }
            let ended = try SessionStore.revokeFamily(family, of: user, because: SessionStore.loggedOut, at: now, tx)
            try tx.record(.session(IdentityEvents.userSignedOut, session, of: user), in: scope, now: now)
            return ended
        }
        credentials.forget(session)
        for session in ended { credentials.forget(session) }
    }

    private func signedIn(
        _ user: User,
        _ place: ActingMember,
        _ session: ID<Session>,
        _ refreshToken: Secret,
        at now: Timestamp
    ) async throws -> SignedIn {
        SignedIn(
            accessToken: try await tokens.sign(user.id, in: place.organization.id, session, at: now),
            expiresIn: times.access,
            refreshToken: refreshToken,
            user: user,
            organization: place.organization,
            role: place.role
        )
    }

    private static func place(_ token: RefreshToken) -> String { "refresh_tokens\n\(token.hash)\nsuccessor" }
}
