import Dispatch
import Metrics
import Synchronization

/// What the driver counts.
final class SQLiteMeters: Sendable {
    enum Pool { case reader, writer }

    enum Outcome {
        case committed
        case rolledBack
        case timedOut
        case unavailable

        init(_ error: any Error) {
            self =
                switch error as? StorageError {
                case .timedOut?: .timedOut
                case .unavailable?, .full?, .closed?, .commitUnknown?: .unavailable
                default: .rolledBack
                }
        }
    }

    private let readerWait = Metrics.Timer(label: "kuvend_db_pool_wait_seconds", dimensions: [("pool", "reader")])
    private let writerWait = Metrics.Timer(label: "kuvend_db_pool_wait_seconds", dimensions: [("pool", "writer")])
    private let groupSize = Recorder(label: "kuvend_db_group_commit_size")
    private let committed = outcomeCounter("committed")
    private let rolledBack = outcomeCounter("rolled_back")
    private let timedOut = outcomeCounter("timed_out")
    private let unavailable = outcomeCounter("unavailable")
    private let commitCount = Atomic<Int>(0)
    private let commitMembers = Atomic<Int>(0)

    func waited(since start: UInt64, for pool: Pool) {
        let now = DispatchTime.now().uptimeNanoseconds
        let wait = now > start ? Int64(clamping: now - start) : 0
        switch pool {
        case .reader: readerWait.recordNanoseconds(wait)
        case .writer: writerWait.recordNanoseconds(wait)
        }
    }

    func committed(_ members: Int) {
        groupSize.record(members)
        commitCount.wrappingAdd(1, ordering: .relaxed)
        commitMembers.wrappingAdd(members, ordering: .relaxed)
    }

    func ended(_ outcome: Outcome) {
        switch outcome {
        case .committed: committed.increment()
        case .rolledBack: rolledBack.increment()
        case .timedOut: timedOut.increment()
        case .unavailable: unavailable.increment()
        }
    }

    /// Commits so far, and the bodies in them.
    var groupCommits: (commits: Int, bodies: Int) {
        (commitCount.load(ordering: .relaxed), commitMembers.load(ordering: .relaxed))
    }
}

private func outcomeCounter(_ outcome: String) -> Counter {
    Counter(label: "kuvend_db_transactions_total", dimensions: [("outcome", outcome)])
}
