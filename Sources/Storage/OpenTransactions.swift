import Kernel

extension Transaction {
    /// Numbers of open transactions that are known to be those of other databases of PostgreSQL's cluster, by their lower 32
    /// bits.
    ///
    /// Why each is known for certain: a transaction holds the lock of its number from a moment after it got it until a
    /// moment after it ended. What the locks say twice, of a number and of the process that holds it, was so all the time
    /// between, and what the list of processes says in that time of the process's database it says of that transaction.
    /// Nothing of this depends on clocks or on the snapshot of the transaction that asks. Processes keep their database,
    /// and transactions their number, for life; only a prepared transaction outlives its process, and that is known by its
    /// own database. A transaction of which nothing is known yet is not among the numbers.
    package func transactionsOfOtherDatabases() throws -> [Int64] {
        guard dialect == .postgres else { return [] }
        let holders: SQL = """
            SELECT CAST(CAST(transactionid AS text) AS bigint), pid FROM pg_locks
            WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted AND pid IS NOT NULL
            """
        let found = try batch([
            holders,
            // PostgreSQL keeps what it read of the processes for the rest of the transaction otherwise.
            "SELECT 0, 0 FROM pg_stat_clear_snapshot()",
            """
            SELECT 0, pid FROM pg_stat_activity
            WHERE datid <> (SELECT oid FROM pg_database WHERE datname = current_database())
            """,
            holders,
            """
            SELECT CAST(CAST(transaction AS text) AS bigint), 0 FROM pg_prepared_xacts WHERE database <> current_database()
            """,
        ]) { _, row in Holder(number: try row.next(), process: try row.next()) }
        let elsewhere = Set(found[2].map(\.process))
        return Set(found[0]).intersection(found[3]).filter { elsewhere.contains($0.process) }.map(\.number)
            + found[4].map(\.number)
    }
}

private struct Holder: Hashable {
    let number: Int64
    let process: Int
}

extension SQL {
    /// Every transaction with a number below this one has ended, except those that are passed over.
    ///
    /// - Parameter others: As ``Transaction/transactionsOfOtherDatabases()`` gives them.
    package static func oldestOpenTransaction(besides others: [Int64]) -> SQL {
        guard !others.isEmpty else { return "\(.oldestOpenTransaction)" }
        // Its own number counts, too: what it records itself must not come behind what it has read.
        return """
            least(
                coalesce(
                    (SELECT min(CAST(CAST(open.number AS text) AS bigint))
                    FROM pg_snapshot_xip(pg_current_snapshot()) AS open (number)
                    WHERE CAST(CAST(open.number AS text) AS bigint) & 4294967295 NOT IN \(list: others)),
                    CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)
                ),
                CAST(CAST(pg_current_xact_id_if_assigned() AS text) AS bigint)
            )
            """
    }
}

/// A transaction that holds up those who wait for the end of all.
package struct OpenTransaction: Sendable, RowDecodable, CustomStringConvertible {
    /// 0 for a prepared transaction, which no process holds.
    package let process: Int
    package let database: String
    /// nil where the asking user may not see it.
    package let age: Duration?

    package init(row: inout Row) throws {
        process = try row.next()
        database = try row.next()
        age = try row.next(Int64?.self).map { .seconds($0) }
    }

    package var description: String {
        let holder = process == 0 ? "prepared transaction" : "process \(process)"
        let time = age.map { ", open for \($0.wholeMilliseconds / 1_000) s" } ?? ""
        return "\(holder), database \(database)\(time)"
    }

    /// The oldest of PostgreSQL's cluster that has a number.
    package static let oldest: SQL = """
        SELECT process, database, age FROM (
            SELECT pid AS process, datname AS database,
                CAST(extract(epoch FROM clock_timestamp() - xact_start) AS bigint) AS age, age(backend_xid) AS distance
            FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND datname IS NOT NULL AND pid <> pg_backend_pid()
            UNION ALL
            SELECT 0, database, CAST(extract(epoch FROM clock_timestamp() - prepared) AS bigint), age(transaction)
            FROM pg_prepared_xacts
        ) AS open
        ORDER BY distance DESC LIMIT 1
        """
}
