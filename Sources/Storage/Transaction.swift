package import Kernel

/// One transaction, used only inside the synchronous body that receives it.
///
/// A body may run again after a conflict, so rows and signals are its only effects: take ids and the time before it.
/// Three ways to run a statement, by what the body needs to know:
/// - ``rows(_:_:)`` and its kin wait for rows;
/// - ``execute(_:violations:)`` waits for the number of rows that changed;
/// - ``run(_:violations:)`` waits for nothing. The statement is sent with the next one that waits, or with the commit;
///   its failure surfaces there. This is what keeps a use case at two round trips.
package protocol Transaction: AnyObject {
    var scope: DataScope { get }
    var dialect: Dialect { get }

    func rows<Value>(_ sql: SQL, _ read: (inout Row) throws -> Value) throws -> [Value]

    func fetch<Value>(_ query: Query<Value>) throws -> Value

    /// Several statements in one round trip; `read` is told which statement a row belongs to.
    func batch<Value>(_ statements: [SQL], _ read: (Int, inout Row) throws -> Value) throws -> [[Value]]

    @discardableResult
    func execute(_ sql: SQL, violations: [ConstraintMapping]) throws -> Int

    func run(_ sql: SQL, violations: [ConstraintMapping]) throws

    /// Overwrites what the transaction deletes from here on also on the disk; see ``Database/erasing``.
    ///
    /// Does nothing on PostgreSQL.
    func overwriteDeleted() throws

    /// Wakes those who wait for this, on every node, once the transaction has been committed.
    func signal(_ signal: Signal)
}

extension Transaction {
    @discardableResult
    package func execute(_ sql: SQL) throws -> Int { try execute(sql, violations: []) }

    package func run(_ sql: SQL) throws { try run(sql, violations: []) }

    package func all<Value: RowDecodable>(_ sql: SQL, as: Value.Type = Value.self) throws -> [Value] {
        try rows(sql) { row in try Value(row: &row) }
    }

    package func first<Value: RowDecodable>(_ sql: SQL, as: Value.Type = Value.self) throws -> Value? {
        try rows(sql) { row in try Value(row: &row) }.first
    }

    /// The first column of the first row.
    package func value<Value: ColumnDecodable>(_ sql: SQL, as: Value.Type = Value.self) throws -> Value? {
        try rows(sql) { row in try row.next(Value.self) }.first
    }

    /// The first column of every row.
    package func values<Value: ColumnDecodable>(_ sql: SQL, as: Value.Type = Value.self) throws -> [Value] {
        try rows(sql) { row in try row.next(Value.self) }
    }
}

/// What a violated constraint means to the caller.
///
/// Unique constraints and indexes are named `table_column_column_key` in the schema, checks and foreign keys have names
/// of their own (`table_column_check`, `table_column_fkey`). SQLite does not say which foreign key failed, so a statement
/// maps at most one.
package struct ConstraintMapping: Sendable {
    package enum Constraint: Sendable, Hashable {
        case unique(String)
        case check(String)
        case foreignKey
    }

    package let constraint: Constraint
    package let error: any Error

    package static func unique(_ name: String, _ error: any Error) -> ConstraintMapping {
        ConstraintMapping(constraint: .unique(name), error: error)
    }

    package static func check(_ name: String, _ error: any Error) -> ConstraintMapping {
        ConstraintMapping(constraint: .check(name), error: error)
    }

    package static func foreignKey(_ error: any Error) -> ConstraintMapping {
        ConstraintMapping(constraint: .foreignKey, error: error)
    }
}

extension [ConstraintMapping] {
    /// The domain error for a violation, or the violation itself.
    func error(for violated: ConstraintMapping.Constraint, otherwise error: StorageError) -> any Error {
        first { $0.constraint == violated }?.error ?? error
    }
}

package enum StorageError: Error, Sendable, CustomStringConvertible {
    /// A constraint that the statement did not map. Nothing of the transaction remains.
    case violation(ConstraintMapping.Constraint)
    /// The transaction met another one and was given up after `attempts` tries.
    case conflict(attempts: Int)
    /// No connection became free, or none could be made, before the deadline.
    case unavailable(String)
    /// There is no room left on the database's disk. Reading goes on.
    case full
    /// The deadline of the transaction passed; it was rolled back.
    case timedOut
    /// The value in the column is not what the program expects.
    case unexpectedValue(column: Int, expected: String)
    /// A value that the database cannot keep, such as text with U+0000.
    case unstorable(String)
    /// The commit was sent and its outcome is unknown: the connection broke before the answer.
    case commitUnknown
    /// Anything else that the database said; `code` is its SQLSTATE or SQLite's extended result code.
    case database(code: String, message: String)
    case closed

    package var description: String {
        switch self {
        case .violation(let constraint): "violates \(constraint)"
        case .conflict(let attempts): "gave up after \(attempts) conflicts with other transactions"
        case .unavailable(let reason): "the database is not available: \(reason)"
        case .full: "the disk of the database is full"
        case .timedOut: "the transaction took longer than allowed"
        case .unexpectedValue(let column, let expected): "column \(column) is not \(expected)"
        case .unstorable(let what): "cannot be stored: \(what)"
        case .commitUnknown: "the connection broke while committing"
        case .database(let code, let message): "\(code): \(message)"
        case .closed: "the database has been closed"
        }
    }
}

extension StorageError {
    /// Nothing was changed, and the same may succeed in a moment.
    ///
    /// A full disk stays full until somebody makes room; jobs come back to it with growing waits.
    package var isTransient: Bool {
        switch self {
        case .conflict, .unavailable, .timedOut: true
        case .violation, .full, .unexpectedValue, .unstorable, .commitUnknown, .database, .closed: false
        }
    }
}

extension StorageError: JobReasonConvertible {
    /// Without what a database says, which may quote rows.
    package var jobReason: String {
        if case .database(let code, _) = self { "StorageError: \(code)" } else { "StorageError: \(problem.code)" }
    }
}

extension StorageError: ProblemConvertible {
    package var problem: Problem {
        switch self {
        case .conflict:
            Problem(
                .conflict,
                "storage.conflict",
                "Other changes kept getting in the way. Try again.",
                retryAfterSeconds: 1
            )
        case .unavailable, .closed, .commitUnknown:
            Problem(
                .unavailable,
                "storage.unavailable",
                "The database cannot be reached right now.",
                retryAfterSeconds: 2
            )
        case .full:
            Problem(
                .insufficientStorage,
                "storage.full",
                "The server has no room left to store this. What is stored can be read.",
                retryAfterSeconds: 60
            )
        case .timedOut:
            Problem(.unavailable, "storage.timed_out", "The database took too long to answer.", retryAfterSeconds: 2)
        case .unstorable(let what):
            Problem(.badRequest, "request.unstorable", "The request holds a value that cannot be stored: \(what).")
        case .violation, .unexpectedValue, .database:
            Problem(.internalError, "internal", "Something went wrong on our side.")
        }
    }
}
