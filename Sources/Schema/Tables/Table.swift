package import Storage

/// A table as its subsystem declares it, once: its statement, its protection and its place in the order of deletion follow.
package protocol Table: Sendable {
    var name: String { get }
    /// A sentence for `docs/schema.md`.
    var meaning: String { get }
    /// The tables that its rows refer to.
    var references: Set<String> { get }
    /// Whether its rows belong to organizations by a column `organization_id`.
    var holdsOrganizations: Bool { get }
    /// The purposes that its policies name.
    var purposes: Set<String> { get }
    /// The migration that creates it.
    var since: Int { get }
    /// Creates it, with its indexes.
    var statements: [SQL] { get }
    /// Row level security and grants; may name other tables of the same migration.
    var protection: [SQL] { get }
}

/// What the kinds of tables have in common.
struct TableShape: Sendable {
    let name: String
    let columns: [Column]
    let key: [String]
    /// Further unique keys.
    var unique: [[String]] = []
    var checks: [Check] = []
    var references: [Reference] = []
    var indexes: [Index] = []
    /// A text column with a full-text index.
    var fullText: String?
    /// Statements beside the declaration, such as storage parameters.
    var more: [SQL] = []
    /// The migration that creates it.
    var since = 100

    /// `CREATE TABLE`.
    ///
    /// - Parameter temporaryName: For a rebuild: another name, with constraints that are still named after the table.
    func definition(named temporaryName: String? = nil) -> SQL {
        var lines: [SQL] = columns.map(\.definition)
        let keyColumns = key.joined(separator: ", ")
        if fullText != nil {
            // SQLite's implicit row numbers change when a table is rebuilt, and the text index knows rows by them.
            let entry = Fragment(sqlite: "entry INTEGER PRIMARY KEY,\n    ", postgres: "")
            lines[0] = "\(entry)" + lines[0]
            lines.append(
                "\(Fragment(sqlite: "CONSTRAINT \(name)_pkey UNIQUE (\(keyColumns))", postgres: "PRIMARY KEY (\(keyColumns))"))"
            )
        } else if !key.isEmpty {
            lines.append(SQL(trusted: "PRIMARY KEY (\(keyColumns))"))
        }
        for columns in unique {
            let name = "\(name)_\(columns.joined(separator: "_"))_key"
            lines.append(SQL(trusted: "CONSTRAINT \(name) UNIQUE (\(columns.joined(separator: ", ")))"))
        }
        lines += references.map { $0.constraint(of: name) }
        lines += checks.map { SQL(trusted: "CONSTRAINT \(name)_\($0.name)_check CHECK (\($0.condition))") }
        return "CREATE TABLE \(SQL(trusted: temporaryName ?? name)) (\n    \(SQL.join(lines, ",\n    "))\n)"
    }

    var statements: [SQL] {
        [definition()] + indexes.map { $0.statement(on: name) }
            + (fullText.map { FullText.index(name, column: $0) } ?? []) + more
    }

    /// Builds the table anew on SQLite, which cannot change the constraints of a table that exists; blank on PostgreSQL.
    ///
    /// For a migration, which runs with foreign keys switched off and checks them at its end. The rows of a table with full text keep their entries.
    ///
    /// - Parameter old: The columns that the table has before and keeps; each new one needs a default or allows NULL.
    func rebuild(keeping old: [String]) -> [SQL] {
        let temporary = "\(name)_rebuilt"
        // Rows keep their entries, so the text index need not be touched; only what connects it with the table.
        let columns = ((fullText == nil ? [] : ["entry"]) + old).joined(separator: ", ")
        let cut = fullText == nil ? [] : ["DROP VIEW \(name)_words"]
        let move = [
            "INSERT INTO \(temporary) (\(columns)) SELECT \(columns) FROM \(name)", "DROP TABLE \(name)",
            "ALTER TABLE \(temporary) RENAME TO \(name)",
        ]
        let links = fullText.map { FullText.sqliteLinks(name, column: $0) } ?? []
        return cut.map(RowSecurity.sqlite) + [definition(named: temporary).onlySQLite] + move.map(RowSecurity.sqlite)
            + indexes.map { $0.statement(on: name).onlySQLite } + links
    }
}

/// Rows of organizations.
///
/// The column `organization_id` comes first and leads the primary key and the references, so no row can point into another
/// organization; row level security is the second wall.
package struct TenantTable: Table {
    /// Which other transactions than those of the organization see the rows, by the names of their purposes.
    struct Policies: Sendable {
        var all: [String] = []
        var select: [String] = []
        var insert: [String] = []
        var update: [String] = []
        var delete: [String] = []
        /// A condition under which the rows are seen by other organizations as well.
        var visibleIf: String?
    }

    /// How a row belongs to its organization.
    enum Ownership: Sendable {
        /// By a foreign key of its own.
        case direct
        /// By the rows that it refers to.
        case byReference
        /// Without a foreign key: the row may outlive the organization for a moment.
        case loose
    }

    package let meaning: String
    let shape: TableShape
    private let policies: Policies
    private let tenantColumn: String

    /// - Parameters:
    ///   - key: The primary key after the organization.
    init(
        _ name: String,
        _ meaning: String,
        _ columns: [Column],
        key: [String] = ["id"],
        owned ownership: Ownership = .direct,
        unique: [[String]] = [],
        checks: [Check] = [],
        references: [Reference] = [],
        indexes: [Index] = [],
        fullText: String? = nil,
        policies: Policies = Policies(),
        more: [SQL] = [],
        since: Int = 100
    ) {
        let organization: [Reference] =
            switch ownership {
            case .direct: [.shared("organization_id", to: "organizations")]
            case .byReference, .loose: []
            }
        self.init(
            meaning,
            TableShape(
                name: name,
                columns: [.required("organization_id", .uuid)] + columns,
                key: ["organization_id"] + key,
                unique: unique,
                checks: checks,
                references: organization + references,
                indexes: indexes,
                fullText: fullText,
                more: more,
                since: since
            ),
            tenantColumn: "organization_id",
            policies
        )
    }

    /// A table whose key does not begin with the organization.
    ///
    /// - Parameter tenantColumn: The column that holds the organization.
    init(_ meaning: String, _ shape: TableShape, tenantColumn: String, _ policies: Policies) {
        self.meaning = meaning
        self.shape = shape
        self.tenantColumn = tenantColumn
        self.policies = policies
    }

    package var name: String { shape.name }
    package var references: Set<String> { Set(shape.references.map(\.table)) }
    package var since: Int { shape.since }
    package var holdsOrganizations: Bool { tenantColumn == "organization_id" }

    package var purposes: Set<String> {
        Set(policies.all + policies.select + policies.insert + policies.update + policies.delete)
    }

    package var statements: [SQL] { shape.statements }
    package var protection: [SQL] { RowSecurity.tenant(shape.name, column: tenantColumn, policies) }

    /// See ``TableShape/rebuild(keeping:)``.
    package func rebuild(keeping columns: [String]) -> [SQL] { shape.rebuild(keeping: columns) }
}

/// Rows that belong to no organization, for one purpose only.
struct SystemTable: Table {
    let meaning: String
    let shape: TableShape
    let purpose: String

    var name: String { shape.name }
    var references: Set<String> { Set(shape.references.map(\.table)) }
    var since: Int { shape.since }
    var holdsOrganizations: Bool { false }
    var purposes: Set<String> { [purpose] }
    var statements: [SQL] { shape.statements }
    var protection: [SQL] { RowSecurity.system(shape.name, purpose: purpose) }
}

/// Rows that everyone may read and the server may not change.
struct CatalogueTable: Table {
    let meaning: String
    let shape: TableShape

    var name: String { shape.name }
    var references: Set<String> { Set(shape.references.map(\.table)) }
    var since: Int { shape.since }
    var holdsOrganizations: Bool { false }
    var purposes: Set<String> { [] }
    var statements: [SQL] { shape.statements }
    var protection: [SQL] { RowSecurity.catalogue(shape.name) }
}

/// The tables of one subsystem.
package struct SubsystemSchema: Sendable {
    /// As its target is called: `Messaging`.
    package let name: String
    package let tables: [any Table]
}
