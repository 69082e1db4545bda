import Kernel
package import Storage

extension Organization: RowDecodable {
    package init(row: inout Row) throws {
        id = try row.next()
        name = try row.next()
        slug = try row.next()
        plan = try row.next()
        status = try row.next()
        settings = try row.next()
        deletedAt = try row.next()
        createdAt = try row.next()
        updatedAt = try row.next()
    }
}

struct OrganizationStore {
    let tx: any Transaction
    let scope: OrganizationScope

    static let columns: SQL = "id, name, slug, plan, status, settings, deleted_at, created_at, updated_at"

    /// The columns in a join that calls the table `o`.
    static let joinedColumns: SQL = """
        o.id, o.name, o.slug, o.plan, o.status, o.settings, o.deleted_at, o.created_at, o.updated_at
        """

    /// The organization of the scope, also when it was deleted.
    func find() throws -> Organization? {
        try tx.first("SELECT \(Self.columns) FROM organizations WHERE id = \(scope.id)")
    }

    /// The id of the organization with a slug, unless it was deleted, in a transaction of `SystemPurpose.authentication`.
    static func id(ofSlug slug: String, in tx: any Transaction) throws -> ID<OrganizationEntity>? {
        try tx.value("SELECT id FROM organizations WHERE slug = \(slug) AND status <> 'deleted'")
    }

    /// The organization of the scope, unless it was deleted.
    func get() throws -> Organization {
        let found: Organization? = try tx.first(
            "SELECT \(Self.columns) FROM organizations WHERE id = \(scope.id) AND status <> 'deleted'"
        )
        guard let found else { throw OrganizationError.unknown }
        return found
    }

    func insert(_ organization: Organization) throws {
        try tx.run(
            """
            INSERT INTO organizations (\(Self.columns))
            VALUES (\(organization.id), \(organization.name), \(organization.slug), \(organization.plan),
                \(organization.status), \(organization.settings), \(organization.deletedAt), \(organization.createdAt),
                \(organization.updatedAt))
            """,
            violations: [
                .unique("organizations_slug_key", OrganizationError.slugTaken),
                .unique("organizations_pkey", OrganizationError.exists),
            ]
        )
    }

    func save(_ organization: Organization) throws {
        try tx.run(
            """
            UPDATE organizations SET name = \(organization.name), slug = \(organization.slug),
                status = \(organization.status), settings = \(organization.settings),
                deleted_at = \(organization.deletedAt), updated_at = \(organization.updatedAt)
            WHERE id = \(scope.id)
            """,
            violations: [.unique("organizations_slug_key", OrganizationError.slugTaken)]
        )
    }

    /// The organizations that a user belongs to, newest first, in a transaction of `SystemPurpose.authentication`.
    static func list(of user: ID<UserEntity>, _ page: PageRequest, in tx: any Transaction) throws -> Page<Organization>
    {
        var conditions: [SQL] = ["m.user_id = \(user)", "o.status <> 'deleted'"]
        if let after = page.after {
            conditions.append("(o.created_at, o.id) < (\(after.time), \(after.id(of: OrganizationEntity.self)))")
        }
        let rows: [Organization] = try tx.all(
            """
            SELECT \(joinedColumns) FROM memberships m JOIN organizations o ON o.id = m.organization_id
            WHERE \(SQL.join(conditions, " AND "))
            ORDER BY o.created_at DESC, o.id DESC LIMIT \(limit: page.limit + 1)
            """
        )
        return Page(cutting: rows, to: page.limit) { Cursor(time: $0.createdAt, id: $0.id) }
    }
}
