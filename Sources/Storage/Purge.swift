package import Kernel

extension SystemPurpose {
    /// Deletes what has served its time.
    package static let maintenance = SystemPurpose("maintenance")
}

/// The deletion of rows that have served their time, declared by the subsystem that owns them.
package struct Purge: Sendable {
    /// Names it in logs and metrics: `sessions`.
    package let name: String
    /// Deletes what is due in batches, until nothing is left, from a database that erases.
    ///
    /// - Returns: How many rows were deleted.
    package let run: @Sendable (_ database: any Database, _ now: Timestamp) async throws -> Int

    package init(_ name: String, run: @escaping @Sendable (any Database, Timestamp) async throws -> Int) {
        self.name = name
        self.run = run
    }

    /// A purge of one statement.
    ///
    /// - Parameters:
    ///   - purpose: Must be allowed to delete such rows.
    ///   - batch: At most so many rows in one transaction.
    ///   - statement: Deletes at most `limit` rows.
    package init(
        _ name: String,
        for purpose: SystemPurpose = .maintenance,
        batch: Int = 1_000,
        _ statement: @escaping @Sendable (_ now: Timestamp, _ limit: Int) -> SQL
    ) {
        self.init(name) { database, now in
            try await Self.repeated(batch: batch) {
                try await database.write(for: purpose, isolation: .readCommitted) { tx in
                    try tx.execute(statement(now, batch))
                }
            }
        }
    }

    /// Deletes batches until one is not full.
    ///
    /// - Returns: How many rows were deleted.
    package static func repeated(batch: Int, _ delete: () async throws -> Int) async throws -> Int {
        var sum = 0
        while true {
            let count = try await delete()
            sum += count
            if count < batch { return sum }
            try Task.checkCancellation()
        }
    }
}
