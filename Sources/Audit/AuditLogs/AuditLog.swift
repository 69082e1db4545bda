package import Kernel
package import Storage

/// One line of the record of actions.
package struct AuditLog: Sendable, RowDecodable {
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

    static let columns: SQL = """
        id, user_id, actor_kind, actor_id, action, resource_type, resource_id, changes, ip_address, user_agent,
        request_id, created_at
        """

    package init(row: inout Row) throws {
        id = try row.next()
        userID = try row.next()
        actorKind = try row.next()
        actorID = try row.next()
        action = try row.next()
        resourceType = try row.next()
        resourceID = try row.next()
        changes = try row.next()
        address = try row.next()
        userAgent = try row.next()
        requestID = try row.next()
        createdAt = try row.next()
    }
}

package struct AuditLogFilter: Sendable {
    package var action: String?
    package var resourceType: String?
    package var resourceID: String?
    package var userID: ID<UserEntity>?

    package init() {}
}

struct AuditLogStore {
    let tx: any Transaction

    func list(
        _ filter: AuditLogFilter,
        _ page: PageRequest,
        in scope: OrganizationScope
    ) throws -> Page<AuditLog> {
        var conditions: [SQL] = ["organization_id = \(scope.id)"]
        if let action = filter.action { conditions.append("action = \(action)") }
        if let type = filter.resourceType { conditions.append("resource_type = \(type)") }
        if let id = filter.resourceID { conditions.append("resource_id = \(id)") }
        if let user = filter.userID { conditions.append("user_id = \(user)") }
        if let after = page.after {
            conditions.append("(created_at, id) < (\(after.time), \(after.id(of: AuditLog.self)))")
        }
        let rows: [AuditLog] = try tx.all(
            """
            SELECT \(AuditLog.columns) FROM audit_logs WHERE \(SQL.join(conditions, " AND "))
            ORDER BY created_at DESC, id DESC LIMIT \(limit: page.limit + 1)
            """
        )
        return Page(cutting: rows, to: page.limit) { Cursor(time: $0.createdAt, id: $0.id) }
    }
}
