import Foundation
package import Storage

/// A column as `docs/schema.md` describes it.
package struct DocumentedColumn: Sendable {
    package let table: String
    package let name: String
    /// Such as `timestamp with time zone`.
    package let postgresType: String
    /// Such as `TEXT`.
    package let sqliteType: String
    package let isMandatory: Bool
    /// Whether the database gives out the value, so that nobody writes another.
    package let isGenerated: Bool
}

/// What `docs/schema.md` says, which a test compares with the databases.
package enum SchemaDocument {
    package struct UnknownTable: Error {
        let name: String
    }

    package static func columns(of table: String) throws -> [DocumentedColumn] {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appendingPathComponent("docs/schema.md"), encoding: .utf8)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard let start = lines.firstIndex(of: "### `\(table)`") else { throw UnknownTable(name: table) }
        let section = lines[(start + 1)...].prefix { !$0.hasPrefix("#") }
        return section.filter { $0.hasPrefix("| `") }.map { line in
            let cells = line.split(separator: "|", omittingEmptySubsequences: false).map {
                $0.trimmingCharacters(in: .whitespaces)
            }
            return DocumentedColumn(
                table: table,
                name: cells[1].trimmingCharacters(in: CharacterSet(charactersIn: "`")),
                postgresType: cells[2],
                sqliteType: cells[3],
                isMandatory: cells[4] == "mandatory",
                isGenerated: cells.count > 5 && cells[5].contains("given out by the database")
            )
        }
    }

    /// Every value that a column's type makes suspect, for every column of a table.
    ///
    /// What the database refuses is among them.
    package static func hostileValues(of table: String, on kind: TestDatabase.Kind) throws -> [HostileValue] {
        try columns(of: table).filter { !$0.isGenerated }.flatMap { column in
            let literals = kind == .sqlite ? column.sqliteLiterals : column.postgresLiterals
            return literals.map { HostileValue(table: table, column: column.name, literal: $0) }
        }
    }
}

/// A value that some program but not this one may have written to a column.
package struct HostileValue: Sendable, CustomStringConvertible {
    package let table: String
    package let column: String
    let literal: String

    package var description: String { "\(table).\(column) = \(literal.prefix(60))" }

    /// Writes it to some row: `UPDATE … SET … `, to which a condition is added.
    package var update: SQL { SQL(trusted: "UPDATE \(table) SET \"\(column)\" = \(literal) ") }
}

extension DocumentedColumn {
    private var null: [String] { isMandatory ? [] : ["NULL"] }

    /// A column of SQLite takes whatever no constraint forbids.
    fileprivate var sqliteLiterals: [String] {
        let anything = [
            "''", "'garbage'", "X'00FF'", "X'31'", "CAST(X'FF' AS TEXT)", "CAST(X'6100' AS TEXT)", "1.5", "9e999", "-1",
            "9223372036854775807", "-9223372036854775808",
        ]
        let typical: [String] =
            switch postgresType {
            case "timestamp with time zone":
                ["'9999-99-99T99:99:99.999Z'", "'2026-02-31T00:00:00.000Z'", "'0000-01-01T00:00:00.000Z'"]
            case "jsonb": Self.json + ["'{'", "'{\"label\":\"a\\u0000\"}'"]
            case "text": ["hex(zeroblob(50000))"]
            case "uuid": ["'00000000-0000-0000-0000-00000000000g'", "zeroblob(16)"]
            default: []
            }
        return null + anything + typical
    }

    /// A column of PostgreSQL has a type, whose ends are further out than the program's.
    fileprivate var postgresLiterals: [String] {
        let typical: [String] =
            switch postgresType {
            case "timestamp with time zone": ["'infinity'", "'-infinity'", "'290000-01-01'", "'4000-01-01 BC'"]
            case "jsonb": Self.json.map { $0 + "::jsonb" }
            case "bigint": ["9223372036854775807", "(-9223372036854775808)", "-1", "0"]
            case "text": ["''", "'garbage'", "repeat('x', 100000)", "E'\\x01'"]
            case "uuid": ["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"]
            case "inet": ["'10.0.0.0/8'", "'::1'"]
            case _ where postgresType.hasPrefix("numeric"): ["'NaN'", "-1"]
            default: []
            }
        return null + typical
    }

    /// JSON of other shapes than anybody expects.
    private static let json: [String] = [
        "'\"text\"'", "'[]'", "'{}'", "'5'", "'-1e300'", "'null'", "'true'", "'{\"label\": 5}'", "'{\"label\": [{}]}'",
        "'\(String(repeating: "[", count: 400))\(String(repeating: "]", count: 400))'",
        "'\(String(repeating: "[", count: 3_000))\(String(repeating: "]", count: 3_000))'",
    ]
}

/// How many hostile values a database took, and how many it refused.
package struct HostileCount: Sendable, CustomStringConvertible {
    package var stored = 0
    package var refused = 0

    package init() {}

    package var description: String { "\(stored) stored, \(refused) refused" }
}

extension Database {
    /// Stores a hostile value, with what a test needs around it.
    ///
    /// - Returns: Whether the database took it; if not, nothing is there of the rest either.
    package func store(
        _ count: inout HostileCount,
        _ body: @escaping @Sendable (any Transaction) throws -> Void
    ) async throws -> Bool {
        do {
            try await migrate(body)
            count.stored += 1
            return true
        } catch let error as StorageError {
            switch error {
            case .violation, .database:
                count.refused += 1
                return false
            default: throw error
            }
        }
    }
}
