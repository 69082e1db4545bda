package import Storage

/// All tables and migrations of the product, in order.
package enum ProductSchema {
    /// In an order in which each table comes after those that it refers to.
    package static let subsystems: [SubsystemSchema] = [
        .billingCatalogue, .identity, .agents, .messaging, .knowledge, .workflows, .billing, .voice, .webhooks, .audit,
        .jobs,
        .events, .web,
    ]

    package static let migrations: [Migration] = [
        Migration(100, "master_schema", preparation + tables(since: 100)),
        Migration(101, "seed_plans", PlanCatalogue.statements),
    ]

    /// The role whose rights the server's connections have.
    ///
    /// It owns nothing and cannot bypass row level security.
    package static let serverRole = "kuvend_app"

    package static var tables: [any Table] { subsystems.flatMap(\.tables) }

    /// What creates the tables that came with a migration.
    private static func tables(since migration: Int) -> [SQL] {
        let new = tables.filter { $0.since == migration }
        return new.flatMap(\.statements) + new.flatMap(\.protection)
    }

    /// Every table with rows of organizations by the column `organization_id`, those that refer to others first: the
    /// order in which an organization is deleted.
    package static let organizationTables: [String] = {
        var left = tables.filter(\.holdsOrganizations)
        var ordered: [String] = []
        while !left.isEmpty {
            // What nobody refers to that is still there; in a circle, which the declarations do not have, the first.
            let next = left.firstIndex { table in
                !left.contains { $0.name != table.name && $0.references.contains(table.name) }
            }
            ordered.append(left.remove(at: next ?? 0).name)
        }
        return ordered
    }()

    private static let preparation: [SQL] = [
        RowSecurity.role, RowSecurity.membership, RowSecurity.postgres("CREATE EXTENSION IF NOT EXISTS vector"),
        RowSecurity.postgres("GRANT USAGE ON SCHEMA public TO \(serverRole)"),
        RowSecurity.postgres("GRANT SELECT ON schema_migrations TO \(serverRole)"),
    ]
}
