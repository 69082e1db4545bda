import GRDBSQLite

/// What SQLite said about a call that failed.
struct SQLiteFailure: Error {
    /// The extended result code.
    let code: Int32
    let message: String

    init(code: Int32, message: String) {
        self.code = code
        self.message = message
    }

    init(_ handle: OpaquePointer) {
        code = sqlite3_extended_errcode(handle)
        message = String(cString: sqlite3_errmsg(handle))
    }

    var primaryCode: Int32 { code & 0xFF }

    /// The violated constraint by the name that it has on both databases.
    var constraint: ConstraintMapping.Constraint? {
        switch code {
        case ResultCode.unique: uniqueName.map { .unique($0) }
        case ResultCode.primaryKey, ResultCode.rowID: primaryKeyName.map { .unique($0) }
        case ResultCode.check: words(after: "CHECK constraint failed: ").map { .check(String($0)) }
        case ResultCode.notNull: columnName.map { .check("not_null:\($0)") }
        case ResultCode.foreignKey: .foreignKey
        default: nil
        }
    }

    /// Whether the store itself failed, so that whatever shared the transaction is lost as well.
    var isOfStore: Bool {
        [SQLITE_FULL, SQLITE_IOERR, SQLITE_NOMEM, SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_CANTOPEN, SQLITE_READONLY]
            .contains(primaryCode)
    }

    var storageError: StorageError {
        if let constraint { return .violation(constraint) }
        return switch primaryCode {
        case SQLITE_INTERRUPT: .timedOut
        case SQLITE_BUSY, SQLITE_LOCKED: .unavailable("another process holds the database's lock")
        case SQLITE_FULL: .full
        case SQLITE_CANTOPEN: .unavailable("the file cannot be opened")
        case SQLITE_NOMEM: .unavailable("no memory")
        case SQLITE_TOOBIG: .unstorable("a value that is too large")
        default: .database(code: String(code), message: message)
        }
    }

    func error(mappedBy violations: [ConstraintMapping]) -> any Error {
        guard let constraint else { return storageError }
        return violations.error(for: constraint, otherwise: storageError)
    }

    /// `UNIQUE constraint failed: t.a, t.b` is `t_a_b_key`; `… failed: index 'name'` is `name`.
    private var uniqueName: String? {
        guard let words = words(after: "UNIQUE constraint failed: ") else { return nil }
        if words.hasPrefix("index '"), words.hasSuffix("'") {
            return String(words.dropFirst("index '".count).dropLast())
        }
        let columns = words.split(separator: ", ")
        guard let table = columns.first?.split(separator: ".").first else { return nil }
        let names = columns.map { column in column.split(separator: ".").last.map(String.init) ?? "" }
        return ([String(table)] + names + ["key"]).joined(separator: "_")
    }

    private var primaryKeyName: String? {
        guard let table = words(after: "UNIQUE constraint failed: ")?.split(separator: ".").first else { return nil }
        return "\(table)_pkey"
    }

    private var columnName: Substring? {
        words(after: "NOT NULL constraint failed: ")?.split(separator: ".").last
    }

    private func words(after prefix: String) -> Substring? {
        message.hasPrefix(prefix) ? message.dropFirst(prefix.count) : nil
    }
}

/// SQLite's extended result codes, which its header defines by expressions that Swift cannot import.
private enum ResultCode {
    static let check: Int32 = 275
    static let foreignKey: Int32 = 787
    static let notNull: Int32 = 1299
    static let primaryKey: Int32 = 1555
    static let unique: Int32 = 2067
    static let rowID: Int32 = 2579
}
