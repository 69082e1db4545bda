package import Jobs
package import Kernel
package import Knowledge
package import Messaging
package import Storage
package import Web

/// The face of Agents.
package struct AgentsModule: Sendable {
    package let agents: AIAgentService
    private let replier: Replier

    /// - Parameter countTokens: Counts an answer's tokens for billing, in the transaction that stores it.
    package init(
        database: any Database,
        search: KnowledgeSearch,
        model: any LanguageModel,
        prices: ModelPrices,
        countTokens: @escaping UsageCounter,
        now: @escaping @Sendable () -> Timestamp
    ) {
        agents = AIAgentService(database: database, now: now)
        replier = Replier(
            database: database,
            search: search,
            model: model,
            prices: prices,
            countTokens: countTokens,
            now: now
        )
    }

    package var endpoints: [Endpoint] { AIAgentRoutes(service: agents).endpoints.endpoints }

    package func register(in registry: inout JobRegistry) {
        let replier = replier
        registry.handle(
            ReplyJob.self,
            abandoned: { job, reason, context in try await replier.abandon(job, reason: reason, context) },
            { job, context in try await replier.answer(job, context) }
        )
    }

    package static let events = AgentEvents.all
}
