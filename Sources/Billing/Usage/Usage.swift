package import Kernel
package import Storage
import Web

/// What is counted for billing.
package enum UsageMetric: String, Sendable, CaseIterable, StoredEnumeration {
    case conversations = "conversations_count"
    case voiceCalls = "voice_calls_count"
    case aiTokens = "ai_tokens"
}

/// What an organization used in one month.
package struct Usage: Sendable {
    package let periodStart: Timestamp
    package let periodEnd: Timestamp
    package let quantities: [UsageMetric: Int64]

    package subscript(_ metric: UsageMetric) -> Int64 { quantities[metric] ?? 0 }
}

package struct UsageStore {
    package let tx: any Transaction
    package let scope: OrganizationScope

    package init(tx: any Transaction, scope: OrganizationScope) {
        self.tx = tx
        self.scope = scope
    }

    /// Counts in the transaction of what is counted.
    package func count(_ metric: UsageMetric, _ quantity: Int64, at now: Timestamp) throws {
        guard quantity > 0 else { return }
        try tx.run(
            """
            INSERT INTO usage_entries (organization_id, id, period_start, metric, quantity, created_at)
            VALUES (\(scope.id), \(ID<Usage>()), \(now.month.start), \(metric), \(quantity), \(now))
            """
        )
    }

    /// The month's row and the entries that it does not hold yet, together.
    func usage(of month: (start: Timestamp, end: Timestamp)) throws -> Usage {
        let counted = try tx.rows(
            """
            SELECT metric, CAST(sum(quantity) AS BIGINT) FROM usage_entries
            WHERE organization_id = \(scope.id) AND period_start = \(month.start) GROUP BY metric
            """
        ) { row in (try row.next(UsageMetric.self), try row.next(Int64.self)) }
        var quantities = try rolledUp(month.start)
        for (metric, quantity) in counted {
            let (sum, overflow) = quantities[metric, default: 0].addingReportingOverflow(quantity)
            quantities[metric] = overflow ? .max : sum
        }
        return Usage(periodStart: month.start, periodEnd: month.end, quantities: quantities)
    }

    private func rolledUp(_ start: Timestamp) throws -> [UsageMetric: Int64] {
        let metrics: JSON? = try tx.value(
            "SELECT metrics FROM usage WHERE organization_id = \(scope.id) AND period_start = \(start)"
        )
        return Dictionary(
            UsageMetric.allCases.map { ($0, metrics?[$0.rawValue]?.int ?? 0) },
            uniquingKeysWith: { first, _ in first }
        )
    }

    /// Folds the entries of a month into its row.
    func rollUp(_ month: (start: Timestamp, end: Timestamp), at now: Timestamp) throws {
        let usage = try usage(of: month)
        let metrics = JSON.object(JSONObject(UsageMetric.allCases.map { ($0.rawValue, .integer(usage[$0])) }))
        try tx.run(
            """
            INSERT INTO usage (organization_id, id, period_start, period_end, metrics, created_at, updated_at)
            VALUES (\(scope.id), \(ID<Usage>()), \(month.start), \(month.end), \(metrics), \(now), \(now))
            ON CONFLICT (organization_id, period_start)
            DO UPDATE SET metrics = excluded.metrics, updated_at = excluded.updated_at
            """
        )
        try tx.run("DELETE FROM usage_entries WHERE organization_id = \(scope.id) AND period_start = \(month.start)")
    }
}

package struct UsageService: Sendable {
    let database: any Database
    let now: @Sendable () -> Timestamp

    package func current(in scope: OrganizationScope) async throws -> Usage {
        let month = now().month
        return try await database.read(scope) { tx in try UsageStore(tx: tx, scope: scope).usage(of: month) }
    }

    /// Folds what has been counted into the months' rows, organization by organization.
    ///
    /// Run by a schedule.
    package func rollUp() async throws {
        let now = now()
        let due = try await database.read(for: .maintenance) { tx in
            try tx.rows("SELECT DISTINCT organization_id, period_start FROM usage_entries LIMIT 1000") { row in
                (try row.next(ID<OrganizationEntity>.self), try row.next(Timestamp.self))
            }
        }
        var failure: (any Error)?
        for (organization, start) in due {
            let scope = OrganizationScope.job(of: organization)
            do {
                try await database.write(scope) { tx in
                    try UsageStore(tx: tx, scope: scope).rollUp(start.month, at: now)
                }
            } catch {
                // Those behind it are rolled up all the same.
                failure = error
            }
        }
        if let failure { throw failure }
    }
}
