import Kernel
package import Storage

extension Purge {
    /// Deletes jobs that nobody has looked after since they were quarantined.
    ///
    /// Whoever had to be told was told by the follow-up at the time.
    ///
    /// - Parameters:
    ///   - age: Jobs that were quarantined later are kept.
    ///   - batch: At most so many jobs are deleted in one transaction.
    package static func quarantinedJobs(keeping age: Duration = .seconds(90 * 86_400), batch: Int = 1_000) -> Purge {
        let batch = max(1, batch)
        return Purge("quarantined_jobs") { database, now in
            let before = now - age
            return try await repeated(batch: batch) {
                try await database.write(for: .queue, isolation: .readCommitted) { tx in
                    try tx.stayOnIndexes()
                    return try tx.execute(JobStore.deleteQuarantined(before: before, limit: batch))
                }
            }
        }
    }
}
