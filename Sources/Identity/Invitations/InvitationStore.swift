import Kernel
package import Storage

extension Invitation: RowDecodable {
    package init(row: inout Row) throws {
        id = try row.next()
        email = try row.next()
        role = try row.next()
        invitedBy = try row.next()
        createdAt = try row.next()
        expiresAt = try row.next()
    }
}

/// An invitation and where it leads.
struct OpenInvitation: RowDecodable, Sendable {
    let organization: ID<OrganizationEntity>
    let invitation: Invitation

    init(row: inout Row) throws {
        organization = try row.next()
        invitation = try Invitation(row: &row)
    }
}

struct InvitationStore {
    let tx: any Transaction
    let scope: OrganizationScope

    static let columns: SQL = "id, email, role, invited_by, created_at, expires_at"

    /// The invitation with a code, as long as it can be taken, in a transaction of `SystemPurpose.authentication`.
    static func open(_ code: InvitationCode, at now: Timestamp, in tx: any Transaction) throws -> OpenInvitation? {
        try tx.first(
            """
            SELECT i.organization_id, i.id, i.email, i.role, i.invited_by, i.created_at, i.expires_at
            FROM invitations i JOIN organizations o ON o.id = i.organization_id
            WHERE i.code_hash = \(code.hash) AND i.expires_at > \(now) AND o.status = 'active'
            """
        )
    }

    /// Uses an invitation up.
    ///
    /// - Returns: nil when it cannot be taken any more.
    func take(_ id: ID<Invitation>, at now: Timestamp) throws -> Invitation? {
        guard let found = try find(id), found.expiresAt > now else { return nil }
        try delete(id)
        return found
    }

    func find(_ id: ID<Invitation>) throws -> Invitation? {
        try tx.first("SELECT \(Self.columns) FROM invitations WHERE organization_id = \(scope.id) AND id = \(id)")
    }

    func find(email: String) throws -> Invitation? {
        try tx.first(
            "SELECT \(Self.columns) FROM invitations WHERE organization_id = \(scope.id) AND email = \(email)"
        )
    }

    /// Those that can be taken, newest first.
    func list(_ page: PageRequest, at now: Timestamp) throws -> Page<Invitation> {
        try Listing(of: "invitations", Self.columns, in: scope, page, where: ["expires_at > \(now)"])
            .values(in: tx) { Cursor(time: $0.createdAt, id: $0.id) }
    }

    func insert(_ invitation: Invitation, hash: String) throws {
        try tx.run(
            """
            INSERT INTO invitations (organization_id, code_hash, \(Self.columns))
            VALUES (\(scope.id), \(hash), \(invitation.id), \(invitation.email), \(invitation.role),
                \(invitation.invitedBy), \(invitation.createdAt), \(invitation.expiresAt))
            """
        )
    }

    func delete(_ id: ID<Invitation>) throws {
        try tx.run("DELETE FROM invitations WHERE organization_id = \(scope.id) AND id = \(id)")
    }
}
