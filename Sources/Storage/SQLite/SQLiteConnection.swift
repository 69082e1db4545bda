import Dispatch
import GRDBSQLite

/// One connection and its prepared statements.
///
/// Used by one thread at a time.
final class SQLiteConnection {
    let handle: OpaquePointer
    private var statements: [String: SQLiteStatement] = [:]
    private var uses: UInt64 = 0
    private let limit = TimeLimit()
    /// Of the transaction that erases, if one does.
    private var deletions: Deletions?

    /// Statements kept ready.
    ///
    /// Texts vary with optional conditions and the lengths of lists, so there is no natural end.
    private static let capacity = 500
    /// Instructions of SQLite's virtual machine, some microseconds, between two looks at the clock.
    private static let instructionsPerCheck: Int32 = 2_000

    /// When the transaction at hand must have ended.
    ///
    /// A class of its own, as SQLite's callback points to it.
    private final class TimeLimit {
        var end = UInt64.max
    }

    /// The tables that lose rows, or what rows held.
    ///
    /// A class of its own, as SQLite's callback points to it.
    private final class Deletions {
        var tables: Set<String> = []
    }

    /// - Parameter handle: An open connection, which outlives this object.
    init(_ handle: OpaquePointer) {
        self.handle = handle
        // GRDB watches the statements that it prepares itself, by callbacks that collect for ever if it never does.
        sqlite3_set_authorizer(handle, nil, nil)
        sqlite3_commit_hook(handle, nil, nil)
        sqlite3_rollback_hook(handle, nil, nil)
        // The callback runs inside of sqlite3_step, on this thread, while `self` is alive.
        sqlite3_progress_handler(
            handle,
            Self.instructionsPerCheck,
            { pointer in
                guard let pointer else { return 0 }
                let limit = Unmanaged<TimeLimit>.fromOpaque(pointer).takeUnretainedValue()
                return DispatchTime.now().uptimeNanoseconds >= limit.end ? 1 : 0
            },
            Unmanaged.passUnretained(limit).toOpaque()
        )
    }

    deinit {
        sqlite3_progress_handler(handle, 0, nil, nil)
        sqlite3_update_hook(handle, nil, nil)
    }

    /// When statements are interrupted, in nanoseconds of `DispatchTime`.
    var timeLimit: UInt64 {
        get { limit.end }
        set { limit.end = newValue }
    }

    var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

    /// Whether rows of this transaction refer to rows that do not exist, by a constraint that is checked at the commit.
    var hasOpenForeignKeys: Bool {
        var current: Int32 = 0
        var highest: Int32 = 0
        sqlite3_db_status(handle, SQLITE_DBSTATUS_DEFERRED_FKS, &current, &highest, 0)
        return current != 0
    }

    // MARK: Statements

    /// Prepares or finds a statement, and resets it afterwards.
    func withStatement<Value>(
        _ text: String,
        _ values: [SQLValue],
        _ body: (SQLiteStatement) throws -> Value
    ) throws -> Value {
        let statement = try statement(for: text)
        statement.isInUse = true
        defer {
            statement.reset()
            statement.isInUse = false
        }
        try statement.bind(values)
        return try body(statement)
    }

    /// Runs a statement of the driver's own to its end.
    func execute(_ text: String) throws {
        try withStatement(text, []) { statement in while try statement.step() {} }
    }

    func integer(_ text: String) throws -> Int64? {
        try withStatement(text, []) { statement in try statement.step() ? try statement.integer(0) : nil }
    }

    private func statement(for text: String) throws -> SQLiteStatement {
        uses &+= 1
        if let statement = statements[text], !statement.isInUse {
            statement.lastUse = uses
            return statement
        }
        let statement = try SQLiteStatement(text, on: handle)
        statement.lastUse = uses
        // One whose text is in use already, by a loop over its rows, is not kept.
        if statements[text] == nil {
            if statements.count >= Self.capacity { forgetOldStatements() }
            statements[text] = statement
        }
        return statement
    }

    /// Drops the older half.
    private func forgetOldStatements() {
        let ages = statements.values.map(\.lastUse).sorted()
        let median = ages[ages.count / 2]
        statements = statements.filter { $0.value.isInUse || $0.value.lastUse >= median }
    }

    // MARK: Erasing

    /// Overwrites what is deleted until ``endErasing()``, pages that become free included.
    func beginErasing() throws {
        guard deletions == nil else { return }
        try switchSecureDelete("ON")
        let deletions = Deletions()
        self.deletions = deletions
        // The callback runs inside of sqlite3_step, on this thread, while `deletions` is alive.
        sqlite3_update_hook(
            handle,
            { pointer, operation, _, table, _ in
                guard operation != SQLITE_INSERT, let pointer, let table else { return }
                let deletions = Unmanaged<Deletions>.fromOpaque(pointer).takeUnretainedValue()
                deletions.tables.insert(String(cString: table))
            },
            Unmanaged.passUnretained(deletions).toOpaque()
        )
    }

    /// - Returns: The tables that have lost rows, or what rows held.
    func endErasing() -> Set<String> {
        guard let deletions else { return [] }
        sqlite3_update_hook(handle, nil, nil)
        self.deletions = nil
        // If it fails, more is overwritten than has to be.
        try? switchSecureDelete(Self.ordinarySecureDelete)
        return deletions.tables
    }

    /// Deleted cells are overwritten in pages that are written anyway; pages that become free are not.
    static let ordinarySecureDelete = "FAST"

    /// Not by a statement that is kept ready: SQLite does it when it prepares the statement, not when it runs it.
    private func switchSecureDelete(_ mode: String) throws {
        guard sqlite3_exec(handle, "PRAGMA secure_delete = \(mode)", nil, nil, nil) == SQLITE_OK else {
            throw SQLiteFailure(handle)
        }
    }

    // MARK: Transactions

    func begin() throws { try execute("BEGIN") }
    func beginWriting() throws { try execute("BEGIN IMMEDIATE") }
    func commit() throws { try execute("COMMIT") }

    /// Ends the transaction, if SQLite has not done so itself.
    func rollback() {
        timeLimit = .max
        guard isInTransaction else { return }
        // It can fail only where SQLite has rolled back already.
        try? execute("ROLLBACK")
    }

    func beginSavepoint() throws { try execute("SAVEPOINT member") }
    func releaseSavepoint() throws { try execute("RELEASE member") }

    func rollbackSavepoint() throws {
        timeLimit = .max
        try execute("ROLLBACK TO member")
        try execute("RELEASE member")
    }
}
