import Dispatch
import GRDBSQLite
import Kernel
import Logging

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The one thread that writes.
///
/// What waits when it becomes free shares a transaction and its `fsync`, each body in a savepoint of its own; a body
/// that comes alone starts at once.
struct SQLiteWriter {
    let connection: SQLiteConnection
    let queue: SQLiteWorkQueue
    let signals: SignalHub
    let meters: SQLiteMeters
    let erasure: SQLiteErasure
    let room: RoomOnDisk
    let logger: Logger
    let bodyLimit: Duration
    /// The file of the write-ahead log.
    let logPath: String

    /// Bounds of a shared transaction, so that the first of it is not kept from its answer.
    private static let largestGroup = 64
    private static let timeForBodies: UInt64 = 5_000_000
    /// How long a migration may wait for another process, in milliseconds.
    private static let migrationPatience: Int32 = 60_000
    /// A log of this size, in bytes, has not been begun anew for long, as some reader was always in its middle.
    private static let largestLog: Int64 = 160 * 1_024 * 1_024
    /// How long the writer waits then for readers to leave it, in milliseconds, and how often it tries at most.
    private static let readerPatience: Int32 = 200
    private static let restartInterval: UInt64 = 2_000_000_000

    private struct GroupMember {
        let work: any SQLiteWork
        var signals: Set<Signal> = []
        /// Why the body failed.
        ///
        /// The caller hears of it after the commit, since it may be due to what others wrote.
        var error: (any Error)?
    }

    /// Serves until the queue is closed.
    func serve() {
        // Bodies whose transaction ended through another's fault, to be run again.
        var again: [any SQLiteWork] = []
        var lastRestart: UInt64 = 0
        while true {
            let now = DispatchTime.now().uptimeNanoseconds
            if now - min(now, lastRestart) >= Self.restartInterval, logSize >= Self.largestLog {
                lastRestart = now
                restartLog()
            }
            let first: any SQLiteWork
            if !again.isEmpty {
                first = again.removeFirst()
            } else if let work = queue.next() {
                meters.waited(since: work.waitingSince, for: .writer)
                first = work
            } else {
                return
            }
            switch first.kind {
            case .body: again = runGroup(startingWith: first, then: again)
            case .migration: runMigration(first)
            case .upkeep: runUpkeep(first)
            }
        }
    }

    private var logSize: Int64 {
        var status = stat()
        return stat(logPath, &status) == 0 ? Int64(status.st_size) : 0
    }

    /// Moves the log into the file and begins it anew, which the checkpoints on the way cannot while somebody reads.
    private func restartLog() {
        sqlite3_busy_timeout(connection.handle, Self.readerPatience)
        defer { sqlite3_busy_timeout(connection.handle, SQLiteDatabase.lockPatience) }
        do {
            try connection.execute("PRAGMA wal_checkpoint(RESTART)")
        } catch {
            logger.warning("the log could not be begun anew", metadata: ["error": "\(error)"])
        }
    }

    /// - Returns: What must be run again.
    private func runGroup(startingWith first: any SQLiteWork, then again: [any SQLiteWork]) -> [any SQLiteWork] {
        var again = again
        do {
            try connection.beginWriting()
        } catch {
            fail(first, with: error)
            return again
        }
        let start = DispatchTime.now().uptimeNanoseconds
        var members: [GroupMember] = []
        var candidate: (any SQLiteWork)? = first
        while let work = candidate {
            let isFirst = members.isEmpty
            let transaction = SQLiteTransaction(
                on: connection,
                scope: work.kind.scope,
                timeLimit: DispatchTime.now().uptimeNanoseconds.advanced(by: bodyLimit)
            )
            var member = GroupMember(work: work)
            do {
                // Alone, the transaction itself is the savepoint.
                if !isFirst { try connection.beginSavepoint() }
                try transaction.markApplied()
                // Those that share the transaction do not pay for it.
                defer { erasure.deleted(from: connection.endErasing()) }
                try work.run(in: transaction)
                try transaction.finish()
                if !isFirst { try connection.releaseSavepoint() }
                member.signals = transaction.signals
            } catch {
                transaction.abandon()
                connection.timeLimit = .max
                if !connection.isInTransaction {
                    // SQLite gave up the whole transaction: after an interrupted change, or because the store failed.
                    fail(work, with: error)
                    guard transaction.storeHasFailed else { return members.map(\.work) + again }
                    for other in members { fail(other.work, with: error) }
                    return again
                }
                do {
                    if isFirst {
                        connection.rollback()
                        fail(work, with: error)
                        return again
                    }
                    try connection.rollbackSavepoint()
                } catch let second {
                    connection.rollback()
                    fail(work, with: error)
                    for other in members { fail(other.work, with: second) }
                    return again
                }
                member.error = error
            }
            members.append(member)
            candidate = nil
            if members.count < Self.largestGroup, DispatchTime.now().uptimeNanoseconds - start < Self.timeForBodies {
                if !again.isEmpty {
                    candidate = again.removeFirst()
                } else if let work = queue.nextToShare() {
                    meters.waited(since: work.waitingSince, for: .writer)
                    candidate = work
                }
            }
        }
        connection.timeLimit = .max
        do {
            try connection.commit()
        } catch {
            connection.rollback()
            // The commit may have reached the disk all the same, and would be there after a restart.
            let error: any Error =
                (error as? SQLiteFailure)?.primaryCode == SQLITE_IOERR ? StorageError.commitUnknown : error
            logger.error("commit failed", metadata: ["error": "\(error)", "transactions": "\(members.count)"])
            for member in members { fail(member.work, with: error) }
            return again
        }
        meters.committed(members.count)
        signals.publish(members.reduce(into: Set()) { $0.formUnion($1.signals) })
        for member in members {
            if let error = member.error {
                fail(member.work, with: error)
            } else {
                meters.ended(.committed)
                member.work.finish(nil)
            }
        }
        return again
    }

    /// A transaction that may rebuild tables: foreign keys are not enforced while it runs, but checked at its end.
    private func runMigration(_ work: any SQLiteWork) {
        do {
            sqlite3_busy_timeout(connection.handle, Self.migrationPatience)
            defer { sqlite3_busy_timeout(connection.handle, SQLiteDatabase.lockPatience) }
            try connection.execute("PRAGMA foreign_keys = OFF")
            defer { switchForeignKeysOn() }
            try connection.beginWriting()
            let transaction = SQLiteTransaction(on: connection, scope: .system(.maintenance), timeLimit: .max)
            do {
                let changes = sqlite3_total_changes64(connection.handle)
                let version = try connection.integer("PRAGMA schema_version")
                defer { erasure.deleted(from: connection.endErasing()) }
                try work.run(in: transaction)
                try transaction.finish()
                let isUntouched =
                    try changes == sqlite3_total_changes64(connection.handle)
                    && version == connection.integer("PRAGMA schema_version")
                if !isUntouched { try checkForeignKeys() }
                try connection.commit()
            } catch {
                transaction.abandon()
                connection.rollback()
                throw error
            }
            signals.publish(transaction.signals)
            meters.ended(.committed)
            work.finish(nil)
        } catch {
            fail(work, with: error)
        }
    }

    private func checkForeignKeys() throws {
        try connection.withStatement("PRAGMA foreign_key_check", []) { statement in
            guard try statement.step() else { return }
            let table = statement.isNull(0) ? "?" : String(decoding: try statement.text(0), as: UTF8.self)
            logger.error("a migration left rows that refer to nothing", metadata: ["table": "\(table)"])
            throw StorageError.violation(.foreignKey)
        }
    }

    private func switchForeignKeysOn() {
        do {
            try connection.execute("PRAGMA foreign_keys = ON")
        } catch {
            logger.critical("foreign keys are off", metadata: ["error": "\(error)"])
        }
    }

    private func runUpkeep(_ work: any SQLiteWork) {
        let transaction = SQLiteTransaction(on: connection, scope: .system(.maintenance), timeLimit: .max)
        do {
            try work.run(in: transaction)
            transaction.abandon()
            work.finish(nil)
        } catch {
            transaction.abandon()
            connection.rollback()
            work.finish((error as? SQLiteFailure)?.storageError ?? error)
        }
    }

    private func fail(_ work: any SQLiteWork, with error: any Error) {
        let error = (error as? SQLiteFailure)?.storageError ?? error
        room.note(error)
        meters.ended(SQLiteMeters.Outcome(error))
        work.finish(error)
    }
}

/// One of the threads that read.
struct SQLiteReader {
    let connection: SQLiteConnection
    let queue: SQLiteWorkQueue
    let meters: SQLiteMeters
    let bodyLimit: Duration

    /// Serves until the queue is closed.
    func serve() {
        while let work = queue.next() {
            meters.waited(since: work.waitingSince, for: .reader)
            let transaction = SQLiteTransaction(
                on: connection,
                scope: work.kind.scope,
                timeLimit: DispatchTime.now().uptimeNanoseconds.advanced(by: bodyLimit)
            )
            do {
                try connection.begin()
                try work.run(in: transaction)
                try transaction.finish()
                connection.timeLimit = .max
                try connection.commit()
                meters.ended(.committed)
                work.finish(nil)
            } catch {
                transaction.abandon()
                connection.rollback()
                let error = (error as? SQLiteFailure)?.storageError ?? error
                meters.ended(SQLiteMeters.Outcome(error))
                work.finish(error)
            }
        }
    }
}

extension SQLiteWorkKind {
    var scope: DataScope {
        if case .body(let scope) = self { scope } else { .system(.maintenance) }
    }
}

extension SQLiteTransaction {
    /// Marks the idempotency record of the request as applied, with the request's own changes.
    fileprivate func markApplied() throws {
        guard case .organization(let scope) = scope, let claim = scope.idempotency else { return }
        try run(Storage.markApplied(claim, in: scope.id), violations: IdempotencyClaimLost.mapping)
    }
}
