import Kernel
package import Storage

extension User: RowDecodable {
    package init(row: inout Row) throws {
        id = try row.next()
        organizationID = try row.next()
        email = try row.next()
        name = try row.next()
        role = try row.next()
        emailVerifiedAt = try row.next()
        image = try row.next()
        createdAt = try row.next()
        updatedAt = try row.next()
    }
}

/// An account and what its password is compared to.
struct UserCredential: RowDecodable, Sendable {
    let passwordHash: String?
    let user: User

    init(row: inout Row) throws {
        passwordHash = try row.next()
        user = try User(row: &row)
    }
}

/// Users are the one thing that may belong to several organizations: what is static here works in transactions of
/// `SystemPurpose.authentication`, the rest inside one organization.
struct UserStore {
    let tx: any Transaction
    let scope: OrganizationScope

    static let columns: SQL = "id, organization_id, email, name, role, email_verified, image, created_at, updated_at"

    /// The columns in a join that calls the table `u`.
    static let joinedColumns: SQL = """
        u.id, u.organization_id, u.email, u.name, u.role, u.email_verified, u.image, u.created_at, u.updated_at
        """

    static func find(_ id: ID<UserEntity>, in tx: any Transaction) throws -> User? {
        try tx.first("SELECT \(columns) FROM users WHERE id = \(id)")
    }

    static func find(email: String, in tx: any Transaction) throws -> User? {
        try tx.first("SELECT \(columns) FROM users WHERE email = \(User.folded(email))")
    }

    static func credential(email: String, in tx: any Transaction) throws -> UserCredential? {
        try tx.first("SELECT password_hash, \(columns) FROM users WHERE email = \(User.folded(email))")
    }

    static func credential(of id: ID<UserEntity>, in tx: any Transaction) throws -> UserCredential? {
        try tx.first("SELECT password_hash, \(columns) FROM users WHERE id = \(id)")
    }

    /// Replaces a password that is still the one that was checked.
    ///
    /// - Returns: Whether it was.
    static func replacePassword(
        of id: ID<UserEntity>,
        _ old: String,
        by new: String,
        at now: Timestamp,
        in tx: any Transaction
    ) throws -> Bool {
        try tx.execute(
            """
            UPDATE users SET password_hash = \(new), updated_at = \(now)
            WHERE id = \(id) AND password_hash = \(old)
            """
        ) == 1
    }

    /// Replaces a password, whatever it was.
    static func setPassword(of id: ID<UserEntity>, to hash: String, at now: Timestamp, in tx: any Transaction) throws {
        try tx.run("UPDATE users SET password_hash = \(hash), updated_at = \(now) WHERE id = \(id)")
    }

    /// Makes another organization the home of a user.
    static func move(
        _ id: ID<UserEntity>,
        from old: ID<OrganizationEntity>,
        to new: ID<OrganizationEntity>,
        as role: MemberRole,
        at now: Timestamp,
        in tx: any Transaction
    ) throws {
        try tx.run(
            """
            UPDATE users SET organization_id = \(new), role = \(role), updated_at = \(now)
            WHERE id = \(id) AND organization_id = \(old)
            """
        )
    }

    func insert(_ user: User, passwordHash: String) throws {
        try tx.run(
            """
            INSERT INTO users (password_hash, \(Self.columns))
            VALUES (\(passwordHash), \(user.id), \(user.organizationID), \(user.email), \(user.name), \(user.role),
                \(user.emailVerifiedAt), \(user.image), \(user.createdAt), \(user.updatedAt))
            """,
            violations: [.unique("users_email_key", UserError.emailTaken)]
        )
    }

    /// A user whose home this is.
    func findAtHome(_ id: ID<UserEntity>) throws -> User? {
        try tx.first("SELECT \(Self.columns) FROM users WHERE organization_id = \(scope.id) AND id = \(id)")
    }

    func save(_ user: User) throws {
        try tx.run(
            """
            UPDATE users SET name = \(user.name), image = \(user.image), updated_at = \(user.updatedAt)
            WHERE organization_id = \(scope.id) AND id = \(user.id)
            """
        )
    }

    /// Keeps the copy of the home membership's role.
    func setRole(_ role: MemberRole, of id: ID<UserEntity>, at now: Timestamp) throws {
        try tx.run(
            """
            UPDATE users SET role = \(role), updated_at = \(now) WHERE organization_id = \(scope.id) AND id = \(id)
            """
        )
    }

    /// Deletes an account that belongs to no organization any more.
    ///
    /// - Throws: `MembershipError.movedMeanwhile`, now or with the commit, when it does.
    func delete(_ id: ID<UserEntity>) throws {
        try tx.run(
            "DELETE FROM users WHERE organization_id = \(scope.id) AND id = \(id)",
            violations: [.foreignKey(MembershipError.movedMeanwhile)]
        )
    }
}
