package import Events
import Kernel
package import Storage

/// Writes one line for each event of the feed, once even when the feed is read again.
package struct AuditConsumer: EventConsumer {
    package let name = "audit"
    /// Nothing that was ever done is left out.
    package let start = ConsumerStart.beginning
    package let planner = ConsumerPlanner.indexesOnly
    /// The kinds of actors that are users.
    let userKinds: Set<String>

    package func consume(_ events: [RecordedEvent], in tx: any Transaction) throws {
        // Events outlive a purged organization for a moment; there is nobody left to read its lines. An organization that
        // goes while this runs fails the insert, and the next try does not find it.
        let organizations = Array(Set(events.map(\.organization)))
        let present = Set(
            try tx.values(
                "SELECT id FROM organizations WHERE id IN \(list: organizations)",
                as: ID<OrganizationEntity>.self
            )
        )
        for event in events where present.contains(event.organization) {
            let user = userKinds.contains(event.actorKind) ? event.actorID.flatMap { ID<UserEntity>($0) } : nil
            try tx.run(
                """
                INSERT INTO audit_logs (organization_id, \(AuditLog.columns))
                VALUES (\(event.organization), \(event.id), \(user), \(event.actorKind), \(event.actorID), \(event.type),
                    \(event.resource), \(event.subject), \(event.changes), \(event.address.map(InetText.init)),
                    \(event.userAgent), \(event.requestID), \(event.createdAt))
                ON CONFLICT DO NOTHING
                """
            )
        }
    }
}
