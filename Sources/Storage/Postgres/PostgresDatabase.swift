package import Kernel
package import Logging
import Metrics
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// PostgreSQL 15 or later through libpq.
///
/// Bodies run on the threads of the connections. Statements travel in libpq's pipeline: `BEGIN` and the tenant go with
/// the first statement, statements whose rows nobody reads with the next one or with `COMMIT`, and nobody waits for the
/// end of a read, so that a read with one statement takes one round trip and a typical write takes two.
package final class PostgresDatabase: Database {
    package let signals: SignalHub
    package var dialect: Dialect { .postgres }
    /// Calls in line for a thread, also those that have been given up since.
    package var waiting: Int { pool.waiting }

    private let configuration: PostgresConfiguration
    private let logger: Logger
    private let threads = ThreadGroup()
    private let pool: PostgresPool
    private let notifier: PostgresNotifier
    private let outcomes = Outcomes()
    private let room = RoomOnDisk()
    /// Tells this node's own notifications from those of others.
    private let node: String
    private let running = Mutex<(listeners: [PostgresListener], isClosed: Bool)>(([], false))

    /// Connects once, as the URL's user, to see that the database is there.
    ///
    /// The role of the transactions may not exist yet: migrations make it. `roleReport` tells.
    package init(configuration: PostgresConfiguration, signals: SignalHub = SignalHub(), logger: Logger) async throws {
        self.configuration = configuration
        self.signals = signals
        self.logger = logger
        let id = ID<PostgresDatabase>()
        node = String(id.low, radix: 16)
        pool = PostgresPool(configuration: configuration, threads: threads, logger: logger)
        notifier = PostgresNotifier(node: node, configuration: configuration, threads: threads, logger: logger)
        try await withConnection(role: nil) { _ in }
    }

    // MARK: Database

    package func read<Value: Sendable>(
        in scope: DataScope,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await perform(.read, in: scope, body)
    }

    package func fetch<Value: Sendable>(_ query: Query<Value>, in scope: DataScope) async throws -> Value {
        try await perform(.read, in: scope, query: query) { tx in try tx.fetch(query) }
    }

    package func write<Value: Sendable>(
        in scope: DataScope,
        isolation: Isolation,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await perform(.write(isolation), in: scope, body)
    }

    /// Everybody else stands in line behind each of them for up to five seconds.
    private static let migrationAttempts = 10

    /// Runs as the URL's own user, who owns the tables.
    ///
    /// `Transaction.scope` says `maintenance`, but no setting of it is made. A lock that cannot be had within a few
    /// seconds is given up and tried again, because everybody else queues up behind a migration that waits.
    package func migrate<Value: Sendable>(
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        let attempts = Self.migrationAttempts
        return try await withConnection(role: nil) { [logger, outcomes] connection in
            for attempt in 1... {
                let tx = PostgresTransaction(
                    connection: connection,
                    scope: .system(.maintenance),
                    mode: .migration,
                    deadline: .max
                )
                do {
                    _ = try tx.rows("SELECT pg_advisory_xact_lock(hashtextextended('kuvend.migrate', 0))") { _ in }
                    try tx.run("SET LOCAL lock_timeout = '5s'")
                    let value = try body(tx)
                    try tx.commit()
                    outcomes.committed.increment()
                    return value
                } catch {
                    tx.rollback()
                    let isBlocked =
                        if case StorageError.database("55P03", _) = tx.failure ?? error { true } else { false }
                    guard isBlocked || tx.remedy == .rerun, attempt < attempts, !connection.isBroken else {
                        outcomes.failed.increment()
                        throw error
                    }
                    logger.notice("a migration met another transaction and begins again")
                    sleepBeforeAttempt(attempt + 6)
                }
            }
            throw StorageError.conflict(attempts: attempts)
        }
    }

    package func finishErasing() async throws -> Bool { true }

    package func checkRoom() async throws {
        guard room.isMissing else { return }
        do {
            try await write(for: .maintenance, isolation: .readCommitted) { tx in
                // Where the tables lie, and not made smaller by compression.
                try tx.run("SET LOCAL temp_tablespaces = ''")
                try tx.run("CREATE TEMPORARY TABLE kuvend_room (bytes BYTEA NOT NULL) ON COMMIT DROP")
                try tx.run("ALTER TABLE kuvend_room ALTER COLUMN bytes SET STORAGE EXTERNAL")
                try tx.run(
                    "INSERT INTO kuvend_room (bytes) VALUES (\(SQLValue.bytes(Array(repeating: 0, count: 65_536))))"
                )
            }
        } catch StorageError.database {
            // Not a matter of room: the role may not make such tables. The next write will tell.
        }
        room.isMissing = false
    }

    package func run() async throws {
        let listener = try PostgresListener(
            node: node,
            configuration: configuration,
            hub: signals,
            logger: logger
        )
        let isClosed = running.withLock { running in
            if !running.isClosed { running.listeners.append(listener) }
            return running.isClosed
        }
        guard !isClosed else { throw StorageError.closed }
        defer { running.withLock { $0.listeners.removeAll { $0 === listener } } }
        let hasStarted = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let hasStarted = threads.start("kuvend-listen") {
                    listener.serve()
                    continuation.resume(returning: true)
                }
                if !hasStarted { continuation.resume(returning: false) }
            }
        } onCancel: {
            listener.stop()
        }
        guard hasStarted else { throw StorageError.unavailable("the system has no thread left") }
    }

    package func close() async {
        let listeners = running.withLock { running in
            running.isClosed = true
            return running.listeners
        }
        for listener in listeners { listener.stop() }
        pool.close()
        notifier.close()
        await threads.wait()
    }

    /// What the role of the transactions may do.
    ///
    /// Connects anew, so that it also tells when that fails.
    package func roleReport() async throws -> PostgresRoleReport {
        let deadline = monotonicNanoseconds().addingSaturating(configuration.transactionTimeout.nanosecondsClamped)
        return try await withConnection(role: configuration.role) { connection in
            let tx = PostgresTransaction(
                connection: connection,
                scope: .system(.maintenance),
                mode: .read,
                deadline: deadline
            )
            defer { tx.rollback() }
            guard let report = try tx.first(PostgresRoleReport.statement, as: PostgresRoleReport.self) else {
                throw StorageError.unavailable("the role is not known to the server")
            }
            return report
        }
    }

    // MARK: Running bodies

    private func perform<Value: Sendable>(
        _ mode: PostgresMode,
        in scope: DataScope,
        query: Query<Value>? = nil,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        let work = PostgresWork()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Value, any Error>) in
                let job = PostgresWork.QueuedTransaction(
                    query: query.map { query in
                        PostgresQuery(scope: scope, sql: query.sql) { [outcomes] rows in
                            outcomes.committed.increment()
                            continuation.resume(with: Result { try query.make(rows) })
                        }
                    },
                    run: { [self] connection, progress in
                        switch runBody(body, mode, in: scope, on: connection, &progress) {
                        case .success(let value):
                            continuation.resume(returning: value)
                            return .finished
                        case .failure(let error as ConnectionLost): return .lost(error.reason)
                        case .failure(let error):
                            continuation.resume(throwing: error)
                            return .finished
                        }
                    },
                    fail: { [outcomes] error in
                        outcomes.failed.increment()
                        continuation.resume(throwing: error)
                    },
                    enqueued: monotonicNanoseconds()
                )
                pool.submit(work, job)
            }
        } onCancel: {
            work.cancel()
        }
    }

    /// The connection was lost while nothing was committed.
    private struct ConnectionLost: Error {
        let reason: String
    }

    /// Runs a body until it is committed or has failed for good.
    private func runBody<Value: Sendable>(
        _ body: @Sendable (any Transaction) throws -> Value,
        _ mode: PostgresMode,
        in scope: DataScope,
        on connection: PostgresConnection,
        _ progress: inout PostgresWork.Progress
    ) -> Result<Value, any Error> {
        let deadline =
            progress.deadline
            ?? monotonicNanoseconds().addingSaturating(configuration.transactionTimeout.nanosecondsClamped)
        progress.deadline = deadline
        var conflicts = 0
        var hasPreparedAgain = false
        while true {
            let tx = PostgresTransaction(connection: connection, scope: scope, mode: mode, deadline: deadline)
            do {
                let value = try body(tx)
                try tx.commit()
                if !connection.isBroken { try? connection.sendDiscarded() }
                outcomes.committed.increment()
                if !tx.signals.isEmpty {
                    signals.publish(tx.signals)
                    notifier.send(tx.signals)
                }
                return .success(value)
            } catch {
                tx.rollback()
                switch tx.remedy {
                case .none:
                    outcomes.failed.increment()
                    room.note(error)
                    // The body may have thrown something of its own after the server had refused a statement.
                    return .failure(error)
                case .rerun:
                    conflicts += 1
                    outcomes.conflicts.increment()
                    guard conflicts < configuration.maximumAttempts else {
                        outcomes.failed.increment()
                        return .failure(StorageError.conflict(attempts: conflicts))
                    }
                    guard monotonicNanoseconds() < deadline else {
                        outcomes.failed.increment()
                        return .failure(StorageError.timedOut)
                    }
                    sleepBeforeAttempt(conflicts)
                case .prepareAgain:
                    guard !hasPreparedAgain else {
                        outcomes.failed.increment()
                        return .failure(error)
                    }
                    hasPreparedAgain = true
                    do {
                        try connection.forgetStatements()
                        try connection.sync()
                    } catch {
                        return .failure(ConnectionLost(reason: "\(error)"))
                    }
                case .reconnect:
                    return .failure(ConnectionLost(reason: "\(tx.failure ?? error)"))
                }
            }
        }
    }

    /// Runs `body` on a thread and a connection of its own.
    private func withConnection<Value: Sendable>(
        role: String?,
        _ body: @escaping @Sendable (PostgresConnection) throws -> Value
    ) async throws -> Value {
        guard !running.withLock({ $0.isClosed }) else { throw StorageError.closed }
        let configuration = configuration
        let threads = threads
        return try await withCheckedThrowingContinuation { continuation in
            let hasStarted = threads.start("kuvend-db-own") {
                do {
                    let connection = try PostgresConnection.connect(
                        to: configuration.url,
                        role: role,
                        timeout: .zero,
                        until: monotonicNanoseconds().addingSaturating(
                            configuration.connectTimeout.nanosecondsClamped
                        )
                    )
                    let result = Result { try body(connection) }
                    connection.drain()
                    connection.close(using: threads)
                    continuation.resume(with: result)
                } catch let failure as PostgresFailure {
                    continuation.resume(throwing: StorageError.unavailable(failure.message))
                } catch {
                    continuation.resume(throwing: error)
                }
            }
            if !hasStarted {
                continuation.resume(throwing: StorageError.unavailable("the system has no thread left"))
            }
        }
    }
}

/// Up to 2, 4, 8 ...
///
/// 128 ms, so that those who met do not meet again.
private func sleepBeforeAttempt(_ attempt: Int) {
    let ceiling: UInt32 = 1_000 << UInt32(min(max(attempt, 1), 7))
    usleep(UInt32.random(in: 0..<ceiling))
}

private struct Outcomes: Sendable {
    let committed = Counter(label: "kuvend_db_transactions_total", dimensions: [("outcome", "committed")])
    let failed = Counter(label: "kuvend_db_transactions_total", dimensions: [("outcome", "failed")])
    let conflicts = Counter(label: "kuvend_db_conflicts_total")
}
