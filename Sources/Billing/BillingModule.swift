package import Jobs
package import Kernel
package import Storage
package import Web

extension Permission {
    package static let billingRead = Permission("billing", "read")
    package static let billingWrite = Permission("billing", "write")
}

extension SystemPurpose {
    /// Finds what is to be folded into the months' rows.
    package static let billing = SystemPurpose("billing")
}

/// The face of Billing.
package struct BillingModule: Sendable {
    package let usage: UsageService
    private let database: any Database

    /// - Parameter meters: Those of all subsystems, in the order in which usage shows them.
    package init(database: any Database, meters: [Meter], now: @escaping @Sendable () -> Timestamp) {
        self.database = database
        usage = UsageService(database: database, meters: meters, now: now)
    }

    package var endpoints: [Endpoint] {
        PlanRoutes(service: PlanService(database: database)).endpoints + UsageRoutes(service: usage).endpoints
    }

    package func register(in registry: inout JobRegistry) {
        let usage = usage
        registry.handle(UsageRollupJob.self) { _, context in try await usage.rollUp(logger: context.logger) }
    }

    package var schedules: [Schedule] { [Schedule("usage.rollup", every: .seconds(300), UsageRollupJob())] }

    package static var permissions: [PermissionGrant] {
        [PermissionGrant(.billingRead, to: .members), PermissionGrant(.billingWrite, to: .owners)]
    }

    package static var meters: [Meter] { [.voiceCalls] }

    package static var purposes: [SystemPurpose] { [.billing] }

    package static let entitlements = Entitlements { tx, scope, meter, quantity, now in
        try UsageStore(tx: tx, scope: scope).count(meter, quantity, at: now)
    }
}

struct UsageRollupJob: PlatformJob {
    static let kind = "usage.rollup"
    static let lane = Lane.maintenance

    var payload: JSON { [:] }

    init() {}
    init(payload: JSON) {}
}
