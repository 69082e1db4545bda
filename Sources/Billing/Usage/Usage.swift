package import Kernel
package import Logging
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
    /// Entries that cannot be read do not count.
    ///
    /// - Parameter known: Come first, in their order, also where nothing was counted.
    func usage(of month: (start: Timestamp, end: Timestamp), _ known: [Meter]) throws -> Usage {
        // What cannot be read of the month's row is not shown.
        let rolledUp = (try? metrics(from: month.start)) ?? [:]
        return try usage(of: month, known, beside: rolledUp)
    }

    private func usage(
        of month: (start: Timestamp, end: Timestamp),
        _ known: [Meter],
        beside rolledUp: [Meter: Int64]
    ) throws -> Usage {
        var quantities = rolledUp
        // In two halves, as the sum of large numbers is an error of either database.
        let counted = try tx.rows(
            """
            SELECT metric, CAST(sum(quantity >> 32) AS BIGINT), CAST(sum(quantity & 4294967295) AS BIGINT)
            FROM usage_entries
            WHERE organization_id = \(scope.id) AND period_start = \(month.start) AND \(Self.isReadable) GROUP BY metric
            """
        ) { row in
            let meter = try row.next(Meter.self)
            let (high, low) = (try row.next(Int64.self), try row.next(Int64.self))
            let (product, overflow) = high.multipliedReportingOverflow(by: 1 << 32)
            let (sum, overflowed) = product.addingReportingOverflow(low)
            return (meter, overflow || overflowed ? .max : sum)
        }
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

    /// - Throws: `StorageError.unexpectedValue` when the month's row holds anything but counts.
    private func metrics(from start: Timestamp) throws -> [Meter: Int64] {
        let metrics: JSON? = try tx.value(
            "SELECT metrics FROM usage WHERE organization_id = \(scope.id) AND period_start = \(start)"
        )
        guard let metrics else { return [:] }
        guard let object = metrics.object else { throw StorageError.unexpectedValue(column: 0, expected: "an object") }
        var quantities: [Meter: Int64] = [:]
        for (name, quantity) in object {
            guard let number = quantity.int, number >= 0 else {
                throw StorageError.unexpectedValue(column: 0, expected: "an object of counts")
            }
            quantities[Meter(name)] = number
        }
        return quantities
    }

    /// Whether an entry can be counted.
    ///
    /// On SQLite a column may hold anything.
    private static let isReadable: SQL = """
        \(Fragment(
            sqlite: "(typeof(metric) = 'text' AND instr(metric, char(0)) = 0 AND typeof(quantity) = 'integer')",
            postgres: "TRUE"))
        """

    /// Folds the entries of a month into its row.
    ///
    /// Those that cannot be read stay, and so do all when the row cannot be.
    ///
    /// - Throws: `StorageError.unexpectedValue` when the month's row holds anything but counts.
    func rollUp(_ month: (start: Timestamp, end: Timestamp), _ known: [Meter], at now: Timestamp) throws {
        let usage = try usage(of: month, known, beside: metrics(from: month.start))
        let metrics = JSON.object(JSONObject(usage.quantities.map { ($0.meter.name, .integer($0.quantity)) }))
        try tx.run(
            """
            INSERT INTO usage (organization_id, id, period_start, period_end, metrics, created_at, updated_at)
            VALUES (\(scope.id), \(ID<Usage>()), \(month.start), \(month.end), \(metrics), \(now), \(now))
            ON CONFLICT (organization_id, period_start)
            DO UPDATE SET metrics = excluded.metrics, updated_at = excluded.updated_at
            """
        )
        try tx.run(
            """
            DELETE FROM usage_entries
            WHERE organization_id = \(scope.id) AND period_start = \(month.start) AND \(Self.isReadable)
            """
        )
    }
}

extension UsageStore {
    fileprivate func hasEntries(from start: Timestamp) throws -> Bool {
        try tx.value(
            "SELECT 1 FROM usage_entries WHERE organization_id = \(scope.id) AND period_start = \(start) LIMIT 1",
            as: Int.self
        ) != nil
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
    /// What cannot be read stays and is logged. Run by a schedule.
    package func rollUp(logger: Logger) async throws {
        let now = now()
        var failure: (any Error)?
        // Those that stay are passed over when the next are looked for.
        var kept = 0
        while true {
            let offset = kept
            let due = try await database.read(for: .billing) { tx in
                try tx.rows(
                    """
                    SELECT DISTINCT organization_id, period_start FROM usage_entries
                    ORDER BY organization_id, period_start LIMIT \(limit: Self.batchLimit) OFFSET \(offset)
                    """
                ) { row in (try? row.next(ID<OrganizationEntity>.self), try? row.next(Timestamp.self)) }
            }
            for (organization, start) in due {
                guard let organization, let start else {
                    kept += 1
                    logger.error(
                        "usage that cannot be read is not rolled up",
                        metadata: ["organization_id": "\(organization?.description ?? "unreadable")"]
                    )
                    continue
                }
                let scope = OrganizationScope.job(of: organization)
                do {
                    let isLeft = try await database.write(scope) { tx in
                        let store = UsageStore(tx: tx, scope: scope)
                        try store.rollUp(start.month, meters, at: now)
                        return try store.hasEntries(from: start)
                    }
                    guard isLeft else { continue }
                    kept += 1
                    logger.error(
                        "entries of usage that cannot be read are not rolled up",
                        metadata: ["organization_id": "\(organization)"]
                    )
                } catch is CancellationError {
                    throw CancellationError()
                } catch {
                    // Those behind it are rolled up all the same.
                    kept += 1
                    logger.error(
                        "usage is not rolled up",
                        metadata: ["organization_id": "\(organization)", "error": "\(JobReason.of(error))"]
                    )
                    // Trying again does not make a row readable.
                    if case StorageError.unexpectedValue = error { continue }
                    failure = error
                }
            }
            if due.count < Self.batchLimit { break }
        }
        if let failure { throw failure }
    }

    private static let batchLimit = 1_000
}
