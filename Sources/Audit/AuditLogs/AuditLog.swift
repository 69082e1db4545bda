package import Kernel
package import Storage

/// One line of the record of actions.
package struct AuditLog: Sendable {
    package let id: ID<AuditLog>
    package let userID: ID<UserEntity>?
    package let actorKind: String
    package let actorID: String?
    package let action: String
    package let resourceType: String
    package let resourceID: String
    package let changes: JSON?
    package let address: InetText?
    package let userAgent: String?
    package let requestID: String?
    package let createdAt: Timestamp
}

package struct AuditLogFilter: Sendable {
    package var action: String?
    package var resourceType: String?
    package var resourceID: String?
    package var userID: ID<UserEntity>?

    package init() {}
}
