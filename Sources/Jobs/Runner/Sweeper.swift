import Kernel
import Storage

/// Takes jobs away from workers that gave no sign of life for the time of their lease.
struct Sweeper: Sendable {
    /// Jobs in one transaction.
    static let limit = 200

    let database: any Database
    let entries: [String: JobRegistry.Entry]
    let now: @Sendable () -> Timestamp
    let jitter: @Sendable () -> Double

    /// Moves on what expired, of any node: back to ready after a back-off, or into quarantine when the attempts are used up.
    ///
    /// Jobs of unknown kinds go into quarantine an hour later than those of known ones, and without a follow-up.
    ///
    /// - Returns: How many jobs were moved.
    func sweep() async throws -> Int {
        let (now, entries) = (now(), entries)
        let kinds = entries.keys.sorted()
        // One for each job, or what one dead worker leaves behind would come back together.
        let jitters = (0..<Self.limit).map { _ in jitter() }
        return try await database.write(for: .queue, isolation: .readCommitted) { tx in
            try tx.stayOnIndexesWithoutWaitingForDisk()
            let expired = try tx.rows(JobStore.expired(kinds, limit: Self.limit, now: now)) { row in
                Expired(
                    organization: try row.next(),
                    id: try row.next(),
                    token: try row.next(),
                    kind: try row.next(),
                    attempt: try row.next(),
                    maxAttempts: try row.next(),
                    deadline: try row.next()
                )
            }
            for (job, jitter) in zip(expired, jitters) {
                let isOverdue = job.deadline.map { $0 <= now } ?? false
                let reason = isOverdue ? JobReason.timedOut : JobReason.workerLost
                let policy = entries[job.kind]?.policy ?? RetryPolicy()
                let wait = policy.wait(afterAttempt: job.attempt, jitter: jitter)
                let settlement: Settlement =
                    job.attempt < job.maxAttempts ? .retry(at: now + wait, reason) : .quarantine(reason)
                if case .quarantine = settlement, let entry = entries[job.kind], entry.hasFollowUp {
                    try tx.run(
                        JobStore.followUp(
                            job.organization,
                            job.id,
                            job.token,
                            kind: job.kind,
                            reason: reason,
                            now: now
                        )
                    )
                    tx.signal(.jobs(entry.lane))
                }
                try tx.run(JobStore.settle(job.organization, job.id, job.token, as: settlement, now: now))
            }
            return expired.count
        }
    }

    private struct Expired {
        let organization: ID<OrganizationEntity>
        let id: ID<JobEntity>
        let token: ID<JobTokenEntity>
        let kind: String
        let attempt: Int
        let maxAttempts: Int
        let deadline: Timestamp?
    }
}
