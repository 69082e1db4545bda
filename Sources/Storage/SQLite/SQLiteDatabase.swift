import Dispatch
import Foundation
import GRDB
import GRDBSQLite
package import Kernel
package import Logging
import Synchronization

/// How to open a SQLite database.
package struct SQLiteConfiguration: Sendable {
    /// The file; made when there is none.
    ///
    /// Beside it lie `…-wal` and `…-shm`.
    package var path: String
    /// Connections, each with a thread, for reads; 1–64.
    package var readers: Int
    /// How long a call may wait for its turn.
    package var patience: Duration
    /// More connections, for queries on the threads of those who ask; 1–64.
    package var sharedReaders: Int
    /// How long the body of a read may take.
    package var readLimit: Duration
    /// How long the body of a write may take; others wait meanwhile.
    package var writeLimit: Duration

    package init(
        path: String,
        readers: Int = 4,
        sharedReaders: Int = 2,
        patience: Duration = .seconds(5),
        readLimit: Duration = .seconds(30),
        writeLimit: Duration = .seconds(10)
    ) {
        self.path = path
        self.readers = min(max(readers, 1), 64)
        self.sharedReaders = min(max(sharedReaders, 1), 64)
        self.patience = patience
        self.readLimit = readLimit
        self.writeLimit = writeLimit
    }
}

/// The embedded database: one file, one process, one writer, several readers.
///
/// GRDB opens, configures and keeps the connections. Each belongs to one thread of the driver for as long as the
/// database is open - those for queries lend theirs to whoever asks - and statements go to SQLite's own interface. Measured on 2 cores with 16 callers: 145,000 point
/// reads/s through the reader threads, 32,000 through GRDB's asynchronous `read`.
package final class SQLiteDatabase: Database {
    package let signals: SignalHub
    package let path: String
    private let configuration: SQLiteConfiguration
    private let pool: DatabasePool
    private let reads: SQLiteWorkQueue
    private let sharedReaders = SQLiteSharedReaders()
    private let writes: SQLiteWorkQueue
    private let meters: SQLiteMeters
    let erasure = SQLiteErasure()
    private let room = RoomOnDisk()
    private let logger: Logger
    private let isClosed = Atomic<Bool>(false)

    package var dialect: Dialect { .sqlite }

    /// Milliseconds to wait for another process that holds the lock of the file.
    static let lockPatience: Int32 = 5_000
    private static let queueCapacity = 20_000
    /// How long a query may keep its caller's thread, which others need; then it goes to the threads that read.
    private static let queryLimit = Duration.milliseconds(50)

    /// Opens the file, or makes it, readable for its owner alone.
    package init(configuration: SQLiteConfiguration, signals: SignalHub, logger: Logger) throws {
        self.configuration = configuration
        self.signals = signals
        self.logger = logger
        path = configuration.path
        meters = SQLiteMeters()
        reads = SQLiteWorkQueue(capacity: Self.queueCapacity)
        writes = SQLiteWorkQueue(capacity: Self.queueCapacity)
        do {
            try createFile(at: configuration.path)
            pool = try DatabasePool(path: configuration.path, configuration: Self.poolConfiguration(configuration))
            // GRDB has set NORMAL, with which a commit may be lost in a power failure.
            try pool.writeWithoutTransaction { db in
                try db.execute(sql: "PRAGMA synchronous = FULL")
                try db.execute(sql: "PRAGMA wal_autocheckpoint = 10000")
                // The builds of SQLite have different defaults.
                try db.execute(sql: "PRAGMA secure_delete = \(SQLiteConnection.ordinarySecureDelete)")
                try db.execute(sql: "PRAGMA journal_size_limit = 67108864")
            }
        } catch let error as DatabaseError {
            throw StorageError.unavailable(
                "\(configuration.path): \(error.message ?? "SQLite error \(error.resultCode)")"
            )
        }
        startThreads()
    }

    deinit {
        reads.close()
        sharedReaders.close()
        writes.close()
    }

    private static func poolConfiguration(_ configuration: SQLiteConfiguration) -> Configuration {
        var pool = Configuration()
        pool.label = "kuvend"
        pool.maximumReaderCount = configuration.readers + configuration.sharedReaders
        pool.busyMode = .timeout(Double(lockPatience) / 1_000)
        pool.foreignKeysEnabled = true
        pool.prepareDatabase { db in
            if !db.configuration.readonly {
                // Counts only in a file without tables, and before it becomes a WAL database.
                try db.execute(sql: "PRAGMA auto_vacuum = INCREMENTAL")
            }
            // Kibibytes. What is not here is in the page cache of the system.
            try db.execute(sql: "PRAGMA cache_size = \(db.configuration.readonly ? -8_000 : -32_000)")
            try db.execute(sql: "PRAGMA mmap_size = 0")
            try db.execute(sql: "PRAGMA temp_store = MEMORY")
            // The schema is this program's own, and the triggers of the full-text indexes write to virtual tables.
            try db.execute(sql: "PRAGMA trusted_schema = ON")
        }
        return pool
    }

    /// Each thread holds a connection of the pool until the queue is closed.
    ///
    /// None holds the database itself, so that one that is dropped without `close()` ends them too.
    private func startThreads() {
        let (pool, reads, writes, meters, logger, signals) = (pool, reads, writes, meters, logger, signals)
        let (erasure, room) = (erasure, room)
        let (readLimit, writeLimit) = (configuration.readLimit, configuration.writeLimit)
        let logPath = configuration.path + "-wal"
        startThread("kuvend-writer", for: writes) {
            pool.writeWithoutTransaction { db in
                guard let handle = db.sqliteConnection else { return }
                SQLiteWriter(
                    connection: SQLiteConnection(handle),
                    queue: writes,
                    signals: signals,
                    meters: meters,
                    erasure: erasure,
                    room: room,
                    logger: logger,
                    bodyLimit: writeLimit,
                    logPath: logPath
                ).serve()
            }
        }
        let sharedReaders = sharedReaders
        for number in 1...configuration.sharedReaders {
            startThread("kuvend-shared-\(number)", for: reads) {
                do {
                    try pool.unsafeRead { db in
                        guard let handle = db.sqliteConnection else { return }
                        sharedReaders.lend(SQLiteConnection(handle))
                    }
                } catch {
                    logger.error("cannot open a connection for queries", metadata: ["error": "\(error)"])
                }
            }
        }
        for number in 1...configuration.readers {
            startThread("kuvend-reader-\(number)", for: reads) {
                var isServed = false
                while !isServed {
                    do {
                        try pool.unsafeRead { db in
                            guard let handle = db.sqliteConnection else { return }
                            SQLiteReader(
                                connection: SQLiteConnection(handle),
                                queue: reads,
                                meters: meters,
                                bodyLimit: readLimit
                            ).serve()
                        }
                        isServed = true
                    } catch {
                        // No file descriptors, most likely. One caller is told, then there is another attempt.
                        logger.error("cannot open a connection to read", metadata: ["error": "\(error)"])
                        guard let work = reads.next() else { return }
                        work.finish(StorageError.unavailable("cannot open a connection"))
                    }
                }
            }
        }
    }

    // MARK: Transactions

    package func read<Value: Sendable>(
        in scope: DataScope,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await perform(.body(scope), on: reads, patience: configuration.patience) { try body($0) }
    }

    package func fetch<Value: Sendable>(_ query: Query<Value>, in scope: DataScope) async throws -> Value {
        if let reader = sharedReaders.borrow() {
            defer { sharedReaders.giveBack(reader) }
            do {
                if let value = try reader.fetch(query, in: scope, within: Self.queryLimit) {
                    meters.ended(.committed)
                    return value
                }
            } catch {
                meters.ended(SQLiteMeters.Outcome(error))
                throw error
            }
        }
        return try await read(in: scope) { tx in try tx.fetch(query) }
    }

    package func write<Value: Sendable>(
        in scope: DataScope,
        isolation: Isolation,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await perform(.body(scope), on: writes, patience: configuration.patience) { try body($0) }
    }

    package func migrate<Value: Sendable>(
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await perform(.migration, on: writes, patience: .seconds(60)) { try body($0) }
    }

    private func perform<Value: Sendable>(
        _ kind: SQLiteWorkKind,
        on queue: SQLiteWorkQueue,
        patience: Duration,
        _ body: @escaping @Sendable (SQLiteTransaction) throws -> Value
    ) async throws -> Value {
        let call = SQLiteCall(kind, patience: patience, body)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                if call.wait(continuation) { queue.add(call) }
            }
        } onCancel: {
            call.giveUp(CancellationError())
        }
    }

    /// Calls in line for a thread, also those that have been given up since.
    package var waiting: Int { reads.count + writes.count }

    /// Commits so far, and the bodies that shared them.
    package var groupCommits: (commits: Int, bodies: Int) { meters.groupCommits }

    // MARK: Service

    /// Tends the file while nothing is written, until cancelled.
    package func run() async throws {
        var seen = groupCommits.commits
        var ticks = 0
        while !Task.isCancelled, !isClosed.load(ordering: .relaxed) {
            do {
                try await Task.sleep(for: .seconds(10))
            } catch {
                return
            }
            ticks += 1
            let commits = groupCommits.commits
            defer { seen = commits }
            guard commits == seen else { continue }
            do {
                try await tend(isThorough: ticks % 360 == 0)
            } catch is CancellationError {
                return
            } catch {
                logger.warning("upkeep of the database failed", metadata: ["error": "\(error)"])
            }
        }
    }

    /// Gives pages that became free back to the file system, a few at a time, and moves the log into the file.
    ///
    /// - Parameter isThorough: Whether to refresh the statistics of the query planner as well.
    package func tend(isThorough: Bool = false) async throws {
        let seen = groupCommits.commits
        try await releaseFreePages { self.groupCommits.commits == seen }
        try await upkeep { connection in
            try connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            if isThorough { try connection.execute("PRAGMA optimize") }
        }
    }

    /// Gives pages that became free back to the file system, a few at a time, for as long as `goesOn` says so.
    func releaseFreePages(while goesOn: () -> Bool) async throws {
        var free = Int64.max
        while free > 0, goesOn() {
            let rest = try await upkeep { connection in
                try connection.execute("PRAGMA incremental_vacuum(500)")
                return try connection.integer("PRAGMA freelist_count") ?? 0
            }
            // A file that was made without incremental vacuum keeps its pages.
            if rest == free { break }
            free = rest
        }
    }

    package func checkRoom() async throws {
        guard room.isMissing else { return }
        // More than a page, so that a little that is left here or there does not pass for room.
        try await upkeep { connection in
            try connection.beginWriting()
            try connection.execute("CREATE TABLE kuvend_room (bytes BLOB NOT NULL)")
            try connection.execute("INSERT INTO kuvend_room (bytes) VALUES (zeroblob(65536))")
            try connection.execute("DROP TABLE kuvend_room")
            try connection.commit()
        }
        room.isMissing = false
    }

    func upkeep<Value: Sendable>(
        _ body: @escaping @Sendable (SQLiteConnection) throws -> Value
    ) async throws -> Value {
        try await perform(.upkeep, on: writes, patience: configuration.patience) { try body($0.connection) }
    }

    package func close() async {
        isClosed.store(true, ordering: .relaxed)
        reads.close()
        sharedReaders.close()
        writes.close()
        await reads.waitForThreads()
        await writes.waitForThreads()
        // Moves what is left of the log into the file, so it has a thread of its own too.
        await onOwnThread("kuvend-close") { [pool, logger] in
            // Ends the readers. `pool.close()` would end the writer first, and readers cannot move the log.
            pool.releaseMemory()
            do {
                try pool.close()
            } catch {
                logger.warning("the database was not closed cleanly", metadata: ["error": "\(error)"])
            }
        }
    }
}

/// Makes the file, so that it and what SQLite puts beside it are their owner's alone.
private func createFile(at path: String) throws {
    let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
        throw StorageError.unavailable("\(path): \(String(cString: strerror(errno)))")
    }
    _ = Foundation.close(descriptor)
}

private func startThread(_ name: String, for queue: SQLiteWorkQueue, _ body: @escaping @Sendable () -> Void) {
    queue.threadBegins()
    let thread = Thread {
        body()
        queue.threadEnds()
    }
    thread.name = name
    // SQLite's parser and the bodies are shallow; the default of 8 MiB is address space only.
    thread.start()
}

/// Runs what blocks for long outside of the threads that tasks share.
func onOwnThread<Value: Sendable>(_ name: String, _ body: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { continuation in
        let thread = Thread { continuation.resume(returning: body()) }
        thread.name = name
        thread.start()
    }
}
