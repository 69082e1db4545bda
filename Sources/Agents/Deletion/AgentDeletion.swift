import Jobs
import Kernel
import Messaging
import Storage

/// Clears what still refers to an agent that was deleted, and then its row.
struct AgentDeletionJob: Job {
    static let kind = "agent.delete"
    static let lane = Lane.bulk
    static let policy = RetryPolicy(maxAttempts: 20, base: .seconds(5), timeout: .seconds(300))

    let agent: ID<AgentEntity>

    init(agent: ID<AgentEntity>) { self.agent = agent }

    var payload: JSON { ["agent_id": .string(agent.description)] }

    init(payload: JSON) throws {
        guard let agent = payload["agent_id"]?.string.flatMap({ ID<AgentEntity>($0) }) else {
            throw JobFailure.permanent("the payload names no agent")
        }
        self.agent = agent
    }
}

/// Deletes the rows of agents in steps, so that nobody waits for one that many conversations name.
struct AgentDeletion: Sendable {
    private static let batch = 500

    let database: any Database
    let now: @Sendable () -> Timestamp

    func run(_ job: AgentDeletionJob, _ context: JobContext) async throws {
        let scope = context.scope
        let agent = job.agent
        for release in [releaseChannels, releaseConversations] {
            while try await release(agent, scope) == Self.batch { try Task.checkCancellation() }
        }
        try await database.write(scope) { tx in
            try AIAgentStore(tx: tx, scope: scope).erase(agent)
            try context.finish(in: tx)
        }
    }

    private func releaseChannels(_ agent: ID<AgentEntity>, _ scope: OrganizationScope) async throws -> Int {
        let now = now()
        return try await database.write(scope) { tx in
            try ChannelStore(tx: tx, scope: scope).release(agent, limit: Self.batch, at: now)
        }
    }

    private func releaseConversations(_ agent: ID<AgentEntity>, _ scope: OrganizationScope) async throws -> Int {
        let now = now()
        return try await database.write(scope, isolation: .readCommitted) { tx in
            try ConversationStore(tx: tx, scope: scope).release(agent, limit: Self.batch, at: now)
        }
    }
}
