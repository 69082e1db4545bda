import Kernel
package import Storage

extension Membership: RowDecodable {
    package init(row: inout Row) throws {
        userID = try row.next()
        role = try row.next()
        createdAt = try row.next()
        updatedAt = try row.next()
    }
}

extension Member: RowDecodable {
    package init(row: inout Row) throws {
        membership = try Membership(row: &row)
        user = try User(row: &row)
    }
}

extension Belonging: RowDecodable {
    package init(row: inout Row) throws {
        role = try row.next()
        joinedAt = try row.next()
        organization = OrganizationOutline(
            id: try row.next(),
            name: try row.next(),
            slug: try row.next(),
            status: try row.next()
        )
    }
}

extension ActingMember: RowDecodable {
    init(row: inout Row) throws {
        role = try row.next()
        organization = try Organization(row: &row)
    }
}

/// What is about one organization works in its transactions, and in those of `SystemPurpose.authentication`.
struct MembershipStore {
    let tx: any Transaction
    let scope: OrganizationScope

    static let columns: SQL = "user_id, role, created_at, updated_at"
    private static let memberColumns: SQL = """
        m.user_id, m.role, m.created_at, m.updated_at, \(UserStore.joinedColumns)
        """

    /// The organizations of a user that were not deleted, in the order in which they joined, in a transaction of
    /// `SystemPurpose.authentication`.
    static func all(of user: ID<UserEntity>, in tx: any Transaction) throws -> [Belonging] {
        try tx.all(
            """
            SELECT m.role, m.created_at, o.id, o.name, o.slug, o.status
            FROM memberships m JOIN organizations o ON o.id = m.organization_id
            WHERE m.user_id = \(user) AND o.status <> 'deleted'
            ORDER BY m.created_at, m.organization_id
            """
        )
    }

    /// One of them in full, in a transaction of `SystemPurpose.authentication`.
    static func place(
        of user: ID<UserEntity>,
        in organization: ID<OrganizationEntity>,
        _ tx: any Transaction
    ) throws -> ActingMember? {
        try tx.first(
            """
            SELECT m.role, \(OrganizationStore.joinedColumns)
            FROM memberships m JOIN organizations o ON o.id = m.organization_id
            WHERE m.organization_id = \(organization) AND m.user_id = \(user) AND o.status <> 'deleted'
            """
        )
    }

    /// Whether a user may belong to one more, in a transaction of `SystemPurpose.authentication`.
    ///
    /// What is written elsewhere at the same time is not seen, so this holds roughly.
    static func checkRoom(for user: ID<UserEntity>, in tx: any Transaction) throws {
        let rows = try tx.rows(
            """
            SELECT o.status FROM memberships m JOIN organizations o ON o.id = m.organization_id
            WHERE m.user_id = \(user) LIMIT \(limit: Belonging.limit * 2)
            """
        ) { row in try row.next(Organization.Status.self) }
        // Deleted ones count until they are purged, or making and deleting would have no end.
        guard rows.count < Belonging.limit * 2, rows.count(where: { $0 != .deleted }) < Belonging.limit else {
            throw OrganizationError.tooMany
        }
    }

    /// Where a user belongs beside one organization: where they joined first, deleted organizations only when there is
    /// no other.
    ///
    /// In a transaction of `SystemPurpose.authentication`.
    static func nextHome(
        of user: ID<UserEntity>,
        beside organization: ID<OrganizationEntity>,
        in tx: any Transaction
    ) throws -> (organization: ID<OrganizationEntity>, role: MemberRole)? {
        try tx.rows(
            """
            SELECT m.organization_id, m.role FROM memberships m JOIN organizations o ON o.id = m.organization_id
            WHERE m.user_id = \(user) AND m.organization_id <> \(organization)
            ORDER BY CASE o.status WHEN 'deleted' THEN 1 ELSE 0 END, m.created_at, m.organization_id LIMIT 1
            """
        ) { row in (organization: try row.next(ID<OrganizationEntity>.self), role: try row.next(MemberRole.self)) }
        .first
    }

    func role(of user: ID<UserEntity>) throws -> MemberRole? {
        try tx.value("SELECT role FROM memberships WHERE organization_id = \(scope.id) AND user_id = \(user)")
    }

    /// Whether an address, in lower case, belongs to a member.
    func holds(email: String) throws -> Bool {
        try tx.value(
            """
            SELECT m.user_id FROM users u JOIN memberships m ON m.user_id = u.id
            WHERE u.email = \(email) AND m.organization_id = \(scope.id)
            """,
            as: ID<UserEntity>.self
        ) != nil
    }

    func find(_ user: ID<UserEntity>) throws -> Member? {
        try tx.first(
            """
            SELECT \(Self.memberColumns) FROM memberships m JOIN users u ON u.id = m.user_id
            WHERE m.organization_id = \(scope.id) AND m.user_id = \(user)
            """
        )
    }

    func get(_ user: ID<UserEntity>) throws -> Member {
        guard let member = try find(user) else { throw MembershipError.unknown }
        return member
    }

    /// In the order in which they joined.
    func list(_ page: PageRequest) throws -> Page<Member> {
        var conditions: [SQL] = ["m.organization_id = \(scope.id)"]
        if let after = page.after {
            conditions.append("(m.created_at, m.user_id) > (\(after.time), \(after.id(of: UserEntity.self)))")
        }
        let rows: [Member] = try tx.all(
            """
            SELECT \(Self.memberColumns) FROM memberships m JOIN users u ON u.id = m.user_id
            WHERE \(SQL.join(conditions, " AND "))
            ORDER BY m.created_at, m.user_id LIMIT \(limit: page.limit + 1)
            """
        )
        return Page(cutting: rows, to: page.limit) { Cursor(time: $0.membership.createdAt, id: $0.user.id) }
    }

    /// Whether taking the role of one owner away leaves none.
    ///
    /// Transactions are serializable, so two owners cannot leave at the same time.
    func isLastOwner() throws -> Bool {
        let owners: [ID<UserEntity>] = try tx.values(
            "SELECT user_id FROM memberships WHERE organization_id = \(scope.id) AND role = 'owner' LIMIT 2"
        )
        return owners.count < 2
    }

    func insert(_ membership: Membership) throws {
        let count = try tx.execute(
            """
            INSERT INTO memberships (organization_id, \(Self.columns))
            VALUES (\(scope.id), \(membership.userID), \(membership.role), \(membership.createdAt),
                \(membership.updatedAt))
            ON CONFLICT DO NOTHING
            """,
            violations: [.foreignKey(MembershipError.movedMeanwhile)]
        )
        guard count == 1 else { throw MembershipError.alreadyMember }
    }

    func save(_ membership: Membership) throws {
        try tx.run(
            """
            UPDATE memberships SET role = \(membership.role), updated_at = \(membership.updatedAt)
            WHERE organization_id = \(scope.id) AND user_id = \(membership.userID)
            """
        )
    }

    func delete(_ user: ID<UserEntity>) throws {
        try tx.run("DELETE FROM memberships WHERE organization_id = \(scope.id) AND user_id = \(user)")
    }
}
