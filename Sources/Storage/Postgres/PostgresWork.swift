import Kernel
import Synchronization

/// A query on its way to the rows.
struct PostgresQuery: Sendable {
    let scope: DataScope
    let sql: SQL
    /// Hands the rows to whoever waits for them.
    let finish: @Sendable (PostgresRows) -> Void
}

/// One transaction that waits for a connection.
///
/// Whoever takes it - a connection's thread, the ticker, the cancellation of its task, the end of the pool - alone
/// decides its fate.
final class PostgresWork: Sendable {
    enum Outcome {
        case finished
        /// The connection was lost before anything was committed: to be run again on another one.
        case lost(String)
    }

    /// What the runs of one transaction share.
    struct Progress: Sendable {
        /// Set when the body runs for the first time.
        var deadline: UInt64?
        var losses = 0
    }

    struct QueuedTransaction: Sendable {
        /// What it asks, if that is one query, which can share a round trip with others.
        var query: PostgresQuery?
        let run: @Sendable (PostgresConnection, inout Progress) -> Outcome
        let fail: @Sendable (any Error) -> Void
        let enqueued: UInt64
        var progress = Progress()
    }

    private enum State {
        case new
        case waiting(QueuedTransaction)
        case taken
    }

    private let state = Mutex<(state: State, isCancelled: Bool)>((.new, false))

    /// Offers the job; false when its task has been cancelled already.
    func offer(_ job: QueuedTransaction) -> Bool {
        state.withLock { state in
            guard !state.isCancelled else { return false }
            state.state = .waiting(job)
            return true
        }
    }

    /// The job, for the first who asks.
    func take() -> QueuedTransaction? {
        state.withLock { state in
            guard case .waiting(let job) = state.state else { return nil }
            state.state = .taken
            return job
        }
    }

    func cancel() {
        let job: QueuedTransaction? = state.withLock { state in
            state.isCancelled = true
            guard case .waiting(let job) = state.state else { return nil }
            state.state = .taken
            return job
        }
        job?.fail(CancellationError())
    }
}
