import Kernel
import Logging
import Storage
import Synchronization

/// Writes down what became of claimed jobs, many in one transaction: at once when idle, and while one transaction is
/// under way the next one's entries gather.
final class Ledger: Sendable {
    struct Entry: Sendable {
        let claim: Claim
        let lane: Lane
        let settlement: Settlement
        let hasFollowUp: Bool
    }

    private static let batchLimit = 256
    /// Beyond this many unwritten entries no more jobs are claimed.
    private static let backlogLimit = 1_024

    private let database: any Database
    private let logger: Logger
    private let now: @Sendable () -> Timestamp
    private let pending = Mutex<[Entry]>([])
    private let wakes: AsyncStream<Void>
    private let wake: AsyncStream<Void>.Continuation

    init(database: any Database, logger: Logger, now: @escaping @Sendable () -> Timestamp) {
        self.database = database
        self.logger = logger
        self.now = now
        (wakes, wake) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    var hasRoom: Bool { pending.withLock { $0.count < Self.backlogLimit } }

    func add(_ entry: Entry) {
        pending.withLock { $0.append(entry) }
        wake.yield()
    }

    /// Writes until `close()` was called and nothing is left, or the task is cancelled.
    func run() async {
        for await _ in wakes { await writeAll() }
        await writeAll()
    }

    func close() { wake.finish() }

    private func writeAll() async {
        var failures = 0
        while !Task.isCancelled {
            do {
                guard try await write() > 0 else { return }
                failures = 0
            } catch {
                failures += 1
                logger.warning(
                    "the outcomes of jobs could not be written and will be again",
                    metadata: ["error": "\(error)"]
                )
                try? await Task.sleep(for: .milliseconds(100 << min(failures, 5)))
            }
        }
    }

    /// Writes until nothing is left or the first failure, for want of time to try again.
    ///
    /// What stays unwritten is swept once its lease is over.
    func writeOnce() async {
        do { while try await write() > 0 {} } catch {
            logger.warning("the last outcomes of jobs could not be written", metadata: ["error": "\(error)"])
        }
    }

    /// Writes one batch; what could not be written stays.
    ///
    /// - Returns: How many entries were written.
    @discardableResult
    func write() async throws -> Int {
        var batch = pending.withLock { pending in
            let batch = Array(pending.prefix(Self.batchLimit))
            pending.removeFirst(batch.count)
            return batch
        }
        guard !batch.isEmpty else { return 0 }
        // One order for everybody who locks several rows.
        batch.sort { ($0.claim.organization, $0.claim.id) < ($1.claim.organization, $1.claim.id) }
        let now = now()
        do {
            try await database.write(for: .queue, isolation: .readCommitted) { [batch] tx in
                try tx.stayOnIndexesWithoutWaitingForDisk()
                for entry in batch {
                    if entry.hasFollowUp, case .quarantine(let reason) = entry.settlement {
                        try tx.run(
                            JobStore.followUp(
                                entry.claim.organization,
                                entry.claim.id,
                                entry.claim.token,
                                kind: entry.claim.kind,
                                reason: reason,
                                now: now
                            )
                        )
                        tx.signal(.jobs(entry.lane))
                    }
                    // A claim that was taken away matches no row.
                    try tx.run(
                        JobStore.settle(
                            entry.claim.organization,
                            entry.claim.id,
                            entry.claim.token,
                            as: entry.settlement,
                            now: now
                        )
                    )
                    switch entry.settlement {
                    case .finish, .quarantine: break
                    case .retry, .handBack: tx.signal(.jobs(entry.lane))
                    }
                }
            }
        } catch {
            pending.withLock { $0.insert(contentsOf: batch, at: 0) }
            throw error
        }
        return batch.count
    }
}
