import Storage

/// Who may see the rows of a table on PostgreSQL.
///
/// SQLite has no roles; there these statements are blank.
enum RowSecurity {
    /// Rows of one organization, seen by transactions that act in it, and by the purposes listed for a command.
    ///
    /// - Parameter column: The column that holds the organization.
    static func tenant(_ table: String, column: String, _ policies: TenantTable.Policies) -> [SQL] {
        let own = "\(column) = (SELECT nullif(current_setting('kuvend.organization_id', true), '')::uuid)"
        var statements = protect(table)
        statements.append(postgres("CREATE POLICY tenant ON \(table) USING (\(own)) WITH CHECK (\(own))"))
        if let visibleIf = policies.visibleIf {
            statements.append(postgres("CREATE POLICY members ON \(table) FOR SELECT USING (\(visibleIf))"))
        }
        // A command that changes rows also has to see them.
        let commands: [(String, [String])] = [
            ("SELECT", policies.select + policies.update + policies.delete + policies.all),
            ("INSERT", policies.insert + policies.all), ("UPDATE", policies.update + policies.all),
            ("DELETE", policies.delete + policies.all),
        ]
        for (command, purposes) in commands where !purposes.isEmpty {
            let condition = self.condition(purposes)
            let clauses =
                switch command {
                case "INSERT": "WITH CHECK (\(condition))"
                case "UPDATE": "USING (\(condition)) WITH CHECK (\(condition))"
                default: "USING (\(condition))"
                }
            statements.append(
                postgres("CREATE POLICY purpose_\(command.lowercased()) ON \(table) FOR \(command) \(clauses)")
            )
        }
        return statements
    }

    /// Rows that belong to no organization, for one purpose only.
    static func system(_ table: String, purpose: String) -> [SQL] {
        let condition = self.condition([purpose])
        return protect(table) + [
            postgres("CREATE POLICY purpose ON \(table) USING (\(condition)) WITH CHECK (\(condition))")
        ]
    }

    /// A catalogue that everyone may read and the server may not change.
    static func catalogue(_ table: String) -> [SQL] {
        [postgres("GRANT SELECT ON \(table) TO \(ProductSchema.serverRole)")]
    }

    /// Makes the server's role where it does not exist; a cluster has one for all its databases.
    static let role = postgres(
        """
        DO $$ BEGIN
            IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '\(ProductSchema.serverRole)') THEN
                CREATE ROLE \(ProductSchema.serverRole) NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END $$
        """
    )

    /// Lets the migrating user take the server's role, so that one address can serve for both.
    static let membership = postgres("GRANT \(ProductSchema.serverRole) TO CURRENT_USER")

    static func postgres(_ text: String) -> SQL { "\(Fragment(sqlite: "", postgres: text))" }

    static func sqlite(_ text: String) -> SQL { "\(Fragment(sqlite: text, postgres: ""))" }

    private static func protect(_ table: String) -> [SQL] {
        [
            postgres("ALTER TABLE \(table) ENABLE ROW LEVEL SECURITY"),
            postgres("ALTER TABLE \(table) FORCE ROW LEVEL SECURITY"),
            postgres("GRANT SELECT, INSERT, UPDATE, DELETE ON \(table) TO \(ProductSchema.serverRole)"),
        ]
    }

    private static func condition(_ purposes: [String]) -> String {
        var unique: [String] = []
        for purpose in purposes.map({ "'\($0)'" }) where !unique.contains(purpose) { unique.append(purpose) }
        return "(SELECT current_setting('kuvend.purpose', true)) IN (\(unique.joined(separator: ", ")))"
    }
}

extension SQL {
    /// The statement as SQLite reads it, and a blank one on PostgreSQL.
    var onlySQLite: SQL { RowSecurity.sqlite(rendered(for: .sqlite).text) }
}
