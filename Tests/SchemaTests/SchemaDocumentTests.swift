import Foundation
import Kernel
import Schema
import Storage
import TestKit
import Testing

/// What one database says about one table, as lines of Markdown.
private struct TableFacts: Sendable {
    var columns: [(name: String, type: String, isMandatory: Bool, defaultValue: String)] = []
    var keys: [String] = []
    var indexes: [String] = []
    var policies: [String] = []

    static func postgres(_ tx: any Transaction, _ table: String) throws -> TableFacts {
        var facts = TableFacts()
        facts.columns = try tx.rows(
            """
            SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                CASE WHEN a.attidentity <> '' THEN 'given out by the database' WHEN a.attgenerated <> '' THEN 'computed'
                    ELSE coalesce(pg_get_expr(d.adbin, d.adrelid), '') END
            FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = to_regclass(\(table)) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
            """
        ) { row in (try row.next(), try row.next(), try row.next(), try row.next()) }
        facts.keys = try tx.values(
            """
            SELECT pg_get_constraintdef(oid) || ' (`' || conname || '`)' FROM pg_constraint
            WHERE conrelid = to_regclass(\(table)) ORDER BY contype DESC, conname
            """
        )
        facts.indexes = try tx.values(
            """
            SELECT regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE (.*INDEX) ([^ ]+) ON public\\.[^ ]+ USING', '\\1 `\\2`')
            FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            WHERE i.indrelid = to_regclass(\(table)) AND NOT EXISTS (
                SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u')
            )
            ORDER BY c.relname
            """
        )
        facts.policies = try tx.values(
            """
            SELECT lower(cmd) || ': ' || policyname || CASE WHEN policyname LIKE 'purpose%'
                THEN ' ' || coalesce(substring(coalesce(qual, with_check) from 'ARRAY\\[(.*?)\\]'),
                    substring(coalesce(qual, with_check) from '= (.*?)\\)')) ELSE '' END
            FROM pg_policies WHERE tablename = \(table) ORDER BY policyname
            """,
            as: String.self
        ).map { $0.replacingOccurrences(of: "::text", with: "") }
        return facts
    }

    static func sqlite(_ tx: any Transaction, _ table: String) throws -> TableFacts {
        var facts = TableFacts()
        facts.columns = try tx.rows(
            "SELECT name, type, \"notnull\", coalesce(dflt_value, '') FROM pragma_table_info(\(table)) ORDER BY cid"
        ) { row in (try row.next(), try row.next(), try row.next(Int.self) == 1, try row.next()) }
        return facts
    }
}

@Suite("The description of the schema")
struct SchemaDocumentTests {
    private static let path = "docs/schema.md"

    @Test("docs/schema.md says what the migrations make; KUVEND_TEST_WRITE=1 writes it anew")
    func document() async throws {
        let names = ProductSchema.tables.map(\.name)
        let postgres = try await withDatabase(on: .postgres, migrations: ProductSchema.migrations) { database in
            try await database.migrate { tx in try names.map { try TableFacts.postgres(tx, $0) } }
        }
        let sqlite = try await withDatabase(on: .sqlite, migrations: ProductSchema.migrations) { database in
            try await database.migrate { tx in try names.map { try TableFacts.sqlite(tx, $0) } }
        }
        let facts = Dictionary(uniqueKeysWithValues: zip(names, zip(postgres, sqlite).map { ($0, $1) }))
        let text = Self.render(facts)
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let file = root.appendingPathComponent(Self.path)
        if ProcessInfo.processInfo.environment["KUVEND_TEST_WRITE"] == "1" {
            try text.write(to: file, atomically: true, encoding: .utf8)
        }
        let kept = try String(contentsOf: file, encoding: .utf8)
        #expect(kept == text, "run KUVEND_TEST_WRITE=1 ./test --filter SchemaDocumentTests, and look at the difference")
    }

    private static func render(_ facts: [String: (postgres: TableFacts, sqlite: TableFacts)]) -> String {
        var lines = [
            "# The schema", "",
            "Made from what the databases say after all migrations; `./test` compares. Every row of an organization has",
            "`organization_id`, which leads its keys; row level security on PostgreSQL is the second wall: `tenant` is the",
            "transaction's own organization, `purpose` names why the product looks at rows of more than one.", "",
        ]
        for subsystem in ProductSchema.subsystems {
            lines += ["## \(subsystem.name)", ""]
            for table in subsystem.tables {
                guard let (postgres, sqlite) = facts[table.name] else { continue }
                lines += [
                    "### `\(table.name)`", "", table.meaning, "", "| column | PostgreSQL | SQLite | | |",
                    "| --- | --- | --- | --- | --- |",
                ]
                let types = Dictionary(uniqueKeysWithValues: sqlite.columns.map { ($0.name, $0.type) })
                for column in postgres.columns {
                    let mandatory = column.isMandatory ? "mandatory" : ""
                    lines.append(
                        "| `\(column.name)` | \(column.type) | \(types[column.name] ?? "") | \(mandatory) | "
                            + "\(column.defaultValue.isEmpty ? "" : "`\(column.defaultValue.prefix(40))`") |"
                    )
                }
                for column in sqlite.columns where !postgres.columns.contains(where: { $0.name == column.name }) {
                    lines.append("| `\(column.name)` | | \(column.type) | | |")
                }
                lines.append("")
                for key in postgres.keys { lines.append("- \(key)") }
                for index in postgres.indexes { lines.append("- \(index)") }
                if !postgres.policies.isEmpty {
                    lines.append("- seen by: \(postgres.policies.joined(separator: "; "))")
                }
                lines.append("")
            }
        }
        return lines.joined(separator: "\n")
    }
}
