package import Kernel

/// A statement whose interpolations are bound, never pasted.
///
/// ```swift
/// try tx.first("SELECT \(Self.columns) FROM contacts WHERE organization_id = \(scope.id) AND id = \(id)")
/// ```
/// An interpolated value becomes a parameter, an interpolated ``SQL`` is composed in place, and a ``Fragment`` becomes
/// the words of the database at hand.
package struct SQL: Sendable, ExpressibleByStringInterpolation {
    enum Segment: Sendable {
        case text(String)
        case value(SQLValue)
        case fragment(Fragment)
    }

    var parts: [Segment]

    package init(stringLiteral value: String) { parts = value.isEmpty ? [] : [.text(value)] }

    package init(stringInterpolation: StringInterpolation) { parts = stringInterpolation.parts }

    /// Words that are known to be safe: a name from this program's own text, never from outside.
    package init(trusted text: String) { parts = [.text(text)] }

    package static let empty = SQL(stringLiteral: "")

    package var isEmpty: Bool { parts.isEmpty }

    package static func + (left: SQL, right: SQL) -> SQL {
        var sum = left
        sum.parts += right.parts
        return sum
    }

    package static func += (left: inout SQL, right: SQL) { left.parts += right.parts }

    /// Puts `separator` between the statements of a list: `conditions.joined(" AND ")`.
    package static func join(_ pieces: [SQL], _ separator: SQL) -> SQL {
        var result = SQL.empty
        for (index, piece) in pieces.enumerated() {
            if index > 0 { result += separator }
            result += piece
        }
        return result
    }

    package struct StringInterpolation: StringInterpolationProtocol {
        var parts: [Segment] = []

        package init(literalCapacity: Int, interpolationCount: Int) {
            parts.reserveCapacity(interpolationCount * 2 + 1)
        }

        package mutating func appendLiteral(_ literal: String) {
            if !literal.isEmpty { parts.append(.text(literal)) }
        }

        package mutating func appendInterpolation(_ value: some SQLBindable) { parts.append(.value(value.sqlValue)) }
        /// Optional by name, so that the compiler does not take it for text that would read `Optional(…)`.
        package mutating func appendInterpolation(_ value: (some SQLBindable)?) {
            parts.append(.value(value?.sqlValue ?? .null))
        }
        package mutating func appendInterpolation(_ value: SQLValue) { parts.append(.value(value)) }
        package mutating func appendInterpolation(_ sql: SQL) { parts += sql.parts }
        package mutating func appendInterpolation(_ fragment: Fragment) { parts.append(.fragment(fragment)) }

        /// A number of rows in the statement's own text.
        ///
        /// Planners have to know it: with a parameter in its place PostgreSQL plans for a tenth of all rows.
        package mutating func appendInterpolation(limit rows: Int) { parts.append(.text(String(max(0, rows)))) }

        /// A list in parentheses for `IN`; an empty list matches nothing.
        package mutating func appendInterpolation(list values: [some SQLBindable]) {
            guard !values.isEmpty else { return parts.append(.text("(NULL)")) }
            for (index, value) in values.enumerated() {
                parts.append(.text(index == 0 ? "(" : ", "))
                parts.append(.value(value.sqlValue))
            }
            parts.append(.text(")"))
        }
    }

    /// The statement in the words of one database, and its parameters in order.
    package func rendered(for dialect: Dialect) -> (text: String, values: [SQLValue]) {
        var text = ""
        var values: [SQLValue] = []
        for part in parts {
            switch part {
            case .text(let words): text += words
            case .fragment(let fragment): text += fragment.words(for: dialect)
            case .value(let value):
                values.append(value)
                switch dialect {
                case .sqlite: text += "?"
                case .postgres: text += "$\(values.count)"
                }
            }
        }
        return (text, values)
    }
}

package enum Dialect: String, Sendable, CaseIterable {
    case sqlite
    case postgres
}

/// A parameter.
///
/// What each becomes in either database: `docs/decisions/0002-types.md`.
package enum SQLValue: Sendable, Hashable {
    case null
    case bool(Bool)
    case integer(Int64)
    case double(Double)
    case text(String)
    case bytes([UInt8])
    /// `uuid` / text of 36 lower-case characters.
    case uuid(high: UInt64, low: UInt64)
    /// `timestamptz` / text of 24 characters.
    case timestamp(Timestamp)
    /// `jsonb` / text. Encoded JSON, free of U+0000.
    case json(String)
    /// `numeric` / text, such as `49.90`.
    case decimal(String)
    /// `text[]` / a JSON array as text.
    case textArray([String])
    /// `inet` / text.
    case inet(String)
    /// `vector` / little-endian float32 bytes. All elements are finite.
    case vector([Float])
}

package protocol SQLBindable: Sendable {
    var sqlValue: SQLValue { get }
}

extension Bool: SQLBindable { package var sqlValue: SQLValue { .bool(self) } }
extension Int64: SQLBindable { package var sqlValue: SQLValue { .integer(self) } }
extension Int: SQLBindable { package var sqlValue: SQLValue { .integer(Int64(self)) } }
extension Double: SQLBindable { package var sqlValue: SQLValue { .double(self) } }
extension String: SQLBindable { package var sqlValue: SQLValue { .text(self) } }
extension Timestamp: SQLBindable { package var sqlValue: SQLValue { .timestamp(self) } }
extension ID: SQLBindable { package var sqlValue: SQLValue { .uuid(high: high, low: low) } }
extension JSON: SQLBindable { package var sqlValue: SQLValue { .json(text) } }
extension SQLValue: SQLBindable { package var sqlValue: SQLValue { self } }

extension Optional: SQLBindable where Wrapped: SQLBindable {
    package var sqlValue: SQLValue { self?.sqlValue ?? .null }
}

extension SQLBindable where Self: RawRepresentable, RawValue == String {
    package var sqlValue: SQLValue { .text(rawValue) }
}

/// Words that differ between the databases.
package struct Fragment: Sendable {
    let sqlite: String
    let postgres: String

    package init(sqlite: String, postgres: String) {
        self.sqlite = sqlite
        self.postgres = postgres
    }

    func words(for dialect: Dialect) -> String {
        switch dialect {
        case .sqlite: sqlite
        case .postgres: postgres
        }
    }
}

extension Fragment {
    // Column types. A PostgreSQL type name in SQLite would give the column numeric affinity and change its values.
    package static let uuid = Fragment(sqlite: "TEXT", postgres: "uuid")
    package static let timestamp = Fragment(sqlite: "TEXT", postgres: "timestamptz")
    package static let json = Fragment(sqlite: "TEXT", postgres: "jsonb")
    package static let decimal = Fragment(sqlite: "TEXT", postgres: "numeric(12, 4)")
    package static let money = Fragment(sqlite: "TEXT", postgres: "numeric(12, 2)")
    package static let bytes = Fragment(sqlite: "BLOB", postgres: "bytea")
    package static let textArray = Fragment(sqlite: "TEXT", postgres: "text[]")
    package static let inet = Fragment(sqlite: "TEXT", postgres: "inet")
    package static let double = Fragment(sqlite: "REAL", postgres: "double precision")
    /// Text that compares byte by byte on both.
    package static let text = Fragment(sqlite: "TEXT", postgres: "text COLLATE \"C\"")
    /// A number that the database gives out in increasing order, as the primary key.
    package static let serialKey = Fragment(
        sqlite: "INTEGER PRIMARY KEY AUTOINCREMENT",
        postgres: "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    )

    package static func vector(_ dimensions: Int) -> Fragment {
        Fragment(sqlite: "BLOB", postgres: "vector(\(dimensions))")
    }

    // Locks. SQLite has one writer, so its transactions hold every lock already.
    package static let forUpdate = Fragment(sqlite: "", postgres: "FOR UPDATE")
    package static let skipLocked = Fragment(sqlite: "", postgres: "FOR UPDATE SKIP LOCKED")
    package static let forShare = Fragment(sqlite: "", postgres: "FOR SHARE")

    /// The number of the transaction that writes, in the order in which transactions began to write.
    package static let transactionNumber = Fragment(
        sqlite: "0",
        postgres: "(pg_current_xact_id()::text)::bigint"
    )
    /// Every transaction with a number below this one has ended.
    package static let oldestOpenTransaction = Fragment(
        sqlite: "9223372036854775807",
        postgres: "(pg_snapshot_xmin(pg_current_snapshot())::text)::bigint"
    )
}
