package import Jobs
package import Storage
package import Web

/// The face of Audit.
package struct AuditModule: Sendable {
    private let database: any Database

    package init(database: any Database) { self.database = database }

    package var endpoints: [Endpoint] { AuditLogRoutes(database: database).endpoints.endpoints }

    package var consumers: [any EventConsumer] { [AuditConsumer()] }
}
