package import Events
package import Kernel
package import Storage

/// Writes one line for each event of the feed, once even when the feed is read again.
package struct AuditConsumer: EventConsumer {
    package let name = "audit"
    /// Nothing that was ever done is left out.
    package let start = ConsumerStart.beginning
    package let planner = ConsumerPlanner.indexesOnly
    private let userKinds: Set<String>

    /// - Parameter actorKinds: Those of all subsystems.
    package init(actorKinds: [ActorKind]) { userKinds = Set(actorKinds.filter(\.isUser).map(\.name)) }

    package func consume(_ events: [RecordedEvent], in tx: any Transaction) throws {
        // Events outlive a purged organization for a moment; there is nobody left to read its lines. An organization that
        // goes while this runs fails the insert, and the next try does not find it.
        let store = AuditLogStore(tx: tx)
        let present = try store.present(of: Set(events.map(\.organization)))
        for event in events where present.contains(event.organization) {
            let isUser = userKinds.contains(event.actorKind)
            try store.insert(event, by: isUser ? event.actorID.flatMap { ID($0) } : nil)
        }
    }
}
