import Events
package import Kernel
package import Storage

/// A job that waits for a person.
package struct QuarantinedJob: Sendable, Hashable {
    package let id: ID<JobEntity>
    package let kind: String
    package let lane: Lane
    package let attempts: Int
    package let reason: String
    package let createdAt: Timestamp
    package let quarantinedAt: Timestamp
}

/// Looks after quarantined jobs.
package struct JobService: Sendable {
    private let database: any Database
    private let now: @Sendable () -> Timestamp

    package init(database: any Database, now: @escaping @Sendable () -> Timestamp = { .now() }) {
        self.database = database
        self.now = now
    }

    /// The last to be quarantined comes first.
    package func listQuarantined(in scope: OrganizationScope, _ page: PageRequest) async throws -> Page<QuarantinedJob>
    {
        try await list(scope.id, in: .organization(scope), page)
    }

    /// Makes the job ready again, with all its attempts.
    package func retry(_ id: ID<JobEntity>, in scope: OrganizationScope) async throws {
        try await retry(id, of: scope.id, in: .organization(scope))
    }

    package func discard(_ id: ID<JobEntity>, in scope: OrganizationScope) async throws {
        try await discard(id, of: scope.id, in: .organization(scope))
    }

    // MARK: Platform jobs, for the administrator's command line

    package func listQuarantinedPlatformJobs(_ page: PageRequest) async throws -> Page<QuarantinedJob> {
        try await list(.zero, in: .system(.queue), page)
    }

    package func retryPlatformJob(_ id: ID<JobEntity>) async throws {
        try await retry(id, of: .zero, in: .system(.queue))
    }

    package func discardPlatformJob(_ id: ID<JobEntity>) async throws {
        try await discard(id, of: .zero, in: .system(.queue))
    }

    // MARK: -

    private func list(
        _ organization: ID<OrganizationEntity>,
        in scope: DataScope,
        _ page: PageRequest
    ) async throws -> Page<QuarantinedJob> {
        let place: SQL =
            if let after = page.after {
                " AND (updated_at, id) < (\(after.time), \(after.id(of: JobEntity.self)))"
            } else {
                ""
            }
        let jobs = try await database.read(in: scope) { tx in
            try tx.rows(
                """
                SELECT id, kind, lane, attempt, last_error, created_at, updated_at,
                    CASE WHEN updated_at > \(Timestamp.latest) THEN 1 ELSE 0 END
                FROM jobs
                WHERE organization_id = \(organization) AND state = 'quarantined'\(place)
                ORDER BY updated_at DESC, id DESC LIMIT \(limit: page.limit + 1)
                """
            ) { row in
                // Whatever a row holds, it is shown.
                let id = try? row.next(ID<JobEntity>.self)
                let kind = try? row.next(String.self)
                let lane = try? row.next(Lane.self)
                let attempts = try? row.next(Int.self)
                let reason = try? row.next(String?.self)
                let createdAt = try? row.next(Timestamp.self)
                let time = try? row.next(Timestamp.self)
                // The next page goes on behind it: a time that cannot be read stands before or after all others.
                let isBeyond = try row.next(Int.self) == 1
                let quarantinedAt = time ?? (isBeyond ? .latest : .earliest)
                return QuarantinedJob(
                    id: id ?? .zero,
                    kind: kind ?? "unreadable",
                    lane: lane ?? Lane("unreadable"),
                    attempts: max(attempts ?? 0, 0),
                    reason: reason ?? "",
                    createdAt: createdAt ?? quarantinedAt,
                    quarantinedAt: quarantinedAt
                )
            }
        }
        return Page(cutting: jobs, to: page.limit) { Cursor(time: $0.quarantinedAt, id: $0.id) }
    }

    private func retry(
        _ id: ID<JobEntity>,
        of organization: ID<OrganizationEntity>,
        in scope: DataScope
    ) async throws {
        let now = now()
        try await database.write(in: scope, isolation: .serializable) { tx in
            let job = try tx.rows(
                """
                SELECT lane, kind FROM jobs
                WHERE organization_id = \(organization) AND id = \(id) AND state = 'quarantined'
                """
            ) { row in (lane: try row.next(Lane.self), kind: try row.next(String.self)) }.first
            guard let job else { throw JobError.unknown(id) }
            try tx.execute(
                """
                UPDATE jobs SET state = 'ready', attempt = 0, run_at = \(now), updated_at = \(now)
                WHERE organization_id = \(organization) AND id = \(id) AND state = 'quarantined'
                """,
                violations: [.unique("jobs_organization_id_kind_unique_key_key", JobError.duplicate(id))]
            )
            try record(.job(JobEvents.retried, id, kind: job.kind), in: scope, now, tx)
            tx.signal(.jobs(job.lane))
        }
    }

    private func discard(
        _ id: ID<JobEntity>,
        of organization: ID<OrganizationEntity>,
        in scope: DataScope
    ) async throws {
        let now = now()
        try await database.write(in: scope, isolation: .serializable) { tx in
            let kind: String? = try tx.value(
                """
                DELETE FROM jobs WHERE organization_id = \(organization) AND id = \(id) AND state = 'quarantined'
                RETURNING kind
                """
            )
            guard let kind else { throw JobError.unknown(id) }
            try record(.job(JobEvents.discarded, id, kind: kind), in: scope, now, tx)
        }
    }

    private func record(
        _ event: Event,
        in scope: DataScope,
        _ now: Timestamp,
        _ tx: any Transaction
    ) throws {
        guard case .organization(let scope) = scope else { return }
        try tx.record(event, in: scope, now: now)
    }
}
