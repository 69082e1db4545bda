import Foundation
import Kernel
import Schema
import Storage
import TestKit
import Testing

/// What a database says about its own tables.
private struct Shape: Equatable {
    /// Column names by table.
    var columns: [String: Set<String>] = [:]
    /// Unique indexes and constraints: table, columns, condition or not.
    var unique: Set<String> = []
    /// `table.column` of every NOT NULL column.
    var mandatory: Set<String> = []
    /// `table(columns) -> table(columns)`.
    var references: Set<String> = []

    static func read(_ database: any Database) async throws -> Shape {
        try await database.migrate { tx in
            switch tx.dialect {
            case .sqlite: try sqlite(tx)
            case .postgres: try postgres(tx)
            }
        }
    }

    private static func sqlite(_ tx: any Transaction) throws -> Shape {
        var shape = Shape()
        let tables: [String] = try tx.values(
            """
            SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name NOT GLOB '*_search*'
            """
        )
        for table in tables {
            // The row numbers that SQLite's text indexes know rows by.
            let columns = try tx.rows(
                "SELECT name, \"notnull\", pk FROM pragma_table_info(\(table)) WHERE name <> 'entry'"
            ) { row in
                (
                    name: try row.next(String.self), isMandatory: try row.next(Int.self) == 1,
                    key: try row.next(Int.self)
                )
            }
            shape.columns[table] = Set(columns.map(\.name))
            for column in columns where column.isMandatory || column.key > 0 {
                shape.mandatory.insert("\(table).\(column.name)")
            }
            if columns.filter({ $0.key > 0 }).count == 1, let key = columns.first(where: { $0.key > 0 }) {
                shape.unique.insert("\(table)(\(key.name))")
            }
            let indexes = try tx.rows("SELECT name, partial FROM pragma_index_list(\(table)) WHERE \"unique\" = 1") {
                row in
                (name: try row.next(String.self), isPartial: try row.next(Int.self) == 1)
            }
            for index in indexes {
                let names: [String] = try tx.values("SELECT name FROM pragma_index_info(\(index.name)) ORDER BY seqno")
                shape.unique.insert("\(table)(\(names.joined(separator: ",")))\(index.isPartial ? " partial" : "")")
            }
            let references = try tx.rows(
                """
                SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(\(table)) ORDER BY id, seq
                """
            ) { row in
                (
                    id: try row.next(Int.self), table: try row.next(String.self), from: try row.next(String.self),
                    to: try row.next(String.self)
                )
            }
            for (_, parts) in Dictionary(grouping: references, by: \.id) {
                guard let target = parts.first?.table else { continue }
                shape.references.insert(
                    "\(table)(\(parts.map(\.from).joined(separator: ","))) -> "
                        + "\(target)(\(parts.map(\.to).joined(separator: ",")))"
                )
            }
        }
        return shape
    }

    private static func postgres(_ tx: any Transaction) throws -> Shape {
        var shape = Shape()
        let columns = try tx.rows(
            """
            SELECT c.relname, a.attname, a.attnotnull FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
                AND a.attname <> 'search_words'
            """
        ) { row in
            (table: try row.next(String.self), name: try row.next(String.self), isMandatory: try row.next(Bool.self))
        }
        for column in columns {
            shape.columns[column.table, default: []].insert(column.name)
            if column.isMandatory { shape.mandatory.insert("\(column.table).\(column.name)") }
        }
        shape.unique = Set(
            try tx.values(
                """
                SELECT c.relname || '(' || (
                    SELECT string_agg(a.attname, ',' ORDER BY k.n) FROM unnest(i.indkey) WITH ORDINALITY k (attnum, n)
                    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                ) || ')' || CASE WHEN i.indpred IS NULL THEN '' ELSE ' partial' END
                FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
                WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace
                """,
                as: String.self
            )
        )
        shape.references = Set(
            try tx.values(
                """
                SELECT c.conrelid::regclass || '(' || (
                    SELECT string_agg(a.attname, ',' ORDER BY k.n) FROM unnest(c.conkey) WITH ORDINALITY k (attnum, n)
                    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum
                ) || ') -> ' || c.confrelid::regclass || '(' || (
                    SELECT string_agg(a.attname, ',' ORDER BY k.n) FROM unnest(c.confkey) WITH ORDINALITY k (attnum, n)
                    JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.attnum
                ) || ')'
                FROM pg_constraint c WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace
                """,
                as: String.self
            )
        )
        return shape
    }
}

private func contract(_ name: String) throws -> JSON {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    return try JSON(parsing: Array(Data(contentsOf: folder.appendingPathComponent(name))))
}

@Suite("The schema")
struct SchemaContractTests {
    @Test("has the same tables, columns, unique keys and references on both databases")
    func parity() async throws {
        let shapes = try await [TestDatabase.Kind.sqlite, .postgres].asyncMap { kind in
            try await withDatabase(on: kind, migrations: ProductSchema.migrations) { try await Shape.read($0) }
        }
        let (sqlite, postgres) = (shapes[0], shapes[1])
        #expect(sqlite.columns == postgres.columns)
        #expect(sqlite.unique == postgres.unique)
        #expect(sqlite.mandatory == postgres.mandatory)
        #expect(sqlite.references == postgres.references)
        #expect(postgres.columns.count >= 20)
    }

    @Test("has every table and column that was asked for", arguments: TestDatabase.kinds)
    func contractTables(on kind: TestDatabase.Kind) async throws {
        let tables = try #require(try contract("contract-schema.json")["tables"]?.object)
        let shape = try await withDatabase(on: kind, migrations: ProductSchema.migrations) { try await Shape.read($0) }
        for (table, columns) in tables {
            let names = try #require(columns.array).compactMap(\.string)
            let missing = Set(names).subtracting(shape.columns[table] ?? [])
            #expect(missing.isEmpty, "\(table) lacks \(missing.sorted())")
        }
    }

    @Test("leads every key and reference of an organization's row with the organization")
    func organizationLeads() async throws {
        let shape = try await withDatabase(on: .postgres, migrations: ProductSchema.migrations) {
            try await Shape.read($0)
        }
        let owned = shape.columns.filter { $0.value.contains("organization_id") }.map(\.key)
        #expect(owned.count >= 20)
        for reference in shape.references {
            let parts = reference.split(separator: " -> ").map(String.init)
            guard let target = parts.last, let source = parts.first else { continue }
            let table = String(target.prefix { $0 != "(" })
            // What belongs to no organization is named by its own id.
            if ["organizations", "plans", "users"].contains(table) { continue }
            #expect(source.contains("(organization_id,"), "\(reference)")
            #expect(target.contains("(organization_id,"), "\(reference)")
        }
    }

    @Test("deletes an organization's rows before those that they refer to", arguments: TestDatabase.kinds)
    func deletionOrder(on kind: TestDatabase.Kind) async throws {
        let shape = try await withDatabase(on: kind, migrations: ProductSchema.migrations) { try await Shape.read($0) }
        let order = ProductSchema.organizationTables
        #expect(Set(order) == Set(shape.columns.filter { $0.value.contains("organization_id") }.map(\.key)))
        #expect(Set(order).count == order.count)
        for reference in shape.references {
            let tables = reference.split(separator: " -> ").map { String($0.prefix { $0 != "(" }) }
            guard tables.count == 2, let source = order.firstIndex(of: tables[0]),
                let target = order.firstIndex(of: tables[1])
            else { continue }
            #expect(source < target, "\(reference)")
        }
    }

    @Test("refers where its declarations say", arguments: TestDatabase.kinds)
    func declaredReferences(on kind: TestDatabase.Kind) async throws {
        let shape = try await withDatabase(on: kind, migrations: ProductSchema.migrations) { try await Shape.read($0) }
        var found: [String: Set<String>] = [:]
        for reference in shape.references {
            let tables = reference.split(separator: " -> ").map { String($0.prefix { $0 != "(" }) }
            found[tables[0], default: []].insert(tables[1])
        }
        for table in ProductSchema.tables { #expect(found[table.name] ?? [] == table.references, "\(table.name)") }
        #expect(Set(ProductSchema.tables.map(\.name)) == Set(shape.columns.keys).subtracting(["schema_migrations"]))
    }

    @Test(
        "refuses the state that keeps a request with an idempotency key from happening twice",
        arguments: TestDatabase.kinds
    )
    func takenOver(on kind: TestDatabase.Kind) async throws {
        try await withDatabase(on: kind, migrations: ProductSchema.migrations) { database in
            let scope = OrganizationScope.job(of: ID())
            let now = Timestamp.now()
            await #expect(throws: StorageError.self) {
                try await database.write(scope) { tx in
                    try tx.run(
                        """
                        INSERT INTO organizations (id, name, slug, status, settings, created_at, updated_at)
                        VALUES (\(scope.id), 'Ana', 'ana', 'active', \(JSON.object([:])), \(now), \(now))
                        """
                    )
                    try tx.execute(
                        """
                        INSERT INTO idempotency_keys (organization_id, principal, key, token, request_hash, state, created_at,
                            lease_expires_at, expires_at)
                        VALUES (\(scope.id), 'p', 'k', 't', 'h', 'taken over', \(now), \(now), \(now))
                        """,
                        violations: []
                    )
                }
            }
        }
    }

    @Test("seeds 18 plans with all limits", arguments: TestDatabase.kinds)
    func plans(on kind: TestDatabase.Kind) async throws {
        let limits = try #require(try contract("contract-schema.json")["plan_limits"]?.array).compactMap(\.string)
        try await withDatabase(on: kind, migrations: ProductSchema.migrations) { database in
            let plans = try await database.read(for: .maintenance) { tx in
                try tx.rows("SELECT id, price, limits FROM plans ORDER BY id") { row in
                    (
                        id: try row.next(String.self), price: try row.next(DecimalText.self).text,
                        limits: try row.next(JSON.self)
                    )
                }
            }
            #expect(plans.count == 18)
            #expect(plans.first { $0.id == "chatbot_standard_monthly" }?.price == "49.00")
            let optional: Set<String> = ["trial_days", "savings_percent"]
            for plan in plans {
                for limit in limits where !optional.contains(limit) {
                    #expect(plan.limits[limit] != nil, "\(plan.id) lacks \(limit)")
                }
            }
        }
    }

    @Test("shows the server's role no row without an organization")
    func rowSecurity() async throws {
        try await withDatabase(on: .postgres, migrations: ProductSchema.migrations) { database in
            let organization = ID<OrganizationEntity>()
            let scope = OrganizationScope.job(of: organization)
            let now = Timestamp.now()
            try await database.write(scope) { tx in
                try tx.run(
                    """
                    INSERT INTO organizations (id, name, slug, status, settings, created_at, updated_at)
                    VALUES (\(organization), 'Ana', 'ana', 'active', \(JSON.object([:])), \(now), \(now))
                    """
                )
                try tx.run(
                    """
                    INSERT INTO contacts (organization_id, id, metadata, created_at, updated_at)
                    VALUES (\(organization), \(ID<Void>()), \(JSON.object([:])), \(now), \(now))
                    """
                )
            }
            let shape = try await Shape.read(database)
            let owned = shape.columns.filter { $0.value.contains("organization_id") }.map(\.key) + ["organizations"]
            // A purpose that may see none of these tables stands for no setting at all.
            for table in owned where !["jobs"].contains(table) {
                let seen = try await database.read(for: SystemPurpose("queue")) { tx in
                    try tx.value("SELECT count(*) FROM \(SQL(trusted: table))", as: Int.self)
                }
                #expect(seen == 0, "\(table)")
            }
            let other = OrganizationScope.job(of: ID())
            for table in owned {
                let seen = try await database.read(other) { tx in
                    try tx.value("SELECT count(*) FROM \(SQL(trusted: table))", as: Int.self)
                }
                #expect(seen == 0, "\(table)")
            }
            let own = try await database.read(scope) { tx in
                try tx.value("SELECT count(*) FROM contacts", as: Int.self)
            }
            #expect(own == 1)
            await #expect(throws: StorageError.self) {
                try await database.write(other) { tx in
                    try tx.execute(
                        """
                        INSERT INTO contacts (organization_id, id, metadata, created_at, updated_at)
                        VALUES (\(organization), \(ID<Void>()), \(JSON.object([:])), \(now), \(now))
                        """
                    )
                }
            }
        }
    }

    @Test("protects every table of an organization with row level security that binds its owner too")
    func allProtected() async throws {
        try await withDatabase(on: .postgres, migrations: ProductSchema.migrations) { database in
            let open = try await database.migrate { tx in
                try tx.values(
                    """
                    SELECT c.relname FROM pg_class c
                    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
                        AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
                    ORDER BY 1
                    """,
                    as: String.self
                )
            }
            #expect(open == ["plans", "schema_migrations"])
        }
    }
}

extension Array {
    fileprivate func asyncMap<Value>(_ transform: (Element) async throws -> Value) async rethrows -> [Value] {
        var values: [Value] = []
        for element in self { values.append(try await transform(element)) }
        return values
    }
}
