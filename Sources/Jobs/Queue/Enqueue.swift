import Events
package import Kernel
package import Storage

extension Transaction {
    /// Adds a job to the queue; it exists once this transaction commits.
    ///
    /// - Parameters:
    ///   - id: A job with this id that is still in the queue makes this a no-op, so an id derived from what asks for the job
    ///     asks for it once.
    ///   - runAt: Not before this moment; nil means at once.
    ///   - uniqueKey: While a job of this kind and organization with the same key is ready or running, this is a no-op.
    /// - Throws: `JobError.foreignScope` when the transaction acts for another organization.
    package func enqueue<Work: Job>(
        _ job: Work,
        in scope: OrganizationScope,
        id: ID<JobEntity> = ID(),
        runAt: Timestamp? = nil,
        uniqueKey: String? = nil,
        now: Timestamp
    ) throws {
        switch self.scope {
        case .organization(let own): guard own.id == scope.id else { throw JobError.foreignScope }
        case .system(.queue), .system(.feed): break
        case .system: throw JobError.foreignScope
        }
        try add(job, to: scope.id, id: id, runAt: runAt, uniqueKey: uniqueKey, now: now)
    }

    /// Adds a job of the product itself, in a transaction of `SystemPurpose.queue`.
    package func enqueue<Work: PlatformJob>(
        _ job: Work,
        id: ID<JobEntity> = ID(),
        runAt: Timestamp? = nil,
        uniqueKey: String? = nil,
        now: Timestamp
    ) throws {
        guard case .system(.queue) = scope else { throw JobError.foreignScope }
        try add(job, to: .zero, id: id, runAt: runAt, uniqueKey: uniqueKey, now: now)
    }

    private func add<Work: QueuedWork>(
        _ job: Work,
        to organization: ID<OrganizationEntity>,
        id: ID<JobEntity>,
        runAt: Timestamp?,
        uniqueKey: String?,
        now: Timestamp
    ) throws {
        try run(
            """
            INSERT INTO jobs (organization_id, id, lane, kind, payload, state, run_at, attempt, max_attempts, timeout_ms,
                unique_key, created_at, updated_at)
            VALUES (\(organization), \(id), \(Work.lane), \(Work.kind), \(job.payload), 'ready', \(runAt ?? now), 0,
                \(Work.policy.maxAttempts), \(job.timeout?.wholeMilliseconds), \(uniqueKey.sqlValue), \(now), \(now))
            ON CONFLICT DO NOTHING
            """
        )
        signal(.jobs(Work.lane))
    }

    /// Whether a job with this unique key waits or runs.
    package func isQueued<Work: Job>(
        _: Work.Type,
        uniqueKey: String,
        in scope: OrganizationScope
    ) throws -> Bool {
        try value(
            """
            SELECT 1 FROM jobs WHERE organization_id = \(scope.id) AND kind = \(Work.kind) AND unique_key = \(uniqueKey)
                AND unique_key IS NOT NULL AND state <> 'quarantined'
            """,
            as: Int.self
        ) != nil
    }
}
