package import Kernel
import Synchronization

/// One step of the schema.
///
/// Once it is merged it never changes; a correction is another step.
package struct Migration: Sendable {
    /// The place in the order of all steps.
    package let number: Int
    /// What the step does, in `snake_case`: `conversation_owner`.
    package let name: String
    /// One command each.
    ///
    /// A statement that is blank in a dialect is left out there.
    package let statements: @Sendable (Dialect) -> [SQL]

    package init(_ number: Int, _ name: String, _ statements: [SQL]) {
        self.init(number, name) { _ in statements }
    }

    package init(_ number: Int, _ name: String, _ statements: @escaping @Sendable (Dialect) -> [SQL]) {
        self.number = number
        self.name = name
        self.statements = statements
    }

    /// The name in the database: `100_master_schema`.
    package var id: String { "\(number)_\(name)" }

    /// The statements that are not blank in a dialect.
    func commands(for dialect: Dialect) -> [SQL] {
        statements(dialect).filter { !$0.rendered(for: dialect).text.allSatisfy(\.isWhitespace) }
    }

    /// A fingerprint of what the step says to either database, so a change to either is noticed on both.
    ///
    /// Not a protection against forgery: whoever can change the row can change the schema.
    package var checksum: String {
        var hash = FNV1a()
        for dialect in Dialect.allCases {
            for command in commands(for: dialect) {
                hash.add(command.literalText(for: dialect))
                hash.add("\u{0}")
            }
            hash.add("\u{1}")
        }
        return "fnv1a128:\(hash.text)"
    }
}

package enum MigrationError: Error, Sendable, CustomStringConvertible {
    /// The program's own list is out of order, or names a number twice.
    case outOfOrder(id: String, after: String)
    /// The database knows steps that this program does not: a newer version has been here.
    case unknown(ids: [String])
    /// A step says something else than when it was applied.
    case changed(id: String)
    /// A statement failed, counted from 1. Nothing of the run remains.
    case failed(id: String, statement: Int, underlying: any Error)

    package var description: String {
        switch self {
        case .outOfOrder(let id, let after): "the migration \(id) comes after \(after)"
        case .unknown(let ids):
            "the database has migrations that this version does not know (\(ids.joined(separator: ", "))): "
                + "it was migrated by a newer version"
        case .changed(let id): "the migration \(id) is not what was applied to this database: its text was changed"
        case .failed(let id, let statement, let underlying):
            "statement \(statement) of the migration \(id) failed, nothing was changed: \(underlying)"
        }
    }
}

/// A step and whether a database has it.
package struct MigrationStatus: Sendable, Hashable {
    package let id: String
    /// nil: pending.
    package let appliedAt: Timestamp?

    package init(id: String, appliedAt: Timestamp?) {
        self.id = id
        self.appliedAt = appliedAt
    }
}

/// Brings databases to the schema of this program.
///
/// What is pending is applied in order and in **one** transaction that no other migrator can overlap: either all of it
/// is there afterwards, or nothing. The table `schema_migrations` keeps what was applied.
package struct Migrator: Sendable {
    package let migrations: [Migration]

    /// - Parameter migrations: In the order of their numbers, which must rise.
    package init(_ migrations: [Migration]) throws(MigrationError) {
        for (former, latter) in zip(migrations, migrations.dropFirst()) where former.number >= latter.number {
            throw .outOfOrder(id: latter.id, after: former.id)
        }
        self.migrations = migrations
    }

    /// Every step and when it was applied.
    ///
    /// Throws when the database is not one of this program's past.
    package func status(of database: any Database) async throws -> [MigrationStatus] {
        let applied = try await database.migrate { tx in try verifiedRecords(in: tx) }
        return migrations.map { MigrationStatus(id: $0.id, appliedAt: applied[$0.id]) }
    }

    package func pending(in database: any Database) async throws -> [Migration] {
        let applied = try await database.migrate { tx in try verifiedRecords(in: tx) }
        return migrations.filter { applied[$0.id] == nil }
    }

    /// Applies what is pending.
    ///
    /// - Parameter progress: Told of each step before it begins.
    /// - Returns: The ids of the applied steps.
    @discardableResult
    package func apply(
        to database: any Database,
        at now: Timestamp = .now(),
        progress: @escaping @Sendable (Migration) -> Void = { _ in }
    ) async throws -> [String] {
        try await run(on: database, at: now, isDry: false, progress: progress)
    }

    /// Applies what is pending and takes it back.
    ///
    /// - Returns: The ids of the steps that `apply` would apply.
    package func dryRun(on database: any Database, at now: Timestamp = .now()) async throws -> [String] {
        do {
            return try await run(on: database, at: now, isDry: true, progress: { _ in })
        } catch let end as EndOfDryRun {
            return end.ids
        }
    }

    /// All steps as a script for the database's own shell.
    package func print(for dialect: Dialect, at now: Timestamp = .now()) -> String {
        var lines = ["BEGIN;", "", Self.table.literalText(for: dialect) + ";"]
        for migration in migrations {
            lines += ["", "-- \(migration.id)"]
            lines += (migration.commands(for: dialect) + [record(of: migration, at: now)]).map { command in
                command.literalText(for: dialect).trimmingWhitespace() + ";"
            }
        }
        lines += ["", "COMMIT;", ""]
        return lines.joined(separator: "\n")
    }

    private static let table: SQL = """
        CREATE TABLE IF NOT EXISTS schema_migrations (
            id \(.text) NOT NULL PRIMARY KEY,
            checksum \(.text) NOT NULL,
            applied_at \(.timestamp) NOT NULL
        )
        """

    /// The statement at work, to be named if it fails.
    private final class CurrentStatement: Sendable {
        let current = Mutex<(id: String, statement: Int)?>(nil)
    }

    private struct EndOfDryRun: Error {
        let ids: [String]
    }

    private func run(
        on database: any Database,
        at now: Timestamp,
        isDry: Bool,
        progress: @escaping @Sendable (Migration) -> Void
    ) async throws -> [String] {
        let place = CurrentStatement()
        do {
            return try await database.migrate { tx in
                let applied = try verifiedRecords(in: tx)
                let pending = migrations.filter { applied[$0.id] == nil }
                if !pending.isEmpty { try tx.execute(Self.table) }
                for migration in pending {
                    progress(migration)
                    for (index, command) in migration.commands(for: tx.dialect).enumerated() {
                        place.current.withLock { $0 = (migration.id, index + 1) }
                        try tx.execute(command)
                    }
                    place.current.withLock { $0 = nil }
                    try tx.execute(record(of: migration, at: now))
                }
                if isDry { throw EndOfDryRun(ids: pending.map(\.id)) }
                return pending.map(\.id)
            }
        } catch {
            guard let (id, statement) = place.current.withLock({ $0 }) else { throw error }
            throw MigrationError.failed(id: id, statement: statement, underlying: error)
        }
    }

    private func record(of migration: Migration, at now: Timestamp) -> SQL {
        """
        INSERT INTO schema_migrations (id, checksum, applied_at)
        VALUES (\(migration.id), \(migration.checksum), \(now))
        """
    }

    /// When each step was applied, after the check that all of them are this program's.
    private func verifiedRecords(in tx: any Transaction) throws -> [String: Timestamp] {
        let exists = Fragment(
            sqlite: "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'",
            postgres: "SELECT count(to_regclass('schema_migrations'))"
        )
        guard try tx.value("\(exists)", as: Int.self) == 1 else { return [:] }
        let records = try tx.all("SELECT id, checksum, applied_at FROM schema_migrations ORDER BY id", as: Record.self)
        let known = Dictionary(uniqueKeysWithValues: migrations.map { ($0.id, $0) })
        let unknown = records.filter { known[$0.id] == nil }
        guard unknown.isEmpty else { throw MigrationError.unknown(ids: unknown.map(\.id)) }
        for record in records where known[record.id]?.checksum != record.checksum {
            throw MigrationError.changed(id: record.id)
        }
        return Dictionary(uniqueKeysWithValues: records.map { ($0.id, $0.appliedAt) })
    }

    private struct Record: RowDecodable {
        let id: String
        let checksum: String
        let appliedAt: Timestamp

        init(row: inout Row) throws {
            id = try row.next()
            checksum = try row.next()
            appliedAt = try row.next()
        }
    }
}

/// Fowler-Noll-Vo 1a of 128 bits (draft-eastlake-fnv).
private struct FNV1a {
    private var state: UInt128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d

    mutating func add(_ text: String) {
        for byte in text.utf8 {
            state ^= UInt128(byte)
            state &*= 0x0000_0000_0100_0000_0000_0000_0000_013b
        }
    }

    var text: String {
        let digits = String(state, radix: 16)
        return String(repeating: "0", count: 32 - digits.count) + digits
    }
}

extension String {
    fileprivate func trimmingWhitespace() -> String {
        let start = drop { $0.isWhitespace }
        return String(start.reversed().drop { $0.isWhitespace }.reversed())
    }
}

// MARK: - Values as text

extension SQL {
    /// The statement with its values in it, for people and scripts.
    ///
    /// Programs bind them.
    func literalText(for dialect: Dialect) -> String {
        parts.map { part in
            switch part {
            case .text(let words): words
            case .fragment(let fragment): fragment.words(for: dialect)
            case .value(let value): value.literal(for: dialect)
            }
        }.joined()
    }
}

extension SQLValue {
    /// The value as a literal of the dialect's language.
    func literal(for dialect: Dialect) -> String {
        func typed(_ text: String, _ type: String) -> String {
            dialect == .sqlite ? quoted(text, for: dialect) : "\(quoted(text, for: dialect))::\(type)"
        }
        switch self {
        case .null: return "NULL"
        case .bool(let flag): return dialect == .sqlite ? (flag ? "1" : "0") : (flag ? "TRUE" : "FALSE")
        case .integer(let number):
            // The smallest number has no literal of its own: its digits without the sign are too large.
            return number == .min ? "(\(number + 1) - 1)" : String(number)
        case .double(let number): return literal(of: number, for: dialect)
        case .text(let text): return quoted(text, for: dialect)
        case .bytes(let bytes): return literal(of: bytes, for: dialect)
        case .uuid(let high, let low):
            return typed(ID<Never>(high: high, low: low).description, "uuid")
        case .timestamp(let time): return typed(time.description, "timestamptz")
        case .json(let text): return typed(text, "jsonb")
        case .decimal(let text): return typed(text, "numeric")
        case .inet(let text): return typed(canonicalAddress(text) ?? text, "inet")
        case .textArray(let texts):
            guard dialect == .postgres else { return quoted(encodeTextArray(texts), for: dialect) }
            return "ARRAY[\(texts.map { quoted($0, for: dialect) }.joined(separator: ", "))]::text[]"
        case .vector(let elements):
            guard dialect == .postgres else {
                let words = elements.map(\.bitPattern)
                let bytes = words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
                return literal(of: bytes, for: dialect)
            }
            return "'[\(elements.map(\.description).joined(separator: ","))]'::vector"
        }
    }

    private func quoted(_ text: String, for dialect: Dialect) -> String {
        // Scalar by scalar: as characters, a quote with a combining mark is not a quote.
        var inner = String.UnicodeScalarView()
        var hasBackslash = false
        for scalar in text.unicodeScalars {
            if scalar == "'" { inner.append("'") }
            if scalar == "\\", dialect == .postgres {
                inner.append("\\")
                hasBackslash = true
            }
            inner.append(scalar)
        }
        // An E string means the same whatever `standard_conforming_strings` says.
        return "\(hasBackslash ? "E" : "")'\(String(inner))'"
    }

    private func literal(of bytes: [UInt8], for dialect: Dialect) -> String {
        let digits = bytes.map { byte in
            let text = String(byte, radix: 16)
            return text.utf8.count == 1 ? "0\(text)" : text
        }.joined()
        return dialect == .sqlite ? "x'\(digits)'" : "'\\x\(digits)'::bytea"
    }

    private func literal(of number: Double, for dialect: Dialect) -> String {
        switch dialect {
        case .sqlite:
            guard number.isFinite else { return number.isNaN ? "NULL" : (number < 0 ? "-9e999" : "9e999") }
            return number.description
        case .postgres:
            guard number.isFinite else {
                return "'\(number.isNaN ? "NaN" : (number < 0 ? "-Infinity" : "Infinity"))'::double precision"
            }
            return "'\(number.description)'::double precision"
        }
    }
}
