import Kernel
package import Storage

/// A claimed row that names no job which anybody could do.
struct UnreadableJob: Sendable {
    let organization: ID<OrganizationEntity>
    /// The row's number on SQLite, where an id may be anything.
    let row: Int64
    let reason: String
}

/// What a claim gave: a job, or a row that must be set aside.
enum ClaimedRow: Sendable {
    case claim(Claim)
    case unreadable(UnreadableJob)

    /// Reads a row of ``JobStore/claim(_:of:limit:token:now:)``.
    ///
    /// A column that cannot be read is taken for its default where the job can be done without it, so that one row does
    /// not stop the lane for everybody.
    init(organization: ID<OrganizationEntity>, token: ID<JobTokenEntity>, now: Timestamp, row: inout Row) {
        let number = (try? row.next(Int64.self)) ?? 0
        let id = try? row.next(ID<JobEntity>.self)
        let kind = try? row.next(String.self)
        // Refused by who reads it, and then quarantined with that reason.
        let payload = (try? row.nextJSONBytes().map { Array($0) }) ?? []
        let attempt = (try? row.next(Int.self)) ?? 1
        let maxAttempts = (try? row.next(Int.self)) ?? 1
        let runAt = (try? row.next(Timestamp.self)) ?? now
        let deadline = (try? row.next(Timestamp.self)) ?? now + RetryPolicy().timeout
        guard let id, let kind else {
            self = .unreadable(
                UnreadableJob(organization: organization, row: number, reason: "the row has no readable id or kind")
            )
            return
        }
        self = .claim(
            Claim(
                organization: organization,
                id: id,
                token: token,
                kind: kind,
                payload: payload,
                attempt: max(attempt, 1),
                maxAttempts: max(maxAttempts, 1),
                runAt: runAt,
                deadline: deadline
            )
        )
    }
}

extension JobStore {
    /// Puts a row that cannot be read into quarantine, with values in place of those that nobody could read.
    static func setAside(_ job: UnreadableJob, now: Timestamp) -> SQL {
        """
        UPDATE jobs SET id = \(ID<JobEntity>()), kind = CASE WHEN \(isText("kind")) THEN kind ELSE 'unreadable' END,
            state = 'quarantined', last_error = \(job.reason), token = NULL, lease_expires_at = NULL, deadline_at = NULL,
            unique_key = NULL, updated_at = \(now)
        WHERE \(Fragment(sqlite: "rowid", postgres: "-1")) = \(job.row)
        """
    }

    fileprivate static func isText(_ column: String) -> SQL {
        "\(Fragment(sqlite: "typeof(\(column)) = 'text'", postgres: "TRUE"))"
    }
}

extension Purge {
    /// Finds jobs that nobody can read, such as one whose time is no time, and quarantines them.
    ///
    /// What can be read of them is kept. A job whose organization cannot be read becomes one of the product itself. Those in
    /// quarantine are made readable too, since somebody has to list and discard them.
    package static let unreadableJobs = Purge("unreadable_jobs") { database, now in
        try await repeated(batch: 100) {
            switch database.dialect {
            case .sqlite:
                // The whole table is looked through beside SQLite's writer and not in it.
                let rows: [Int64] = try await database.read(for: .queue) { tx in
                    try tx.values("SELECT rowid FROM jobs WHERE (\(readable)) IS NOT TRUE LIMIT 100")
                }
                guard !rows.isEmpty else { return 0 }
                return try await database.write(for: .queue, isolation: .readCommitted) { tx in
                    for row in rows {
                        try tx.run(
                            """
                            UPDATE jobs SET id = CASE WHEN \(isUUID("id")) THEN id ELSE \(ID<JobEntity>()) END,
                                organization_id = CASE WHEN \(isUUID("organization_id")) THEN organization_id
                                    ELSE \(ID<OrganizationEntity>.zero) END,
                                \(setAside(now: now))
                            WHERE rowid = \(row) AND (\(readable)) IS NOT TRUE
                            """
                        )
                    }
                    return rows.count
                }
            case .postgres:
                return try await database.write(for: .queue, isolation: .readCommitted) { tx in
                    try tx.execute(
                        """
                        UPDATE jobs SET \(setAside(now: now)) WHERE (organization_id, id) IN (
                            SELECT organization_id, id FROM jobs WHERE (\(readable)) IS NOT TRUE LIMIT 100 \(.skipLocked)
                        )
                        """
                    )
                }
            }
        }
    }

    private static func setAside(now: Timestamp) -> SQL {
        let empty = JSON.object([:])
        return """
            kind = CASE WHEN \(JobStore.isText("kind")) THEN kind ELSE 'unreadable' END,
            lane = CASE WHEN \(JobStore.isText("lane")) THEN lane ELSE 'maintenance' END,
            payload = CASE WHEN \(isJSON) THEN payload ELSE \(empty) END,
            attempt = CASE WHEN \(isCount("attempt")) THEN attempt ELSE 0 END,
            max_attempts = CASE WHEN \(isCount("max_attempts")) THEN max_attempts ELSE 1 END,
            created_at = CASE WHEN \(isTime("created_at")) THEN created_at ELSE \(now) END,
            run_at = \(now), updated_at = \(now), state = 'quarantined', token = NULL, lease_expires_at = NULL,
            deadline_at = NULL, timeout_ms = NULL, unique_key = NULL, last_error = 'the row could not be read'
            """
    }

    /// On SQLite a column may hold anything; on PostgreSQL only times and numbers can be beyond what the program knows.
    private static var readable: SQL {
        var conditions: [SQL] = [
            isUUID("id"), isUUID("organization_id"), JobStore.isText("kind"), JobStore.isText("lane"), isJSON,
            isCount("attempt"), isCount("max_attempts"), "state IN ('ready', 'running', 'quarantined')",
        ]
        conditions += ["run_at", "created_at", "updated_at"].map(isTime)
        conditions += ["lease_expires_at", "deadline_at"].map { "(\(SQL(trusted: $0)) IS NULL OR \(isTime($0)))" }
        return SQL.join(conditions, " AND ")
    }

    private static func isUUID(_ column: String) -> SQL {
        let digit = "[0-9a-fA-F]"
        let pattern = [8, 4, 4, 4, 12].map { String(repeating: digit, count: $0) }.joined(separator: "-")
        return "\(Fragment(sqlite: "\(column) GLOB '\(pattern)'", postgres: "TRUE"))"
    }

    private static func isTime(_ column: String) -> SQL {
        // Dates that no calendar has come out as others.
        """
        \(Fragment(
                sqlite: """
                    (typeof(\(column)) = 'text' AND \(column) >= '0001'
                        AND strftime('%Y-%m-%dT%H:%M:%fZ', \(column), '+0 days') = \(column))
                    """,
                postgres: "\(column) BETWEEN '0001-01-01T00:00:00Z' AND '9999-12-31T23:59:59.999Z'"))
        """
    }

    private static func isCount(_ column: String) -> SQL {
        "(\(Fragment(sqlite: "typeof(\(column)) = 'integer'", postgres: "TRUE")) AND \(SQL(trusted: column)) BETWEEN 0 AND 1000000)"
    }

    private static var isJSON: SQL {
        "\(Fragment(sqlite: "(typeof(payload) = 'text' AND json_valid(payload))", postgres: "TRUE"))"
    }
}
