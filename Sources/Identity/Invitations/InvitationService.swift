import Events
package import Kernel
import Storage

/// Asks people in, whether they have an account or not.
package struct InvitationService: Sendable {
    let database: any Database
    let roles: RoleMatrix
    let now: @Sendable () -> Timestamp

    /// Invites an address, in place of an earlier invitation of the same one.
    ///
    /// Its code is in the result and nowhere else.
    package func invite(
        _ new: NewInvitation,
        by principal: Principal,
        in scope: OrganizationScope
    ) async throws -> (invitation: Invitation, code: InvitationCode) {
        let now = now()
        let invitation = Invitation(
            email: new.email,
            role: new.role,
            invitedBy: principal.actor.userID,
            at: now
        )
        let code = InvitationCode()
        try await database.write(scope) { tx in
            let authority = try Authority(of: principal, needing: .membersWrite, in: scope, at: now, roles, tx)
            try authority.check(invitation.role)
            guard try !MembershipStore(tx: tx, scope: scope).holds(email: invitation.email) else {
                throw MembershipError.alreadyMember
            }
            let invitations = InvitationStore(tx: tx, scope: scope)
            if let old = try invitations.find(email: invitation.email) {
                try authority.check(old.role)
                try invitations.delete(old.id)
                try tx.record(.invitation(IdentityEvents.invitationDeleted, old), in: scope, now: now)
            }
            try invitations.insert(invitation, hash: code.hash)
            try tx.record(.invitation(IdentityEvents.invitationCreated, invitation), in: scope, now: now)
        }
        return (invitation, code)
    }

    package func list(_ page: PageRequest, in scope: OrganizationScope) async throws -> Page<Invitation> {
        let now = now()
        return try await database.read(scope) { tx in
            try InvitationStore(tx: tx, scope: scope).list(page, at: now)
        }
    }

    package func get(_ id: ID<Invitation>, in scope: OrganizationScope) async throws -> Invitation {
        let now = now()
        return try await database.read(scope) { tx in
            guard let invitation = try InvitationStore(tx: tx, scope: scope).find(id), invitation.expiresAt > now else {
                throw InvitationError.unknown
            }
            return invitation
        }
    }

    /// Takes an invitation back.
    package func delete(
        _ id: ID<Invitation>,
        by principal: Principal,
        in scope: OrganizationScope
    ) async throws {
        let now = now()
        try await database.write(scope) { tx in
            let invitations = InvitationStore(tx: tx, scope: scope)
            guard let invitation = try invitations.find(id) else { throw InvitationError.unknown }
            try Authority(of: principal, needing: .membersWrite, in: scope, at: now, roles, tx).check(invitation.role)
            try invitations.delete(id)
            try tx.record(.invitation(IdentityEvents.invitationDeleted, invitation), in: scope, now: now)
        }
    }

    /// Makes the caller a member where they were invited to.
    package func accept(
        _ secret: Secret,
        by principal: Principal,
        from origin: RequestOrigin? = nil
    ) async throws -> Belonging {
        let user = try principal.user
        guard let code = InvitationCode(secret) else { throw InvitationError.unknown }
        let now = now()
        let open = try await database.read(for: .authentication) { tx in
            guard let open = try InvitationStore.open(code, at: now, in: tx),
                try UserStore.find(user, in: tx)?.email == open.invitation.email
            else { throw InvitationError.unknown }
            try MembershipStore.checkRoom(for: user, in: tx)
            return open
        }
        let scope = OrganizationScope.authenticated(open.organization, as: .user(user), from: origin)
        return try await database.write(scope) { tx in
            let (role, organization) = try Self.take(open, in: scope, roles, tx, at: now)
            try MembershipService.insert(user, role, in: scope, tx, at: now)
            return Belonging(
                role: role,
                joinedAt: now,
                organization: Belonging.OrganizationOutline(
                    id: organization.id,
                    name: organization.name,
                    slug: organization.slug,
                    status: organization.status
                )
            )
        }
    }

    /// Uses an invitation up, for somebody who becomes a member in the same transaction.
    static func take(
        _ open: OpenInvitation,
        in scope: OrganizationScope,
        _ roles: RoleMatrix,
        _ tx: any Transaction,
        at now: Timestamp
    ) throws -> (role: MemberRole, organization: Organization) {
        guard let invitation = try InvitationStore(tx: tx, scope: scope).take(open.invitation.id, at: now) else {
            throw InvitationError.unknown
        }
        // It is worth no more than what its maker may still give.
        if let inviter = invitation.invitedBy {
            let role = try MembershipStore(tx: tx, scope: scope).role(of: inviter)
            let authority = Authority(of: role, roles)
            guard authority.permissions.contains(.membersWrite), authority.covers(invitation.role) else {
                throw InvitationError.unknown
            }
        }
        let organization = try OrganizationStore(tx: tx, scope: scope).get()
        guard organization.status == .active else { throw InvitationError.unknown }
        try tx.record(.invitation(IdentityEvents.invitationAccepted, invitation), in: scope, now: now)
        return (invitation.role, organization)
    }
}
