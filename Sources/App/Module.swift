import Agents
import Audit
import Billing
package import Events
import Identity
package import Jobs
package import Kernel
import Knowledge
import Messaging
package import ServiceLifecycle
package import Storage
package import Web

/// What a subsystem gives to the node; whatever it has none of is empty.
package protocol Module: Sendable {
    // Declarations, which others need before there is a node.

    /// The types of event that it records.
    static var events: [EventType] { get }
    static var permissions: [PermissionGrant] { get }
    static var actorKinds: [ActorKind] { get }
    static var meters: [Meter] { get }
    /// Why it looks at rows of more than one organization; row level security names each.
    static var purposes: [SystemPurpose] { get }

    var endpoints: [Endpoint] { get }
    /// Those who read the feed.
    var consumers: [any EventConsumer] { get }
    var schedules: [Schedule] { get }
    /// Deletions of what has served its time; run every hour.
    var purges: [Purge] { get }
    /// What runs for as long as the node does, whatever its roles.
    var services: [any Service] { get }
    var readiness: [ReadinessCheck] { get }

    /// Registers who does its jobs.
    func register(in registry: inout JobRegistry)
}

extension Module {
    package static var events: [EventType] { [] }
    package static var permissions: [PermissionGrant] { [] }
    package static var actorKinds: [ActorKind] { [] }
    package static var meters: [Meter] { [] }
    package static var purposes: [SystemPurpose] { [] }

    package var endpoints: [Endpoint] { [] }
    package var consumers: [any EventConsumer] { [] }
    package var schedules: [Schedule] { [] }
    package var purges: [Purge] { [] }
    package var services: [any Service] { [] }
    package var readiness: [ReadinessCheck] { [] }

    package func register(in registry: inout JobRegistry) {}
}

extension IdentityModule: Module {}
extension BillingModule: Module {}
extension KnowledgeModule: Module {}
extension MessagingModule: Module {}
extension AgentsModule: Module {}
extension AuditModule: Module {}

/// The one list of modules, and what they declare together.
package enum Modules {
    /// In the order in which the API reference and usage show them.
    package static let all: [any Module.Type] = [
        PlatformModule.self, IdentityModule.self, BillingModule.self, KnowledgeModule.self, MessagingModule.self,
        AgentsModule.self, AuditModule.self,
    ]

    package static var events: [EventType] { all.flatMap { $0.events } }
    package static var permissions: [PermissionGrant] { all.flatMap { $0.permissions } }
    package static var actorKinds: [ActorKind] { all.flatMap { $0.actorKinds } }
    package static var meters: [Meter] { all.flatMap { $0.meters } }
    package static var purposes: [SystemPurpose] { all.flatMap { $0.purposes } }
}
