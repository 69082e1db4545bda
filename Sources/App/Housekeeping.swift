import Jobs
import Kernel
import Storage
import Web

/// Deletes what has served its time.
struct Housekeeping: Sendable {
    /// How long the entries of a conversation's stream can be replayed.
    ///
    /// The messages themselves stay.
    static let streamRetention = Duration.seconds(24 * 3_600)
    private static let batch = 5_000

    static let schedules = [Schedule("housekeeping", every: .seconds(3_600), HousekeepingJob())]

    let database: any Database
    let idempotency: IdempotencyKeys
    let events: EventRetention
    let now: @Sendable () -> Timestamp

    func run() async throws {
        while try await idempotency.purgeExpired() > 0 { try Task.checkCancellation() }
        while try await events.purge(now: now()) > 0 { try Task.checkCancellation() }
        while try await purgeStreams() > 0 { try Task.checkCancellation() }
        try await QuarantineRetention(database: database).purge(now: now())
    }

    /// Deletes a batch of old stream entries.
    func purgeStreams() async throws -> Int {
        let before = now() - Self.streamRetention
        return try await database.write(for: .maintenance) { tx in
            try tx.execute(
                """
                DELETE FROM conversation_events WHERE (organization_id, conversation_id, sequence) IN (
                    SELECT organization_id, conversation_id, sequence FROM conversation_events
                    WHERE created_at < \(before) ORDER BY created_at LIMIT \(limit: Self.batch)
                )
                """
            )
        }
    }
}

struct HousekeepingJob: PlatformJob {
    static let kind = "housekeeping"
    static let lane = Lane.maintenance
    static let policy = RetryPolicy(maxAttempts: 5, base: .seconds(30), timeout: .seconds(900), lease: .seconds(60))

    var payload: JSON { [:] }

    init() {}
    init(payload: JSON) {}
}
