import Dispatch
import Kernel
import Synchronization

/// Connections for queries, which run on the thread of whoever asks.
///
/// A query takes less time than waking another thread would. SQLite's own rule is kept: a connection is used by one
/// thread at a time.
final class SQLiteSharedReaders: Sendable {
    /// A connection, and its thread that waits until it is no longer needed.
    ///
    /// `@unchecked Sendable`: only its borrower touches the connection, `borrow` and `giveBack` pass it on under a lock,
    /// and its owner, the thread, waits until it has come back for the last time.
    final class Reader: @unchecked Sendable {
        fileprivate unowned(unsafe) let connection: SQLiteConnection
        fileprivate let end = DispatchSemaphore(value: 0)

        fileprivate init(_ connection: SQLiteConnection) { self.connection = connection }

        /// What the query's rows become; nil when it took longer than it may here.
        func fetch<Value>(_ query: Query<Value>, in scope: DataScope, within limit: Duration) throws -> Value? {
            let transaction = SQLiteTransaction(
                on: connection,
                scope: scope,
                timeLimit: DispatchTime.now().uptimeNanoseconds.advanced(by: limit)
            )
            defer { connection.timeLimit = .max }
            do {
                let value = try transaction.fetch(query)
                transaction.abandon()
                return value
            } catch {
                transaction.abandon()
                if case StorageError.timedOut = error { return nil }
                throw (error as? SQLiteFailure)?.storageError ?? error
            }
        }
    }

    private let state = Mutex<(free: [Reader], isClosed: Bool)>(([], false))

    /// Lends a connection out until `close()`; the calling thread waits that long.
    func lend(_ connection: SQLiteConnection) {
        withExtendedLifetime(connection) {
            let reader = Reader(connection)
            let isOpen = state.withLock { state in
                if !state.isClosed { state.free.append(reader) }
                return !state.isClosed
            }
            if isOpen { reader.end.wait() }
        }
    }

    /// nil when all are in use.
    func borrow() -> Reader? { state.withLock { $0.free.popLast() } }

    func giveBack(_ reader: Reader) {
        let isOpen = state.withLock { state in
            if !state.isClosed { state.free.append(reader) }
            return !state.isClosed
        }
        if !isOpen { reader.end.signal() }
    }

    func close() {
        let free = state.withLock { state in
            defer { state = ([], true) }
            return state.free
        }
        for reader in free { reader.end.signal() }
    }
}
