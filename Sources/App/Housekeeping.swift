import Jobs
import Kernel
import Logging
import Storage

/// Deletes what has served its time, every hour.
struct Housekeeping: Sendable {
    static let schedule = Schedule("housekeeping", every: .seconds(3_600), HousekeepingJob())

    let database: any Database
    let purges: [Purge]
    let now: @Sendable () -> Timestamp

    /// Runs all purges and removes from the disk what they have deleted; one that fails does not hold up the others.
    ///
    /// - Throws: The last failure.
    func run(logger: Logger) async throws {
        var failure: (any Error)?
        let erasing = database.erasing
        for purge in purges {
            do {
                let count = try await purge.run(erasing, now())
                if count > 0 { logger.info("purged", metadata: ["purge": "\(purge.name)", "rows": "\(count)"]) }
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                logger.error("not purged", metadata: ["purge": "\(purge.name)", "error": "\(JobReason.of(error))"])
                failure = error
            }
        }
        do {
            if try await !database.finishErasing() {
                logger.notice("what was purged is not gone from the disk yet; the next run goes on")
            }
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            logger.error("deleted rows may be on the disk still", metadata: ["error": "\(JobReason.of(error))"])
            failure = error
        }
        if let failure { throw failure }
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
