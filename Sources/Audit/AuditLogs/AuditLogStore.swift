import Events
import Kernel
package import Storage

extension AuditLog: RowDecodable {
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

struct AuditLogStore {
    let tx: any Transaction

    static let columns: SQL = """
        id, user_id, actor_kind, actor_id, action, resource_type, resource_id, changes, ip_address, user_agent,
        request_id, created_at
        """

    func list(
        _ filter: AuditLogFilter,
        _ page: PageRequest,
        in scope: OrganizationScope
    ) throws -> Page<AuditLog> {
        let filters: [SQL?] = [
            filter.action.map { "action = \($0)" }, filter.resourceType.map { "resource_type = \($0)" },
            filter.resourceID.map { "resource_id = \($0)" }, filter.userID.map { "user_id = \($0)" },
        ]
        return try Listing(of: "audit_logs", Self.columns, in: scope, page, where: filters)
            .values(in: tx) { Cursor(time: $0.createdAt, id: $0.id) }
    }

    /// Those of some organizations that are there, in a transaction of `SystemPurpose.feed`.
    func present(of organizations: Set<ID<OrganizationEntity>>) throws -> Set<ID<OrganizationEntity>> {
        Set(try tx.values("SELECT id FROM organizations WHERE id IN \(list: Array(organizations))"))
    }

    /// Writes the line of an event, in a transaction of `SystemPurpose.feed`; there is one at most.
    ///
    /// - Parameter user: Who did it, if that was a person.
    func insert(_ event: RecordedEvent, by user: ID<UserEntity>?) throws {
        try tx.run(
            """
            INSERT INTO audit_logs (organization_id, \(Self.columns))
            VALUES (\(event.organization), \(event.id), \(user), \(event.actorKind), \(event.actorID), \(event.type),
                \(event.resource), \(event.subject), \(event.changes), \(event.address.map(InetText.init)),
                \(event.userAgent), \(event.requestID), \(event.createdAt))
            ON CONFLICT DO NOTHING
            """
        )
    }
}
