import Dispatch
import GRDBSQLite
import Kernel

/// One transaction on a connection, inside the body that uses it.
///
/// Statements run at once, deferred ones too. As on PostgreSQL a statement that failed dooms the transaction, even if
/// the body goes on: later statements throw the same error, and nothing is committed.
final class SQLiteTransaction: Transaction {
    let scope: DataScope
    let connection: SQLiteConnection
    private let timeLimit: UInt64
    private(set) var signals: Set<Signal> = []
    private var failure: (any Error)?
    /// Whether the disk, the file or the memory failed rather than the statement.
    private(set) var storeHasFailed = false
    private var isOpen = true

    var dialect: Dialect { .sqlite }

    init(on connection: SQLiteConnection, scope: DataScope, timeLimit: UInt64) {
        self.connection = connection
        self.scope = scope
        self.timeLimit = timeLimit
        connection.timeLimit = timeLimit
    }

    func rows<Value>(_ sql: SQL, _ read: (inout Row) throws -> Value) throws -> [Value] {
        try perform(sql, violations: []) { statement in
            var values: [Value] = []
            while try step(statement, violations: []) {
                var row = Row(source: statement)
                values.append(try read(&row))
            }
            return values
        }
    }

    func fetch<Value>(_ query: Query<Value>) throws -> Value {
        try perform(query.sql, violations: []) { statement in try query.make(statement) }
    }

    func batch<Value>(_ statements: [SQL], _ read: (Int, inout Row) throws -> Value) throws -> [[Value]] {
        try statements.enumerated().map { index, sql in
            try rows(sql) { row in try read(index, &row) }
        }
    }

    @discardableResult
    func execute(_ sql: SQL, violations: [ConstraintMapping]) throws -> Int {
        try perform(sql, violations: violations) { statement in
            let before = sqlite3_total_changes64(connection.handle)
            while try step(statement, violations: violations) {}
            // The count of the statement alone, without cascades; statements that change no rows leave an older one.
            guard sqlite3_total_changes64(connection.handle) != before else { return 0 }
            return Int(sqlite3_changes64(connection.handle))
        }
    }

    func run(_ sql: SQL, violations: [ConstraintMapping]) throws {
        try perform(sql, violations: violations) { statement in
            while try step(statement, violations: violations) {}
        }
    }

    func overwriteDeleted() throws {
        guard isOpen else { throw StorageError.closed }
        do {
            try connection.beginErasing()
        } catch let error as SQLiteFailure {
            throw fail(with: error, violations: [])
        }
    }

    func signal(_ signal: Signal) { signals.insert(signal) }

    /// Ends the use of the transaction by its body, and throws what keeps it from being committed.
    func finish() throws {
        isOpen = false
        if let failure { throw failure }
        if DispatchTime.now().uptimeNanoseconds >= timeLimit { throw StorageError.timedOut }
        if connection.hasOpenForeignKeys { throw StorageError.violation(.foreignKey) }
    }

    /// Ends the use of the transaction after its body threw.
    func abandon() { isOpen = false }

    private func perform<Value>(
        _ sql: SQL,
        violations: [ConstraintMapping],
        _ use: (SQLiteStatement) throws -> Value
    ) throws -> Value {
        guard isOpen else { throw StorageError.closed }
        if let failure { throw failure }
        guard DispatchTime.now().uptimeNanoseconds < timeLimit else { throw fail(with: StorageError.timedOut) }
        let (text, values) = sql.rendered(for: .sqlite)
        do {
            return try connection.withStatement(text, values) { statement in
                guard !statement.controlsTransaction else {
                    throw SQLiteFailure(code: SQLITE_MISUSE, message: "a body cannot begin or end transactions")
                }
                return try use(statement)
            }
        } catch let error as SQLiteFailure {
            throw fail(with: error, violations: violations)
        } catch let error as StorageError {
            if case .unstorable = error { throw fail(with: error) }
            throw error
        }
    }

    private func step(_ statement: SQLiteStatement, violations: [ConstraintMapping]) throws -> Bool {
        do {
            return try statement.step()
        } catch let error as SQLiteFailure {
            throw fail(with: error, violations: violations)
        }
    }

    private func fail(with error: SQLiteFailure, violations: [ConstraintMapping]) -> any Error {
        storeHasFailed = storeHasFailed || error.isOfStore
        return fail(with: error.error(mappedBy: violations))
    }

    private func fail(with error: any Error) -> any Error {
        failure = error
        return error
    }
}
