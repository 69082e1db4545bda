package import Jobs
package import Kernel
package import Storage
package import Web

/// The face of Billing.
package struct BillingModule: Sendable {
    package let usage: UsageService
    private let database: any Database

    package init(database: any Database, now: @escaping @Sendable () -> Timestamp) {
        self.database = database
        usage = UsageService(database: database, now: now)
    }

    package var endpoints: [Endpoint] {
        PlanRoutes(database: database).endpoints.endpoints + UsageRoutes(service: usage).endpoints.endpoints
    }

    package func register(in registry: inout JobRegistry) {
        let usage = usage
        registry.handle(UsageRollupJob.self) { _, _ in try await usage.rollUp() }
    }

    package static let schedules = [Schedule("usage.rollup", every: .seconds(300), UsageRollupJob())]

    /// Counts in the transaction of what is counted.
    package static func counter(
        of metric: UsageMetric
    ) -> @Sendable (any Transaction, OrganizationScope, Int64, Timestamp) throws -> Void {
        { tx, scope, quantity, now in try UsageStore(tx: tx, scope: scope).count(metric, quantity, at: now) }
    }
}

struct UsageRollupJob: PlatformJob {
    static let kind = "usage.rollup"
    static let lane = Lane.maintenance

    var payload: JSON { [:] }

    init() {}
    init(payload: JSON) {}
}
