package import Events
package import Jobs
package import Kernel
package import Knowledge
import Messaging
package import Storage
package import Web

extension Permission {
    package static let agentsRead = Permission("agents", "read")
    package static let agentsWrite = Permission("agents", "write")
}

extension ActorKind {
    package static let agent = ActorKind("agent")
}

extension Actor {
    static func agent(_ id: ID<AgentEntity>) -> Actor { Actor(.agent, id: id.description) }
}

/// The face of Agents.
package struct AgentsModule: Sendable {
    package let agents: AIAgentService
    private let replier: Replier
    private let deletion: AgentDeletion
    private let replyTimeout: Duration

    /// - Parameter startTimeout: How long the model may take to begin an answer; the attempt has a minute more at least, to end
    ///   it.
    package init(
        database: any Database,
        search: KnowledgeSearch,
        model: any LanguageModel,
        startTimeout: Duration = OpenAICompatibleModel.Configuration.startTimeout,
        prices: ModelPrices,
        entitlements: Entitlements,
        now: @escaping @Sendable () -> Timestamp
    ) {
        agents = AIAgentService(database: database, model: model, now: now)
        deletion = AgentDeletion(database: database, now: now)
        replyTimeout = max(startTimeout + .seconds(60), ReplyJob.policy.timeout)
        replier = Replier(
            database: database,
            search: search,
            model: model,
            prices: prices,
            entitlements: entitlements,
            now: now
        )
    }

    package var endpoints: [Endpoint] { AIAgentRoutes(service: agents).endpoints }

    package func register(in registry: inout JobRegistry) {
        let (replier, deletion) = (replier, deletion)
        registry.handle(AgentDeletionJob.self) { job, context in try await deletion.run(job, context) }
        registry.handle(
            ReplyJob.self,
            timeout: replyTimeout,
            abandoned: { job, reason, context in try await replier.abandon(job, reason: reason, context) },
            { job, context in try await replier.answer(job, context) }
        )
    }

    package static var events: [EventType] { AgentEvents.all }

    package static var permissions: [PermissionGrant] {
        [PermissionGrant(.agentsRead, to: .members), PermissionGrant(.agentsWrite, to: .admins)]
    }

    package static var actorKinds: [ActorKind] { [.agent] }

    package static var meters: [Meter] { [.aiTokens] }
}
