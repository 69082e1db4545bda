package import Kernel
package import Storage
import Web

extension Meter {
    /// Calls that were taken or placed.
    package static let voiceCalls = Meter("voice_calls_count")
}

/// What an organization used in one month.
package struct Usage: Sendable {
    package let periodStart: Timestamp
    package let periodEnd: Timestamp
    /// Those that have been counted, and those that this node knows.
    package let quantities: [(meter: Meter, quantity: Int64)]

    package subscript(_ meter: Meter) -> Int64 { quantities.first { $0.meter == meter }?.quantity ?? 0 }
}

package struct UsageStore {
    package let tx: any Transaction
    package let scope: OrganizationScope

    package init(tx: any Transaction, scope: OrganizationScope) {
        self.tx = tx
        self.scope = scope
    }

    /// Counts in the transaction of what is counted.
    package func count(_ meter: Meter, _ quantity: Int64, at now: Timestamp) throws {
        try tx.run(
            """
            INSERT INTO usage_entries (organization_id, id, period_start, metric, quantity, created_at)
            VALUES (\(scope.id), \(ID<Usage>()), \(now.month.start), \(meter), \(quantity), \(now))
            """
        )
    }

    /// The month's row and the entries that it does not hold yet, together.
    ///
    /// - Parameter known: Come first, in their order, also where nothing was counted.
    func usage(of month: (start: Timestamp, end: Timestamp), _ known: [Meter]) throws -> Usage {
        var quantities = try rolledUp(month.start)
        let counted = try tx.rows(
            """
            SELECT metric, CAST(sum(quantity) AS BIGINT) FROM usage_entries
            WHERE organization_id = \(scope.id) AND period_start = \(month.start) GROUP BY metric
            """
        ) { row in (try row.next(Meter.self), try row.next(Int64.self)) }
        for (meter, quantity) in counted {
            let (sum, overflow) = quantities[meter, default: 0].addingReportingOverflow(quantity)
            quantities[meter] = overflow ? .max : sum
        }
        let others = quantities.keys.filter { !known.contains($0) }.sorted { $0.name < $1.name }
        return Usage(
            periodStart: month.start,
            periodEnd: month.end,
            quantities: (known + others).map { ($0, quantities[$0] ?? 0) }
        )
    }

    private func rolledUp(_ start: Timestamp) throws -> [Meter: Int64] {
        let metrics: JSON? = try tx.value(
            "SELECT metrics FROM usage WHERE organization_id = \(scope.id) AND period_start = \(start)"
        )
        var quantities: [Meter: Int64] = [:]
        for (name, quantity) in metrics?.object ?? [:] { quantities[Meter(name)] = quantity.int ?? 0 }
        return quantities
    }

    /// Folds the entries of a month into its row.
    func rollUp(_ month: (start: Timestamp, end: Timestamp), _ known: [Meter], at now: Timestamp) throws {
        let usage = try usage(of: month, known)
        let metrics = JSON.object(JSONObject(usage.quantities.map { ($0.meter.name, .integer($0.quantity)) }))
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
    let meters: [Meter]
    let now: @Sendable () -> Timestamp

    package func current(in scope: OrganizationScope) async throws -> Usage {
        let month = now().month
        return try await database.read(scope) { tx in try UsageStore(tx: tx, scope: scope).usage(of: month, meters) }
    }

    /// Folds what has been counted into the months' rows, organization by organization.
    ///
    /// Run by a schedule.
    package func rollUp() async throws {
        let now = now()
        let due = try await database.read(for: .billing) { tx in
            try tx.rows("SELECT DISTINCT organization_id, period_start FROM usage_entries LIMIT 1000") { row in
                (try row.next(ID<OrganizationEntity>.self), try row.next(Timestamp.self))
            }
        }
        var failure: (any Error)?
        for (organization, start) in due {
            let scope = OrganizationScope.job(of: organization)
            do {
                try await database.write(scope) { tx in
                    try UsageStore(tx: tx, scope: scope).rollUp(start.month, meters, at: now)
                }
            } catch {
                // Those behind it are rolled up all the same.
                failure = error
            }
        }
        if let failure { throw failure }
    }
}
