package import Kernel
package import Storage

/// Deletes jobs that nobody has looked after since they were quarantined.
///
/// Whoever had to be told was told by the follow-up at the time.
package struct QuarantineRetention: Sendable {
    private let database: any Database
    private let age: Duration
    private let batch: Int

    /// - Parameters:
    ///   - age: Jobs that were quarantined later are kept.
    ///   - batch: At most so many jobs of a lane are deleted in one transaction.
    package init(database: any Database, keeping age: Duration = .seconds(90 * 86_400), batch: Int = 1_000) {
        self.database = database
        self.age = age
        self.batch = max(1, batch)
    }

    /// - Returns: How many jobs were deleted.
    @discardableResult
    package func purge(now: Timestamp) async throws -> Int {
        let (before, batch) = (now - age, batch)
        var sum = 0
        for lane in Lane.allCases {
            while true {
                let count = try await database.write(for: .queue, isolation: .readCommitted) { tx in
                    try tx.run(JobStore.stayOnIndexes)
                    return try tx.execute(JobStore.deleteQuarantined(in: lane, before: before, limit: batch))
                }
                sum += count
                if count < batch { break }
                try Task.checkCancellation()
            }
        }
        return sum
    }
}
