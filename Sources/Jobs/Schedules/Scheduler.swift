package import Kernel
package import Logging
import ServiceLifecycle
package import Storage

/// A platform job that is enqueued again and again.
package struct Schedule: Sendable {
    package let name: String
    package let interval: Duration
    let enqueue: @Sendable (any Transaction, String, Timestamp) throws -> Void

    /// - Parameters:
    ///   - name: Unique among schedules, and kept for ever: `events.purge`.
    ///   - interval: At least one second.
    package init<Work: PlatformJob>(_ name: String, every interval: Duration, _ job: Work) {
        self.name = name
        self.interval = max(interval, .seconds(1))
        enqueue = { tx, uniqueKey, now in try tx.enqueue(job, uniqueKey: uniqueKey, now: now) }
    }

    /// The first moment after `now` on the grid that begins at `due`.
    func next(after due: Timestamp, now: Timestamp) -> Timestamp {
        let step = interval.wholeMilliseconds
        let missed = max((now - due).wholeMilliseconds, 0) / step
        let (wait, overflow) = (missed + 1).multipliedReportingOverflow(by: step)
        return overflow ? .latest : due + .milliseconds(wait)
    }
}

/// Enqueues the jobs of schedules.
///
/// Any number of nodes may run it: each tick fires once, ticks that were missed fire once together, and a tick is left
/// out while the job of the one before is still ready or running.
///
/// The first tick of a new schedule comes one interval after the schedule was first seen.
package struct Scheduler: Service {
    private let database: any Database
    private let schedules: [Schedule]
    private let pollInterval: Duration
    private let logger: Logger
    private let now: @Sendable () -> Timestamp

    /// - Parameter pollInterval: How far a tick may come late.
    package init(
        database: any Database,
        schedules: [Schedule],
        pollInterval: Duration = .seconds(1),
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp = { .now() }
    ) {
        self.database = database
        self.schedules = schedules
        self.pollInterval = pollInterval
        self.logger = logger
        self.now = now
    }

    package func run() async throws {
        guard !schedules.isEmpty else { return try await gracefulShutdown() }
        try? await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await runOnce()
                } catch is CancellationError {
                    return
                } catch {
                    logger.warning("schedules could not be looked at", metadata: ["error": "\(error)"])
                }
                try await Task.sleep(for: pollInterval)
            }
        }
    }

    /// Enqueues what is due; a schedule whose time cannot be read is.
    ///
    /// - Returns: The names of the schedules that ticked.
    @discardableResult
    package func runOnce() async throws -> [String] {
        let (schedules, logger, now) = (schedules, logger, now())
        return try await database.write(for: .queue, isolation: .readCommitted) { tx in
            let places = try tx.rows("SELECT name, next_run_at FROM job_schedules") { row in
                // A row without a name is nobody's.
                (name: try? row.next(String.self), nextRunAt: try? row.next(Timestamp.self))
            }
            for schedule in schedules where !places.contains(where: { $0.name == schedule.name }) {
                try tx.run(
                    """
                    INSERT INTO job_schedules (name, next_run_at, last_run_at)
                    VALUES (\(schedule.name), \(now + schedule.interval), NULL) ON CONFLICT DO NOTHING
                    """
                )
            }
            let unreadable = places.filter { $0.nextRunAt == nil }.compactMap(\.name)
            guard !unreadable.isEmpty || places.contains(where: { $0.nextRunAt.map { $0 <= now } ?? false }) else {
                return []
            }
            // Whoever holds the row makes the tick.
            let due = try tx.rows(
                """
                SELECT name, next_run_at FROM job_schedules WHERE next_run_at <= \(now) OR name IN \(list: unreadable)
                ORDER BY name \(.skipLocked)
                """
            ) { row in
                (name: try? row.next(String.self), nextRunAt: try? row.next(Timestamp.self))
            }
            var ticked: [String] = []
            for (name, time) in due {
                guard let name, let schedule = schedules.first(where: { $0.name == name }) else { continue }
                if time == nil {
                    logger.error("a schedule whose time cannot be read is due now", metadata: ["schedule": "\(name)"])
                }
                let nextRunAt = time ?? now
                // Another node may have ticked since the first look.
                guard nextRunAt <= now else { continue }
                try tx.run(
                    """
                    UPDATE job_schedules SET next_run_at = \(schedule.next(after: nextRunAt, now: now)), last_run_at = \(now)
                    WHERE name = \(name)
                    """
                )
                try schedule.enqueue(tx, "schedule:\(name)", now)
                ticked.append(name)
            }
            return ticked
        }
    }
}
