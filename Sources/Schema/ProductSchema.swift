package import Storage

/// All migrations of the product, in order.
package enum ProductSchema {
    package static let migrations: [Migration] = [
        Migration(100, "master_schema", MasterSchema.statements),
        Migration(101, "seed_plans", PlanCatalogue.statements),
    ]

    /// The role whose rights the server's connections have.
    ///
    /// It owns nothing and cannot bypass row level security.
    package static let serverRole = "kuvend_app"
}
