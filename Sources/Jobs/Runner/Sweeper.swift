import Kernel
import Logging
import Storage

/// Takes jobs away from workers that gave no sign of life for the time of their lease.
struct Sweeper: Sendable {
    /// Jobs in one transaction.
    static let limit = 200

    let database: any Database
    let entries: [String: JobRegistry.Entry]
    let logger: Logger
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
        let moved = try await database.write(for: .queue, isolation: .readCommitted) { tx -> [Moved] in
            try tx.stayOnIndexesWithoutWaitingForDisk()
            let expired = try tx.rows(JobStore.expired(kinds, limit: Self.limit, now: now)) { row in Expired(&row) }
            var moved: [Moved] = []
            for (job, jitter) in zip(expired, jitters) {
                guard let id = job.id, let token = job.token, let organization = job.organization else {
                    // Nobody holds a claim that cannot be read.
                    let reason = "the row of a running job could not be read"
                    try tx.run(
                        JobStore.setAside(
                            UnreadableJob(organization: job.organization ?? .zero, row: job.row, reason: reason),
                            now: now
                        )
                    )
                    moved.append(Moved(job: job, isQuarantined: true, reason: reason))
                    continue
                }
                let isOverdue = job.deadline.map { $0 <= now } ?? false
                let reason = isOverdue ? JobReason.timedOut : JobReason.workerLost
                let policy = entries[job.kind]?.policy ?? RetryPolicy()
                let wait = policy.wait(afterAttempt: job.attempt, jitter: jitter)
                let settlement: Settlement =
                    job.attempt < job.maxAttempts ? .retry(at: now + wait, reason) : .quarantine(reason)
                if case .quarantine = settlement, let entry = entries[job.kind], entry.hasFollowUp {
                    try tx.run(
                        JobStore.followUp(organization, id, token, kind: job.kind, reason: reason, now: now)
                    )
                    tx.signal(.jobs(entry.lane))
                }
                try tx.run(JobStore.settle(organization, id, token, as: settlement, now: now))
                let isQuarantined = if case .quarantine = settlement { true } else { false }
                moved.append(Moved(job: job, isQuarantined: isQuarantined, reason: reason))
            }
            return moved
        }
        for move in moved { tell(move) }
        return moved.count
    }

    /// Logs and counts what was moved on, as the runner does with what ends here.
    private func tell(_ move: Moved) {
        let job = move.job
        (entries[job.kind]?.meters ?? Self.strangers).count(move.isQuarantined ? .quarantined : .retried)
        var metadata: Logger.Metadata = [
            "job_id": "\(job.id?.description ?? "unreadable")", "job_kind": "\(job.kind)", "attempt": "\(job.attempt)",
            "reason": "\(move.reason)",
        ]
        if let organization = job.organization, organization != .zero {
            metadata["organization_id"] = "\(organization)"
        }
        if move.isQuarantined {
            logger.error("a job is quarantined: its attempts are used up", metadata: metadata)
        } else {
            logger.notice("a job was taken from a worker that gave no sign of life", metadata: metadata)
        }
    }

    /// Kinds that this node does not know are counted together, as their names may be anything.
    private static let strangers = JobMeters(kind: "unknown")

    private struct Moved: Sendable {
        let job: Expired
        let isQuarantined: Bool
        let reason: String
    }

    /// A row of ``JobStore/expired(_:limit:now:)``; what cannot be read is nil or its default.
    private struct Expired: Sendable {
        let row: Int64
        let organization: ID<OrganizationEntity>?
        let id: ID<JobEntity>?
        let token: ID<JobTokenEntity>?
        let kind: String
        let attempt: Int
        let maxAttempts: Int
        let deadline: Timestamp?

        init(_ row: inout Row) {
            self.row = (try? row.next()) ?? 0
            organization = try? row.next()
            id = try? row.next()
            token = try? row.next()
            kind = (try? row.next()) ?? "unreadable"
            attempt = max((try? row.next()) ?? 1, 1)
            maxAttempts = max((try? row.next()) ?? 1, 1)
            deadline = try? row.next()
        }
    }
}
