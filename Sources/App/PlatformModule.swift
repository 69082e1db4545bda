package import Events
import Jobs
package import Kernel
package import Storage
package import Web

/// The face of the foundations: the queue, the feed and what Web keeps.
package struct PlatformModule: Module {
    package static let events = JobEvents.all
    package static let permissions = [
        PermissionGrant(.jobsRead, to: .admins), PermissionGrant(.jobsWrite, to: .admins),
    ]
    package static let actorKinds: [ActorKind] = [.system]
    package static let purposes: [SystemPurpose] = [.queue, .feed, .maintenance]

    private let database: any Database
    private let jobs: JobService
    /// The names of all consumers of the feed.
    private let consumerNames: [String]

    package init(database: any Database, consumers: [String], now: @escaping @Sendable () -> Timestamp) {
        self.database = database
        jobs = JobService(database: database, now: now)
        consumerNames = consumers
    }

    package var endpoints: [Endpoint] {
        JobRoutes(service: jobs).endpoints
            + SetAsideEventRoutes(events: SetAsideEvents(database: database)).endpoints
    }

    package var purges: [Purge] {
        [IdempotencyKeys.purge, .events(passedBy: consumerNames), .quarantinedJobs(), .unreadableJobs, .setAsideEvents]
    }

    package var readiness: [ReadinessCheck] {
        let database = database
        // One statement through the pool, and a small write when the last one found the disk full.
        return [
            ReadinessCheck("database") {
                _ = try await database.read(for: .queue) { tx in try tx.value("SELECT 1", as: Int.self) }
                try await database.checkRoom()
            }
        ]
    }
}
