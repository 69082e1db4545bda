import Events
package import Kernel
import Storage
import Web

package struct MembershipService: Sendable {
    let database: any Database
    let passwords: PasswordHasher
    let credentials: CredentialCheck
    /// How many accounts an organization makes for others.
    let newAccounts: RateLimiter<ID<OrganizationEntity>>
    let roles: RoleMatrix
    let now: @Sendable () -> Timestamp

    package func list(_ page: PageRequest, in scope: OrganizationScope) async throws -> Page<Member> {
        try await database.read(scope) { tx in try MembershipStore(tx: tx, scope: scope).list(page) }
    }

    package func get(_ user: ID<UserEntity>, in scope: OrganizationScope) async throws -> Member {
        try await database.read(scope) { tx in try MembershipStore(tx: tx, scope: scope).get(user) }
    }

    /// Makes an account with a first password, and its membership.
    ///
    /// Accounts that exist are invited: who made them has not shown that the address is theirs, and whose they are has not
    /// been asked.
    package func add(_ new: NewMember, by principal: Principal, in scope: OrganizationScope) async throws -> Member {
        for _ in 0..<3 {
            do {
                return try await addOnce(new, by: principal, in: scope)
            } catch UserError.emailTaken {
                // Somebody made the account since it was looked for.
            }
        }
        throw MembershipError.movedMeanwhile
    }

    private func addOnce(_ new: NewMember, by principal: Principal, in scope: OrganizationScope) async throws -> Member
    {
        let now = now()
        // Before a password is hashed, which is dear, and again where it counts.
        try await database.read(scope) { tx in
            try authority(of: principal, in: scope, tx, at: now).check(new.role)
        }
        let existing = try await database.read(for: .authentication) { tx in
            try UserStore.find(email: new.email, in: tx)
        }
        if let existing {
            let role = try await database.read(scope) { tx in
                try MembershipStore(tx: tx, scope: scope).role(of: existing.id)
            }
            throw role == nil ? MembershipError.accountExists : MembershipError.alreadyMember
        }
        try PasswordRules.check(new.password, email: new.email, at: "/password")
        let decision = newAccounts.take(scope.id)
        guard decision.isAllowed else {
            throw MembershipError.tooManyAccounts(retryAfterSeconds: decision.retryAfterSeconds)
        }
        let hash = try await passwords.hash(new.password)
        let user = User(id: ID(), organizationID: scope.id, email: new.email, name: new.name, role: new.role, at: now)
        return try await database.write(scope) { tx in
            try authority(of: principal, in: scope, tx, at: now).check(new.role)
            try UserStore(tx: tx, scope: scope).insert(user, passwordHash: hash)
            try tx.record(.user(IdentityEvents.userCreated, user.id), in: scope, now: now)
            try Self.insert(user.id, new.role, in: scope, tx, at: now)
            return Member(membership: Membership(userID: user.id, role: new.role, at: now), user: user)
        }
    }

    static func insert(
        _ user: ID<UserEntity>,
        _ role: MemberRole,
        in scope: OrganizationScope,
        _ tx: any Transaction,
        at now: Timestamp
    ) throws {
        try MembershipStore(tx: tx, scope: scope).insert(Membership(userID: user, role: role, at: now))
        try tx.record(.member(IdentityEvents.memberAdded, user, role), in: scope, now: now)
    }

    package func change(
        _ user: ID<UserEntity>,
        to role: MemberRole,
        by principal: Principal,
        in scope: OrganizationScope,
        check: @escaping @Sendable (Timestamp) throws -> Void = { _ in }
    ) async throws -> Member {
        let now = now()
        let member = try await database.write(scope) { tx in
            let memberships = MembershipStore(tx: tx, scope: scope)
            var member = try memberships.get(user)
            try check(member.membership.updatedAt)
            let old = member.membership.role
            guard role != old else { return member }
            let authority = try authority(of: principal, in: scope, tx, at: now)
            try authority.check(old)
            try authority.check(role)
            if old == .owner, try memberships.isLastOwner() { throw MembershipError.lastOwner }
            member.membership.role = role
            member.membership.touch(at: now)
            try memberships.save(member.membership)
            if member.user.organizationID == scope.id {
                try UserStore(tx: tx, scope: scope).setRole(role, of: user, at: now)
            }
            let changes = JSON.changes([.of("role", .string(old.rawValue), .string(role.rawValue))])
            try tx.record(.member(IdentityEvents.memberUpdated, user, role, changes), in: scope, now: now)
            return member
        }
        credentials.forget(user, in: scope.id)
        return member
    }

    /// Ends a membership.
    ///
    /// The account goes with the last one.
    package func remove(
        _ user: ID<UserEntity>,
        by principal: Principal,
        in scope: OrganizationScope
    ) async throws {
        let now = now()
        try await end(user, in: scope, at: now) { role, tx in
            try authority(of: principal, in: scope, tx, at: now).check(role)
        }
    }

    /// Ends the caller's own membership of one of their organizations.
    ///
    /// The account goes with the last one.
    package func leave(
        _ organization: ID<OrganizationEntity>,
        by principal: Principal,
        from origin: RequestOrigin? = nil
    ) async throws {
        // A key is a member of nothing.
        guard let user = principal.actor.userID else { throw OrganizationError.unknown }
        let scope = OrganizationScope.authenticated(organization, as: principal.actor, from: origin)
        do {
            try await end(user, in: scope, at: now())
        } catch MembershipError.unknown {
            throw OrganizationError.unknown
        }
    }

    /// Ends a membership, its sessions and what hangs off it, all in one transaction: that it was somebody's home is seen
    /// from the other organizations, so it is one of `SystemPurpose.authentication`.
    private func end(
        _ user: ID<UserEntity>,
        in scope: OrganizationScope,
        at now: Timestamp,
        check: @escaping @Sendable (MemberRole, any Transaction) throws -> Void = { _, _ in }
    ) async throws {
        try await database.write(for: .authentication) { tx in
            let memberships = MembershipStore(tx: tx, scope: scope)
            let member = try memberships.get(user)
            let role = member.membership.role
            try check(role, tx)
            if role == .owner, try memberships.isLastOwner() { throw MembershipError.lastOwner }
            try SessionStore.deleteAll(of: user, in: scope, tx)
            try memberships.delete(user)
            try tx.record(.member(IdentityEvents.memberRemoved, user, role), in: scope, now: now)
            guard member.user.organizationID == scope.id else { return }
            if let next = try MembershipStore.nextHome(of: user, beside: scope.id, in: tx) {
                try UserStore.move(user, from: scope.id, to: next.organization, as: next.role, at: now, in: tx)
            } else {
                try UserStore(tx: tx, scope: scope).delete(user)
                try tx.record(.user(IdentityEvents.userDeleted, user), in: scope, now: now)
            }
        }
        credentials.forget(user, in: scope.id)
    }

    private func authority(
        of principal: Principal,
        in scope: OrganizationScope,
        _ tx: any Transaction,
        at now: Timestamp
    ) throws -> Authority {
        try Authority(of: principal, needing: .membersWrite, in: scope, at: now, roles, tx)
    }
}
