import Jobs
package import Kernel
import Storage

package struct MembershipService: Sendable {
    let database: any Database
    let passwords: PasswordHasher
    let credentials: CredentialCheck
    let now: @Sendable () -> Timestamp

    package func list(_ page: PageRequest, in scope: OrganizationScope) async throws -> Page<Member> {
        try await database.read(scope) { tx in try MembershipStore(tx: tx, scope: scope).list(page) }
    }

    package func get(_ user: ID<UserEntity>, in scope: OrganizationScope) async throws -> Member {
        try await database.read(scope) { tx in try MembershipStore(tx: tx, scope: scope).get(user) }
    }

    /// Adds the account with an address, or makes one with a first password.
    package func add(_ new: NewMember, by principal: Principal, in scope: OrganizationScope) async throws -> Member {
        for _ in 0..<3 {
            do {
                return try await addOnce(new, by: principal, in: scope)
            } catch UserError.emailTaken {
                // Somebody made the account since it was looked for.
            } catch MembershipError.movedMeanwhile {
                // Somebody deleted it.
            }
        }
        throw MembershipError.movedMeanwhile
    }

    private func addOnce(_ new: NewMember, by principal: Principal, in scope: OrganizationScope) async throws -> Member
    {
        let now = now()
        let existing = try await database.read(for: .authentication) { tx in
            try UserStore.find(email: new.email, in: tx)
        }
        if let existing {
            return try await database.write(scope) { tx in
                try authority(of: principal, in: scope, tx).check(new.role)
                try insert(existing.id, new.role, in: scope, tx, at: now)
                return Member(membership: Membership(userID: existing.id, role: new.role, at: now), user: existing)
            }
        }
        guard let password = new.password else { throw MembershipError.passwordRequired }
        try PasswordRules.check(password, email: new.email, at: "/password")
        let hash = try await passwords.hash(password)
        let user = User(id: ID(), organizationID: scope.id, email: new.email, name: new.name, role: new.role, at: now)
        return try await database.write(scope) { tx in
            try authority(of: principal, in: scope, tx).check(new.role)
            try UserStore(tx: tx, scope: scope).insert(user, passwordHash: hash)
            try insert(user.id, new.role, in: scope, tx, at: now)
            try tx.record(.user(IdentityEvents.userCreated, user.id), in: scope, now: now)
            return Member(membership: Membership(userID: user.id, role: new.role, at: now), user: user)
        }
    }

    private func insert(
        _ user: ID<UserEntity>,
        _ role: Role,
        in scope: OrganizationScope,
        _ tx: any Transaction,
        at now: Timestamp
    ) throws {
        try MembershipStore(tx: tx, scope: scope).insert(Membership(userID: user, role: role, at: now))
        try tx.record(.member(IdentityEvents.memberAdded, user, role), in: scope, now: now)
    }

    package func change(
        _ user: ID<UserEntity>,
        to role: Role,
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
            let authority = try authority(of: principal, in: scope, tx)
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
        // Checked before anything is changed, and again where it counts.
        let home = try await database.read(scope) { tx in
            let memberships = MembershipStore(tx: tx, scope: scope)
            let member = try memberships.get(user)
            try authority(of: principal, in: scope, tx).check(member.membership.role)
            if member.membership.role == .owner, try memberships.isLastOwner() { throw MembershipError.lastOwner }
            return member.user.organizationID
        }
        let hasOther = try await database.write(for: .authentication) { tx in
            guard let next = try MembershipStore.nextHome(of: user, beside: scope.id, in: tx) else { return false }
            if home == scope.id {
                try UserStore.move(user, from: scope.id, to: next.organization, as: next.role, at: now, in: tx)
            }
            return true
        }
        try await database.write(scope) { tx in
            let memberships = MembershipStore(tx: tx, scope: scope)
            let member = try memberships.get(user)
            let role = member.membership.role
            try authority(of: principal, in: scope, tx).check(role)
            if role == .owner, try memberships.isLastOwner() { throw MembershipError.lastOwner }
            try SessionStore.deleteAll(of: user, in: scope, tx)
            try memberships.delete(user)
            try tx.record(.member(IdentityEvents.memberRemoved, user, role), in: scope, now: now)
            if member.user.organizationID == scope.id {
                guard !hasOther else { throw MembershipError.movedMeanwhile }
                try UserStore(tx: tx, scope: scope).delete(user)
                try tx.record(.user(IdentityEvents.userDeleted, user), in: scope, now: now)
            }
        }
        credentials.forget(user, in: scope.id)
    }

    /// What somebody may decide, by their membership as it is in this transaction; keys by what they hold.
    private func authority(
        of principal: Principal,
        in scope: OrganizationScope,
        _ tx: any Transaction
    ) throws -> Authority {
        guard case .user(let user) = principal.actor else {
            return Authority(permissions: principal.permissions, isPerson: false)
        }
        guard let role = try MembershipStore(tx: tx, scope: scope).role(of: user) else {
            return Authority(permissions: [], isPerson: true)
        }
        return Authority(permissions: RoleMatrix.permissions(of: role), isPerson: true)
    }
}
