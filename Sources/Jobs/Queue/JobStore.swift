import Kernel
import Storage

/// A job that was claimed for this node.
struct Claim: Sendable {
    let organization: ID<OrganizationEntity>
    let id: ID<JobEntity>
    let token: ID<JobTokenEntity>
    let kind: String
    /// Encoded; read when the attempt starts, so that one unreadable payload does not stop the lane.
    let payload: [UInt8]
    let attempt: Int
    let maxAttempts: Int
    let runAt: Timestamp
    let deadline: Timestamp
}

/// Which kinds a node claims from one lane, with the times that a claim gets.
struct ClaimPlan: Sendable {
    /// How far one claim looks for work, since it holds SQLite's only writer while it does.
    struct Reach: Sendable {
        /// Due jobs, the first ones.
        var window = 128
        /// Organizations, in each of the two parts of a round.
        var steps = 1_000
    }

    let lane: Lane
    let reach: Reach
    /// Kinds that share lease and timeout.
    private let groups: [(kinds: [String], timeout: Duration, lease: Duration)]
    let kinds: [String]

    init(lane: Lane, entries: some Collection<JobRegistry.Entry>, reach: Reach = Reach()) {
        self.lane = lane
        self.reach = reach
        let own = entries.filter { $0.lane == lane }.sorted { $0.kind < $1.kind }
        kinds = own.map(\.kind)
        var groups: [(kinds: [String], timeout: Duration, lease: Duration)] = []
        for entry in own {
            let (timeout, lease) = (entry.policy.timeout, entry.policy.lease)
            if let index = groups.firstIndex(where: { $0.timeout == timeout && $0.lease == lease }) {
                groups[index].kinds.append(entry.kind)
            } else {
                groups.append(([entry.kind], timeout, lease))
            }
        }
        self.groups = groups
    }

    func leaseEnd(_ now: Timestamp) -> SQL { end { now + $0.lease } }

    /// When an attempt that begins now must be over: by the job's own time, else by its kind's.
    func deadline(_ now: Timestamp) -> SQL {
        let own = Fragment(
            sqlite: "strftime('%Y-%m-%dT%H:%M:%fZ', julianday(",
            postgres: "("
        )
        let more = Fragment(
            sqlite: ") + jobs.timeout_ms / 86400000.0)",
            postgres: " + jobs.timeout_ms * INTERVAL '1 millisecond')"
        )
        return """
            CASE WHEN jobs.timeout_ms BETWEEN 1 AND \(Self.longestTimeout.wholeMilliseconds) THEN \(own)\(now)\(more)
                ELSE \(end { now + $0.timeout }) END
            """
    }

    /// The longest time that a job may ask for.
    static let longestTimeout = Duration.seconds(86_400)

    private func end(_ moment: ((kinds: [String], timeout: Duration, lease: Duration)) -> Timestamp) -> SQL {
        guard let last = groups.last else { return "NULL" }
        guard groups.count > 1 else { return "\(moment(last))" }
        var sql: SQL = "CASE"
        for group in groups.dropLast() { sql += " WHEN jobs.kind IN \(list: group.kinds) THEN \(moment(group))" }
        return sql + " ELSE \(moment(last)) END"
    }
}

/// The statements of the queue.
enum JobStore {
    // MARK: Claiming

    /// Organizations of the first due jobs in a lane.
    ///
    /// One look into an index when nothing is due, however many jobs wait for their time. All organizations with due jobs
    /// where there are not more of them than ``ClaimPlan/Reach/window``.
    static func firstOrganizations(_ plan: ClaimPlan, now: Timestamp) -> SQL {
        """
        SELECT DISTINCT head.organization_id FROM (
            SELECT jobs.organization_id, jobs.kind FROM jobs
            WHERE jobs.lane = \(plan.lane) AND jobs.state = 'ready' AND jobs.run_at <= \(now)
            ORDER BY jobs.run_at LIMIT \(limit: plan.reach.window)
        ) AS head WHERE head.kind IN \(list: plan.kinds)
        """
    }

    /// Organizations with due jobs in a lane, in order of their ids, when more jobs are due than
    /// ``firstOrganizations(_:now:)`` looks at.
    ///
    /// A loose scan that takes one step of the index for each organization, however many jobs it has, and goes no further
    /// than ``ClaimPlan/Reach/steps``: most organizations may have nothing but jobs that wait for their time. Rows are the
    /// organization, 1 if it has a due job or else 0, and 1 if the walk ends here for want of steps.
    ///
    /// - Parameters:
    ///   - after: Begin behind this organization; nil begins at the first.
    ///   - through: End with this organization; nil ends at the last.
    ///   - others: Organizations that are passed over.
    static func dueOrganizations(
        _ plan: ClaimPlan,
        after: ID<OrganizationEntity>?,
        through: ID<OrganizationEntity>?,
        but others: [ID<OrganizationEntity>] = [],
        limit: Int,
        now: Timestamp
    ) -> SQL {
        let lower: SQL =
            if let after { "jobs.organization_id > \(after)" } else {
                "jobs.organization_id >= \(ID<OrganizationEntity>.zero)"
            }
        let upper: SQL = if let through { " AND jobs.organization_id <= \(through)" } else { "" }
        let isOther: SQL = others.isEmpty ? "" : " AND organizations.id NOT IN \(list: padded(others))"
        let isDue: SQL = """
            ((
                SELECT jobs.run_at FROM jobs
                WHERE jobs.lane = \(plan.lane) AND jobs.state = 'ready' AND jobs.organization_id = organizations.id
                    AND jobs.kind IN \(list: plan.kinds)
                ORDER BY jobs.run_at, jobs.id LIMIT 1
            ) <= \(now)\(isOther))
            """
        // The inner selects are scalar and ordered, so that no planner turns them into a join over all jobs.
        return """
            WITH RECURSIVE organizations (id, step) AS (
                SELECT (
                    SELECT jobs.organization_id FROM jobs
                    WHERE jobs.lane = \(plan.lane) AND jobs.state = 'ready' AND \(lower)\(upper)
                    ORDER BY jobs.organization_id, jobs.run_at, jobs.id LIMIT 1
                ), 1
                WHERE (
                    SELECT jobs.run_at FROM jobs
                    WHERE jobs.lane = \(plan.lane) AND jobs.state = 'ready' AND jobs.run_at <= \(now)
                    ORDER BY jobs.run_at LIMIT 1 OFFSET \(limit: plan.reach.window)
                ) IS NOT NULL
                UNION ALL
                SELECT (
                    SELECT jobs.organization_id FROM jobs
                    WHERE jobs.lane = \(plan.lane) AND jobs.state = 'ready'
                        AND jobs.organization_id > organizations.id\(upper)
                    ORDER BY jobs.organization_id, jobs.run_at, jobs.id LIMIT 1
                ), organizations.step + 1
                FROM organizations WHERE organizations.id IS NOT NULL AND organizations.step < \(limit: plan.reach.steps)
            )
            SELECT organizations.id, CASE WHEN \(isDue) THEN 1 ELSE 0 END,
                CASE WHEN organizations.step = \(limit: plan.reach.steps) THEN 1 ELSE 0 END
            FROM organizations
            WHERE organizations.id IS NOT NULL AND (organizations.step = \(limit: plan.reach.steps) OR \(isDue))
            LIMIT \(limit: limit)
            """
    }

    /// When the next job of a lane that is not due yet becomes due.
    static func nextRunAt(in lane: Lane, now: Timestamp) -> SQL {
        """
        SELECT run_at FROM jobs WHERE lane = \(lane) AND state = 'ready' AND run_at > \(now) ORDER BY run_at LIMIT 1
        """
    }

    /// Claims the first due jobs of one organization.
    ///
    /// The due jobs are chosen once (a locking CTE is not inlined).
    static func claim(
        _ plan: ClaimPlan,
        of organization: ID<OrganizationEntity>,
        limit: Int,
        token: ID<JobTokenEntity>,
        now: Timestamp
    ) -> SQL {
        """
        WITH due AS MATERIALIZED (
            SELECT jobs.id FROM jobs
            WHERE jobs.lane = \(plan.lane) AND jobs.organization_id = \(organization) AND jobs.state = 'ready'
                AND jobs.run_at <= \(now) AND jobs.kind IN \(list: plan.kinds)
            ORDER BY jobs.run_at, jobs.id LIMIT \(limit: limit) \(.skipLocked)
        )
        UPDATE jobs SET state = 'running',
            attempt = CASE WHEN jobs.attempt BETWEEN 0 AND 1000000 THEN jobs.attempt + 1 ELSE 1 END, token = \(token),
            lease_expires_at = \(plan.leaseEnd(now)), deadline_at = \(plan.deadline(now)), updated_at = \(now)
        FROM due WHERE jobs.organization_id = \(organization) AND jobs.id = due.id
        RETURNING \(Fragment(sqlite: "jobs.rowid", postgres: "0")), jobs.id, jobs.kind, jobs.payload, jobs.attempt, jobs.max_attempts, jobs.run_at, jobs.deadline_at
        """
    }

    // MARK: Settling

    static func settle(
        _ organization: ID<OrganizationEntity>,
        _ id: ID<JobEntity>,
        _ token: ID<JobTokenEntity>,
        as settlement: Settlement,
        now: Timestamp
    ) -> SQL {
        let changes: SQL =
            switch settlement {
            case .finish: ""
            case .retry(let runAt, let reason): "state = 'ready', run_at = \(runAt), last_error = \(reason)"
            case .quarantine(let reason): "state = 'quarantined', last_error = \(reason)"
            case .handBack: "state = 'ready', attempt = jobs.attempt - 1, run_at = \(now)"
            }
        guard !changes.isEmpty else { return delete(organization, id, token) }
        return """
            UPDATE jobs SET \(changes), token = NULL, lease_expires_at = NULL, deadline_at = NULL, updated_at = \(now)
            WHERE organization_id = \(organization) AND id = \(id) AND token = \(token)
            """
    }

    static let abandonedSuffix = ".abandoned"
    static let followUpPolicy = RetryPolicy(maxAttempts: 50, base: .seconds(1), ceiling: .seconds(60))

    /// Asks for the follow-up of a job that the next statement puts into quarantine, while its claim is still held.
    static func followUp(
        _ organization: ID<OrganizationEntity>,
        _ id: ID<JobEntity>,
        _ token: ID<JobTokenEntity>,
        kind: String,
        reason: String,
        now: Timestamp
    ) -> SQL {
        // A payload that is no JSON fails its job, and must not fail the statement: others are settled together with it.
        let note = Fragment(
            sqlite: "json_object('payload', json(CASE WHEN typeof(payload) = 'text' AND json_valid(payload) "
                + "THEN payload ELSE 'null' END), 'reason', ",
            postgres: "jsonb_build_object('payload', payload, 'reason', "
        )
        return """
            INSERT INTO jobs (organization_id, id, lane, kind, payload, state, run_at, attempt, max_attempts,
                created_at, updated_at)
            SELECT organization_id, \(ID<JobEntity>()), lane, \(kind + abandonedSuffix), \(note)\(reason)), 'ready', \(now),
                0, \(followUpPolicy.maxAttempts), \(now), \(now)
            FROM jobs WHERE organization_id = \(organization) AND id = \(id) AND token = \(token)
            """
    }

    static func delete(
        _ organization: ID<OrganizationEntity>,
        _ id: ID<JobEntity>,
        _ token: ID<JobTokenEntity>
    ) -> SQL {
        "DELETE FROM jobs WHERE organization_id = \(organization) AND id = \(id) AND token = \(token)"
    }

    /// One row as long as the claim holds, which it then does until the transaction ends.
    static func held(
        _ organization: ID<OrganizationEntity>,
        _ id: ID<JobEntity>,
        _ token: ID<JobTokenEntity>
    ) -> SQL {
        """
        SELECT attempt FROM jobs
        WHERE organization_id = \(organization) AND id = \(id) AND token = \(token) \(.forShare)
        """
    }

    // MARK: Leases

    /// Extends what is still held.
    ///
    /// Rows that somebody is settling right now are passed over, so that a slow transaction of one handler does not
    /// delay the sign of life of the others. Past its deadline a job gets no more time.
    static func extend(_ tokens: [ID<JobTokenEntity>], to leaseEnd: Timestamp, now: Timestamp) -> SQL {
        """
        WITH held AS MATERIALIZED (
            SELECT jobs.organization_id, jobs.id FROM jobs
            WHERE jobs.state = 'running' AND jobs.token IN \(list: tokens) AND jobs.deadline_at > \(now)
            \(.skipLocked)
        )
        UPDATE jobs SET lease_expires_at = \(leaseEnd) FROM held
        WHERE jobs.organization_id = held.organization_id AND jobs.id = held.id
        """
    }

    static func held(_ tokens: [ID<JobTokenEntity>]) -> SQL {
        "SELECT organization_id, id, token FROM jobs WHERE state = 'running' AND token IN \(list: tokens)"
    }

    /// How long past its lease the last attempt at a job is left to nodes that know the kind, and with it who wants to
    /// hear that the job is given up.
    ///
    /// While a new version is rolled out, not all do.
    static let strangerGrace = Duration.seconds(3_600)

    /// - Parameter kinds: The kinds that this node knows.
    static func expired(_ kinds: [String], limit: Int, now: Timestamp) -> SQL {
        """
        SELECT \(Fragment(sqlite: "rowid", postgres: "0")), organization_id, id, token, kind, attempt, max_attempts,
            deadline_at
        FROM jobs
        WHERE state = 'running' AND lease_expires_at <= \(now) AND (
            attempt < max_attempts OR kind IN \(list: kinds) OR lease_expires_at <= \(now - strangerGrace)
        )
        ORDER BY lease_expires_at LIMIT \(limit: limit) \(.skipLocked)
        """
    }

    // MARK: Numbers

    /// Counting stops here: a backlog of a million is as alarming as one of a hundred thousand, and cheaper to find.
    static let countLimit = 100_000

    static func statistics(of lane: Lane, now: Timestamp, limit: Int = countLimit) -> [SQL] {
        func count(_ rows: SQL) -> SQL { "SELECT count(*) FROM (SELECT 1 \(rows) LIMIT \(limit: limit)) AS counted" }
        let due: SQL = "FROM jobs WHERE lane = \(lane) AND state = 'ready' AND run_at <= \(now)"
        return [
            count(due),
            "SELECT count(*) FROM jobs WHERE lane = \(lane) AND state = 'running'",
            count("FROM jobs WHERE lane = \(lane) AND state = 'quarantined'"),
            "SELECT run_at \(due) ORDER BY run_at LIMIT 1",
        ]
    }

    // MARK: Retention

    static func deleteQuarantined(before: Timestamp, limit: Int) -> SQL {
        """
        DELETE FROM jobs WHERE state = 'quarantined' AND (organization_id, id) IN (
            SELECT organization_id, id FROM jobs WHERE state = 'quarantined' AND updated_at < \(before)
            ORDER BY updated_at LIMIT \(limit: limit)
        )
        """
    }

    /// Repeats the last element until the count is a power of two, so that lists of all lengths share few statements.
    static func padded<Element>(_ list: [Element]) -> [Element] {
        guard let last = list.last else { return list }
        var count = 1
        while count < list.count { count *= 2 }
        return list + Array(repeating: last, count: count - list.count)
    }
}
