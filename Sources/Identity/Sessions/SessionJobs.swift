package import Jobs
package import Kernel
import Storage

/// Deletes sessions and their refresh tokens some time after they ended, and invitations that nobody can take any more.
package struct SessionPurge: Sendable {
    private static let batchLimit = 500
    /// How long after its end a session is kept, so that one can still see where it came from.
    private static let age = Duration.seconds(30 * 86_400)

    let database: any Database
    let now: @Sendable () -> Timestamp

    /// - Returns: How many there were.
    @discardableResult
    package func runOnce() async throws -> Int {
        let now = now()
        let sessions = try await deleteAll(
            """
            DELETE FROM sessions WHERE (organization_id, id) IN (
                SELECT organization_id, id FROM sessions WHERE expires_at < \(now - Self.age)
                ORDER BY expires_at LIMIT \(limit: Self.batchLimit)
            )
            """
        )
        // Of sessions that go on: a token past its end is refused whether it was used or not.
        let tokens = try await deleteAll(
            """
            DELETE FROM refresh_tokens WHERE (organization_id, session_id, token_hash) IN (
                SELECT organization_id, session_id, token_hash FROM refresh_tokens WHERE expires_at <= \(now)
                ORDER BY expires_at LIMIT \(limit: Self.batchLimit)
            )
            """
        )
        let invitations = try await deleteAll(
            """
            DELETE FROM invitations WHERE (organization_id, id) IN (
                SELECT organization_id, id FROM invitations WHERE expires_at <= \(now)
                ORDER BY expires_at LIMIT \(limit: Self.batchLimit)
            )
            """
        )
        return sessions + tokens + invitations
    }

    /// Deletes batches until one is not full.
    private func deleteAll(_ batch: SQL) async throws -> Int {
        var sum = 0
        while true {
            let count = try await database.write(for: .maintenance, isolation: .readCommitted) { tx in
                try tx.execute(batch)
            }
            sum += count
            if count < Self.batchLimit { return sum }
            try Task.checkCancellation()
        }
    }
}

package struct PurgeSessionsJob: PlatformJob {
    package static let kind = "session.purge"
    package static let lane = Lane.maintenance
    package static let policy = RetryPolicy(maxAttempts: 5, base: .seconds(30), timeout: .seconds(600))

    package var payload: JSON { [:] }

    package init() {}
    package init(payload: JSON) {}
}
