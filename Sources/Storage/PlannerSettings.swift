extension Transaction {
    /// Keeps PostgreSQL's planner on the indexes for the rest of the transaction.
    ///
    /// For tables that are empty at one moment and long at the next, such as the queue. A plan that was made for one page
    /// and is kept with its prepared statement is ruinous for thousands: measured, 1,700 jobs a second with 30,000 waiting
    /// instead of more than 5,000.
    package func stayOnIndexes() throws {
        if dialect == .postgres { try run("SELECT \(SQL(trusted: settings("off")))") }
    }

    /// Lets PostgreSQL plan as it does by default again, for the rest of the transaction.
    package func planFreely() throws {
        if dialect == .postgres { try run("SELECT \(SQL(trusted: settings("on")))") }
    }

    /// Does the same as ``stayOnIndexes()``, and lets the commit not wait for PostgreSQL's disk.
    ///
    /// For what may be lost when the database itself crashes, as the worker's own crash a moment earlier would have lost
    /// it.
    package func stayOnIndexesWithoutWaitingForDisk() throws {
        if dialect == .postgres {
            try run("SELECT \(SQL(trusted: settings("off"))), set_config('synchronous_commit', 'off', true)")
        }
    }
}

private func settings(_ value: String) -> String {
    ["seqscan", "bitmapscan", "sort", "incremental_sort", "hashjoin", "mergejoin"]
        .map { "set_config('enable_\($0)', '\(value)', true)" }.joined(separator: ", ")
}
