import Events
package import Kernel
import Storage

/// Who calls, where, and what they may do there.
package struct Me: Sendable {
    package enum Caller: Sendable {
        case user(User, MemberRole)
        case apiKey(APIKey)
    }

    package let caller: Caller
    package let organization: Organization
    package let permissions: Set<Permission>
    /// For users: all their organizations, in the order in which they joined.
    package let belongings: [Belonging]
}

package struct UserService: Sendable {
    let database: any Database
    let passwords: PasswordHasher
    let sessions: SessionService
    let credentials: CredentialCheck
    let roles: RoleMatrix
    let now: @Sendable () -> Timestamp

    package func me(_ principal: Principal, in scope: OrganizationScope) async throws -> Me {
        guard let id = principal.actor.userID else {
            guard let id = principal.actor.apiKeyID else { throw UserError.personRequired }
            let (key, organization) = try await database.read(scope) { tx in
                (
                    try APIKeyStore(tx: tx, scope: scope).get(id),
                    try OrganizationStore(tx: tx, scope: scope).get()
                )
            }
            return Me(
                caller: .apiKey(key),
                organization: organization,
                permissions: principal.permissions,
                belongings: []
            )
        }
        let (user, here, belongings) = try await database.read(for: .authentication) { tx in
            guard let user = try UserStore.find(id, in: tx),
                let here = try MembershipStore.place(of: id, in: scope.id, tx)
            else { throw UserError.unknown }
            return (user, here, try MembershipStore.all(of: id, in: tx))
        }
        return Me(
            caller: .user(user, here.role),
            organization: here.organization,
            permissions: roles.permissions(of: here.role),
            belongings: belongings
        )
    }

    /// Changes the caller's account.
    ///
    /// That belongs to its home, so that is where the event is recorded.
    package func change(
        _ changes: UserChanges,
        by principal: Principal,
        in scope: OrganizationScope
    ) async throws -> User {
        let id = try principal.user
        let now = now()
        let home = try await database.read(for: .authentication) { tx in
            try UserStore.find(id, in: tx)?.organizationID
        }
        guard let home else { throw UserError.unknown }
        let homeScope = OrganizationScope.authenticated(home, as: scope.actor, from: scope.origin)
        return try await database.write(homeScope) { tx in
            let users = UserStore(tx: tx, scope: homeScope)
            guard let old = try users.findAtHome(id) else { throw UserError.unknown }
            var user = old
            if let name = changes.name { user.name = name }
            if let image = changes.image { user.image = image }
            // The audit log names the fields that changed, not the personal data in them.
            let changed = JSON.changes([
                .of("name", .string(old.name), .string(user.name)), .of("image", .text(old.image), .text(user.image)),
            ])
            guard let fields = changed?.object?.keys else { return old }
            user.touch(at: now)
            try users.save(user)
            let redacted = JSON.object(JSONObject(fields.map { ($0, ["before": "redacted", "after": "redacted"]) }))
            try tx.record(.user(IdentityEvents.userUpdated, id, redacted), in: homeScope, now: now)
            return user
        }
    }

    /// Replaces the caller's password and ends all their other sessions.
    package func changePassword(
        from current: Secret,
        to new: Secret,
        by principal: Principal,
        in scope: OrganizationScope
    ) async throws {
        let id = try principal.user
        let attempt = try sessions.attempts.begin(at: "user:\(id)", from: scope.origin)
        // Only a wrong password counts as a guess.
        let (credential, isRight) = try await attempt.giveBackOnError {
            let credential = try await database.read(for: .authentication) { tx in
                try UserStore.credential(of: id, in: tx)
            }
            guard let credential else { throw UserError.unknown }
            try PasswordRules.check(new, email: credential.user.email, at: "/new_password")
            return (credential, try await passwords.verify(current, against: credential.passwordHash))
        }
        guard isRight, let old = credential.passwordHash else { throw UserError.wrongPassword }
        attempt.giveBack()
        let hash = try await passwords.hash(new)
        let now = now()
        try await database.write(for: .authentication) { tx in
            guard try UserStore.replacePassword(of: id, old, by: hash, at: now, in: tx) else {
                throw UserError.wrongPassword
            }
            try SessionStore.revokeAll(
                of: id,
                but: principal.sessionID,
                because: SessionStore.passwordChanged,
                at: now,
                tx
            )
            try tx.record(.user(IdentityEvents.userPasswordChanged, id), in: scope, now: now)
        }
        credentials.forget(id)
    }
}
