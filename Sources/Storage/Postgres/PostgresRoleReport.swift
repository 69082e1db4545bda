/// What the role of the server's transactions may do in the database.
///
/// Row level security is the second wall between organizations. It does not hold for superusers, for roles that bypass
/// it, and - unless forced - for owners of tables, so the server runs as none of them.
package struct PostgresRoleReport: Sendable, Hashable, RowDecodable {
    /// The role that transactions run as.
    package let role: String
    /// The user that the URL names.
    package let user: String
    package let isSuperuser: Bool
    package let bypassesRowSecurity: Bool
    /// Tables of the schema that the role owns, or whose owner's rights it has.
    package let ownedTables: Int
    package let schema: String?
    /// Such as `15.20`.
    package let serverVersion: String
    /// Such as `150020`.
    package let serverVersionNumber: Int
    /// The version of pgvector; nil when the extension is missing.
    package let vectorVersion: String?

    package init(row: inout Row) throws {
        role = try row.next()
        user = try row.next()
        isSuperuser = try row.next()
        bypassesRowSecurity = try row.next()
        ownedTables = try row.next()
        schema = try row.next()
        serverVersion = try row.next()
        serverVersionNumber = try row.next()
        vectorVersion = try row.next()
    }

    /// Whether row level security holds for the role.
    package var isConfined: Bool { !isSuperuser && !bypassesRowSecurity && ownedTables == 0 }

    static let statement: SQL = """
        SELECT current_user, session_user, r.rolsuper, r.rolbypassrls,
            (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
                    AND pg_has_role(r.oid, c.relowner, 'USAGE')),
            current_schema(), current_setting('server_version'), current_setting('server_version_num')::int,
            (SELECT extversion FROM pg_extension WHERE extname = 'vector')
        FROM pg_roles r WHERE r.rolname = current_user
        """
}
