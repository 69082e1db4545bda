package import Events
package import Kernel
package import Storage
package import Web

extension Permission {
    package static let auditRead = Permission("audit", "read")
}

/// The face of Audit.
package struct AuditModule: Sendable {
    private let database: any Database
    private let actorKinds: [ActorKind]

    /// - Parameter actorKinds: Those of all subsystems.
    package init(database: any Database, actorKinds: [ActorKind]) {
        self.database = database
        self.actorKinds = actorKinds
    }

    package var endpoints: [Endpoint] {
        AuditLogRoutes(database: database, actorKinds: actorKinds).endpoints
    }

    package var consumers: [any EventConsumer] {
        [AuditConsumer(userKinds: Set(actorKinds.filter(\.isUser).map(\.name)))]
    }

    package static var permissions: [PermissionGrant] { [PermissionGrant(.auditRead, to: .admins)] }
}
