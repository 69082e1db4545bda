import Kernel

/// What kind of transaction a body runs in.
enum PostgresMode: Sendable {
    case read
    case write(Isolation)
    case migration

    var begin: String {
        switch self {
        case .read: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        case .write(.serializable): "BEGIN ISOLATION LEVEL SERIALIZABLE"
        case .write(.readCommitted): "BEGIN ISOLATION LEVEL READ COMMITTED"
        // Whoever waited for the lock must see what its holder committed.
        case .migration: "BEGIN ISOLATION LEVEL READ COMMITTED"
        }
    }
}

/// One run of one body.
///
/// Nothing is sent before the body's first statement.
final class PostgresTransaction: Transaction {
    let scope: DataScope
    var dialect: Dialect { .postgres }

    private let connection: PostgresConnection
    private let mode: PostgresMode
    private let deadline: UInt64
    private var hasBegun = false
    /// Something was sent since the last Sync.
    private var hasUnsynced = false
    /// Why the transaction cannot go on.
    ///
    /// A body that goes on all the same gets it again, and so does the caller.
    private(set) var failure: (any Error)?
    private(set) var remedy = PostgresFailure.Remedy.none
    private(set) var signals: [Signal] = []
    private var known: Set<Signal> = []

    init(connection: PostgresConnection, scope: DataScope, mode: PostgresMode, deadline: UInt64) {
        self.connection = connection
        self.scope = scope
        self.mode = mode
        self.deadline = deadline
    }

    // MARK: Transaction

    func rows<Value>(_ sql: SQL, _ read: (inout Row) throws -> Value) throws -> [Value] {
        try attempt {
            try send(render(sql), as: .statement(slot: 0))
            try wait()
        }
        guard let rows = connection.takeResults().first, let rows else { return [] }
        defer { rows.close() }
        return try rows.map(read)
    }

    func fetch<Value>(_ query: Query<Value>) throws -> Value {
        try attempt {
            try send(render(query.sql), as: .statement(slot: 0))
            try wait()
        }
        guard let rows = connection.takeResults().first, let rows else { throw Self.isOver }
        defer { rows.close() }
        return try query.make(rows)
    }

    func batch<Value>(_ statements: [SQL], _ read: (Int, inout Row) throws -> Value) throws -> [[Value]] {
        guard !statements.isEmpty else { return [] }
        try attempt {
            // All before the first is sent: rendering may ask the server something.
            let rendered = try statements.map(render)
            for (index, statement) in rendered.enumerated() { try send(statement, as: .statement(slot: index)) }
            try wait()
        }
        let results = connection.takeResults()
        defer { for rows in results { rows?.close() } }
        return try statements.indices.map { index in
            guard results.indices.contains(index), let rows = results[index] else { return [] }
            return try rows.map { row in try read(index, &row) }
        }
    }

    @discardableResult
    func execute(_ sql: SQL, violations: [ConstraintMapping]) throws -> Int {
        try attempt {
            try send(render(sql), as: .statement(slot: 0), violations: violations)
            try wait()
        }
        return connection.takeResults().first.flatMap { $0?.affected } ?? 0
    }

    func run(_ sql: SQL, violations: [ConstraintMapping]) throws {
        try attempt { try send(render(sql), as: .statement(slot: nil), violations: violations) }
    }

    func overwriteDeleted() {}

    func signal(_ signal: Signal) {
        if known.insert(signal).inserted { signals.append(signal) }
    }

    // MARK: Beginning and ending

    /// Makes the changes durable.
    ///
    /// Of a read only the end is sent: its result is read later.
    func commit() throws {
        try attempt {
            if claim != nil { try begin() }
            guard hasBegun else { return }
            if case .read = mode, !hasUnsynced {
                try connection.send("COMMIT", as: .end)
                try connection.sync()
                return
            }
            connection.checkAlive()
            guard !connection.isBroken else { throw PostgresFailure.lost("the server has closed the connection") }
            try connection.send("COMMIT", as: .commit)
            try connection.sync()
            hasUnsynced = false
            // Its outcome is worth some more time than the rest.
            let grace = monotonicNanoseconds().addingSaturating(5_000_000_000)
            do throws(PostgresFailure) {
                try connection.collect(until: max(deadline, grace))
            } catch {
                if case .read = mode { throw error }
                switch error.cause {
                // COMMIT was answered, and the server left then: what it did stands.
                case _ where connection.commitTag == "COMMIT": return
                case .refused: break
                // The server left before it came to the COMMIT.
                case .ended where !error.isCommit: break
                case .ended, .lost, .late: throw StorageError.commitUnknown
                }
                throw error
            }
            hasBegun = false
            guard connection.commitTag == "COMMIT" else {
                throw StorageError.database(code: "40000", message: "COMMIT was answered with \(connection.commitTag)")
            }
        }
        hasBegun = false
        if failure == nil { failure = Self.isOver }
    }

    /// Undoes everything, if there is anything.
    ///
    /// The result is read later.
    func rollback() {
        if failure == nil { failure = Self.isOver }
        guard hasBegun, !connection.isBroken else { return }
        hasBegun = false
        do {
            // A failed statement skips everything up to the next Sync, so ROLLBACK must come after it.
            if hasUnsynced { try connection.sync() }
            connection.ignoreOutstanding()
            try connection.send("ROLLBACK", as: .end)
            try connection.sync()
        } catch {
            // The connection is broken, which undoes everything as well.
        }
    }

    private static let isOver = StorageError.database(code: "25000", message: "the transaction is over")

    private func begin() throws {
        guard !hasBegun else { return }
        hasBegun = true
        hasUnsynced = true
        let isCached = if case .migration = mode { false } else { true }
        try connection.send(mode.begin, as: .control, isCached: isCached)
        if case .migration = mode { return }
        try connection.send(scope)
        if let claim {
            try send(
                render(markApplied(claim.claim, in: claim.id)),
                as: .statement(slot: nil),
                violations: IdempotencyClaimLost.mapping
            )
        }
    }

    /// What a writing transaction of this scope marks as applied, even if its body does nothing.
    private var claim: (claim: IdempotencyClaim, id: ID<OrganizationEntity>)? {
        guard case .write = mode, case .organization(let scope) = scope else { return nil }
        return scope.idempotency.map { ($0, scope.id) }
    }

    // MARK: Statements

    private typealias Statement = (text: String, values: [SQLValue])

    private func render(_ sql: SQL) throws -> Statement {
        let statement = sql.rendered(for: .postgres)
        if connection.vectorType == 0, statement.values.contains(where: \.isVector) { try findVectorType() }
        return statement
    }

    private func send(
        _ statement: Statement,
        as kind: PostgresConnection.Token.Kind,
        violations: [ConstraintMapping] = []
    ) throws {
        try begin()
        hasUnsynced = true
        let isCached = if case .migration = mode { false } else { true }
        try connection.send(
            statement.text,
            statement.values,
            as: kind,
            violations: violations,
            isCached: isCached
        )
    }

    /// The extension may have been created after the connection was made.
    private func findVectorType() throws {
        try begin()
        try connection.send("SELECT to_regtype('vector')::oid", as: .statement(slot: 0), isCached: false)
        try wait()
        connection.readVectorType()
    }

    private func wait() throws {
        try connection.sync()
        hasUnsynced = false
        try connection.collect(until: deadline)
    }

    /// Runs a step unless the transaction has failed; a step that fails ends it.
    private func attempt(_ step: () throws -> Void) throws {
        if let failure { throw failure }
        do {
            guard monotonicNanoseconds() < deadline else { throw StorageError.timedOut }
            try step()
        } catch let refused as PostgresFailure {
            let error = refused.error
            failure = error
            remedy = refused.remedy
            throw error
        } catch {
            failure = error
            throw error
        }
    }
}

extension SQLValue {
    fileprivate var isVector: Bool { if case .vector = self { true } else { false } }
}
