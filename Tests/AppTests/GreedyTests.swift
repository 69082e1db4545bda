import Agents
import App
import Events
import Identity
import Jobs
import Kernel
import Messaging
import Simulators
import Storage
import TestKit
import Testing

/// What an organization notices of others that ask for more than the node can do.
@Suite("Greedy organizations", .timeLimit(.minutes(3)))
struct GreedyTests {
    @Test(
        "300 messages of each whose model hangs do not keep another from being answered",
        arguments: TestDatabase.kinds,
        [1, 6]
    )
    func hangingModel(on kind: TestDatabase.Kind, organizations: Int) async throws {
        try await withModel(on: kind) { app, simulator in
            simulator.hang(on: "Think for ever.")
            let greedy = try await app.signUp("Greedy")
            for number in 1...organizations {
                let crowd = try await app.crowd("Greedy \(number)", of: greedy, instructions: "Think for ever.")
                try await app.ask(300, in: crowd)
            }
            // Alone one holds half of the 256 slots. However six come to their slots, fewer than 38 are free when none of
            // them may take another: each holds at least as many as are free, but for one.
            let calls = organizations == 1 ? 128 : 219
            try await simulator.counts { $0.held >= calls }

            let owner = try await app.signUp()
            _ = try await owner.create("/api/v1/ai-agents", ["name": "Support"])
            let conversation = try await owner.startConversation()
            for _ in 1...3 {
                #expect(try await owner.ask("Where is my order?", in: conversation).last?.kind == "reply.completed")
            }
            #expect(simulator.counts.completed == 3)
            #expect(simulator.counts.held >= calls)
        }
    }

    @Test("four sources whose embedder hangs do not keep another's from being trained", arguments: TestDatabase.kinds)
    func hangingEmbedder(on kind: TestDatabase.Kind) async throws {
        try await withModel(on: kind) { app, simulator in
            simulator.hang(on: "heavy words")
            func train(_ name: String, _ words: String, of owner: TestClient) async throws -> String {
                try await owner.create(
                    "/api/v1/knowledge-sources",
                    ["name": .string(name), "type": "text", "content": .string("# Book\n\nMany \(words).")]
                )
            }
            let greedy = try await app.signUp("Greedy")
            for number in 1...4 { _ = try await train("Heavy \(number)", "heavy words", of: greedy) }
            // Half of the four slots.
            try await simulator.counts { $0.held == 2 }

            let owner = try await app.signUp()
            for number in 1...2 {
                try await owner.waitUntilReady(train("Light \(number)", "light words", of: owner))
            }
            #expect(simulator.counts.held == 2)
        }
    }

    @Test("256 answers of 39 organizations stream at once, each to its end", arguments: TestDatabase.kinds)
    func manyStreams(on kind: TestDatabase.Kind) async throws {
        try await withModel(on: kind) { app, simulator in
            // All have sent a first piece.
            simulator.hold(after: 1)
            let owner = try await app.signUp()
            var asked: [(crowd: Crowd, conversations: [ID<ConversationEntity>])] = []
            for number in 1...31 {
                let crowd = try await app.crowd("Organization \(number)", of: owner)
                asked.append((crowd, try await app.ask(8, in: crowd)))
            }
            // The last of them had 16 slots that nobody held, of which half were its own; now one is left for each.
            try await simulator.counts { $0.held == 248 }
            for number in 32...39 {
                let crowd = try await app.crowd("Organization \(number)", of: owner)
                asked.append((crowd, try await app.ask(1, in: crowd)))
            }
            try await simulator.counts { $0.held == 256 && $0.pieces == 256 }
            simulator.release()

            for (crowd, conversations) in asked {
                for conversation in conversations {
                    let messages = try await eventually("the end of an answer") {
                        try await app.messagesAtRest(conversation, of: crowd)
                    }
                    #expect(messages.map(\.role) == [.user, .assistant])
                    #expect(messages.last?.content == "I do not know.")
                }
            }
            #expect(simulator.counts.chats == 256)
            #expect(simulator.counts.completed == 256)
            #expect(simulator.counts.broken == 0)
        }
    }
}

/// A node whose model and embedder are a simulator.
private func withModel(
    on kind: TestDatabase.Kind,
    _ body: @escaping @Sendable (TestApp, OpenAISimulator) async throws -> Void
) async throws {
    try await withOpenAISimulator { simulator in
        let environment = [
            "KUVEND_LLM_BASE_URL": simulator.baseURL, "KUVEND_LLM_API_KEY": simulator.apiKey.exposed,
            "KUVEND_LLM_MODEL": "gpt-4o-mini",
            // What hangs does so to the end of the test, however slow the machine is.
            "KUVEND_LLM_START_TIMEOUT": "600",
            "KUVEND_EMBEDDING_BASE_URL": simulator.baseURL, "KUVEND_EMBEDDING_API_KEY": simulator.apiKey.exposed,
            "KUVEND_EMBEDDING_MODEL": "text-embedding-3-small",
        ]
        try await withApp(on: kind, environment: environment) { app in try await body(app, simulator) }
    }
}

/// An organization with an agent, and a conversation of which others are copies.
private struct Crowd: Sendable {
    let scope: OrganizationScope
    let pattern: ID<ConversationEntity>
}

extension TestApp {
    /// One more organization of somebody.
    fileprivate func crowd(_ name: String, of owner: TestClient, instructions: String = "") async throws -> Crowd {
        guard let user = ID<UserEntity>(owner.user) else { throw TestAppFailure("no user") }
        let organization = try await node.identity.organizations.create(NewOrganization(name: name), by: user)
        let scope = OrganizationScope.job(of: organization.id)
        _ = try await node.agents.agents.create(in: scope) { agent in
            agent.name = "Support"
            agent.instructions = instructions
            // Without a question to the embedder before each answer.
            agent.settings = AgentSettings(["knowledge_passages": 0])
        }
        let channel = try await node.messaging.channels.create(in: scope) { $0.name = "Website" }
        let contact = try await node.messaging.contacts.create(in: scope) { $0.name = "Besa" }
        let conversation = try await node.messaging.conversations.start(
            NewConversation(contactID: contact.id, channelID: channel.id),
            in: scope
        )
        return Crowd(scope: scope, pattern: conversation.id)
    }

    /// Makes so many answers due in one transaction, each in a conversation of its own.
    @discardableResult
    fileprivate func ask(_ count: Int, in crowd: Crowd) async throws -> [ID<ConversationEntity>] {
        let (scope, now) = (crowd.scope, Timestamp.now())
        let ids = (0..<count).map { _ in ID<ConversationEntity>() }
        try await node.database.write(scope) { tx in
            for id in ids {
                try tx.run(
                    """
                    INSERT INTO conversations (organization_id, id, contact_id, channel_id, ai_agent_id, status, handled_by,
                        version, reply_state, last_sequence, exclusive, metadata, created_at, updated_at)
                    SELECT organization_id, \(id), contact_id, channel_id, ai_agent_id, status, handled_by,
                        version, \(Answering.State.queued), last_sequence, exclusive, metadata, created_at,
                        updated_at
                    FROM conversations WHERE organization_id = \(scope.id) AND id = \(crowd.pattern)
                    """
                )
                try MessageStore(tx: tx, scope: scope).insert(
                    Message(conversationID: id, role: .user, content: "Where is my order?", at: now)
                )
                try tx.enqueue(ReplyJob(conversation: id), in: scope, uniqueKey: id.description, now: now)
            }
        }
        return ids
    }

    /// What was said in a conversation, oldest first; nil while an answer is due.
    fileprivate func messagesAtRest(_ id: ID<ConversationEntity>, of crowd: Crowd) async throws -> [Message]? {
        let scope = crowd.scope
        return try await node.database.read(scope) { tx in
            let conversation = try ConversationStore(tx: tx, scope: scope).find(id)
            guard conversation?.reply.state == .idle else { return nil }
            return try MessageStore(tx: tx, scope: scope).latest(10, in: id)
        }
    }
}
