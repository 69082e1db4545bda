package import Events
package import Kernel
package import Storage
package import Web

extension Permission {
    package static let auditRead = Permission("audit", "read")
}

/// The face of Audit.
package struct AuditModule: Sendable {
    package let logs: AuditLogService
    private let actorKinds: [ActorKind]

    /// - Parameter actorKinds: Those of all subsystems.
    package init(database: any Database, actorKinds: [ActorKind]) {
        logs = AuditLogService(database: database)
        self.actorKinds = actorKinds
    }

    package var endpoints: [Endpoint] {
        AuditLogRoutes(service: logs, actorKinds: actorKinds).endpoints
    }

    package var consumers: [any EventConsumer] {
        [AuditConsumer(actorKinds: actorKinds)]
    }

    package static var permissions: [PermissionGrant] { [PermissionGrant(.auditRead, to: .admins)] }
}
