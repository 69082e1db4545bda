import App
import Jobs
import Kernel
import Schema
import Simulators
import Storage
import Synchronization
import TestKit
import Testing

/// Which model an agent answers with, and what becomes of what an agent leaves behind.
@Suite("Agents")
struct AIAgentTests {
    private static let path = "/api/v1/ai-agents"

    private func provider(_ simulator: OpenAISimulator) -> [String: String] {
        [
            "KUVEND_LLM_BASE_URL": simulator.baseURL, "KUVEND_LLM_API_KEY": simulator.apiKey.exposed,
            "KUVEND_LLM_MODEL": "gpt-4o-mini",
        ]
    }

    private func write(_ sql: SQL, in client: TestClient) async throws {
        let organization = try #require(ID<OrganizationEntity>(client.organization))
        try await client.app.node.database.write(.job(of: organization)) { tx in try tx.run(sql) }
    }

    private func count(_ sql: SQL, in client: TestClient) async throws -> Int {
        let organization = try #require(ID<OrganizationEntity>(client.organization))
        return try await client.app.node.database.read(.job(of: organization)) { tx in
            try tx.value(sql, as: Int.self) ?? 0
        }
    }

    // MARK: Models

    @Test("without a provider there is the built-in model and no other", arguments: TestDatabase.kinds)
    func builtIn(on kind: TestDatabase.Kind) async throws {
        try await withApp(on: kind, roles: "http") { app in
            let owner = try await app.signUp()
            let builtIn: JSON = "built-in extractive"
            let created = try await owner.post(Self.path, ["name": "Support"])
            #expect(created.status == 201)
            #expect(created.json["model"] == .null && created.json["model_in_use"] == builtIn, "\(created.text)")
            // The column's default is another.
            #expect(try await count("SELECT count(*) FROM ai_agents WHERE model IS NULL", in: owner) == 1)

            let named = try await owner.post(Self.path, ["name": "Named", "model": builtIn])
            #expect(named.json["model"] == builtIn && named.json["model_in_use"] == builtIn, "\(named.text)")
            for model in ["gpt-4", "gpt-4o-mini", "built-in"] {
                let body: JSON = ["name": "Other", "model": .string(model)]
                for refused in [
                    try await owner.post(Self.path, body), try await owner.patch("\(Self.path)/\(created.id)", body),
                ] {
                    #expect(refused.status == 422 && refused.code == "agent.model_unavailable", "\(refused.text)")
                    #expect(refused.json["errors"]?.array?.map { $0["pointer"] } == ["/model"])
                }
            }
            #expect(try await owner.get("\(Self.path)/\(created.id)").json == created.json)
            #expect(try await owner.get(Self.path).json["data"]?.array?.count == 2)
            let back = try await owner.patch("\(Self.path)/\(named.id)", ["model": .null])
            #expect(back.json["model"] == .null && back.json["model_in_use"] == builtIn, "\(back.text)")
        }
    }

    @Test("a provider is asked for the model that the agent names, gpt-4 too", arguments: TestDatabase.kinds)
    func named(on kind: TestDatabase.Kind) async throws {
        try await withOpenAISimulator { simulator in
            try await withApp(on: kind, environment: provider(simulator), roles: "http") { app in
                let owner = try await app.signUp()
                let agent = try await owner.create(Self.path, ["name": "Support"])
                let conversation = try await owner.startConversation()
                func ask(expecting model: String) async throws {
                    _ = try await owner.create(
                        "/api/v1/conversations/\(conversation)/messages",
                        ["content": "Where is my order?"]
                    )
                    try await app.settle()
                    let read = try await owner.get("\(Self.path)/\(agent)")
                    #expect(read.json["model_in_use"]?.string == model)
                    #expect(simulator.requests.last?.json?["model"]?.string == model)
                }
                try await ask(expecting: "gpt-4o-mini")
                for name in ["gpt-4", "gpt-4o-mini", "local/llama 3"] {
                    let changed = try await owner.patch("\(Self.path)/\(agent)", ["model": .string(name)])
                    #expect(changed.json["model"]?.string == name, "\(changed.text)")
                    try await ask(expecting: name)
                }
                #expect(try await owner.patch("\(Self.path)/\(agent)", ["model": .null]).json["model"] == .null)
                try await ask(expecting: "gpt-4o-mini")

                // Only the provider knows which models it has.
                _ = try await owner.patch("\(Self.path)/\(agent)", ["model": "missing-model"])
                try await ask(expecting: "missing-model")
                let state = try await owner.get("/api/v1/conversations/\(conversation)").json
                #expect(state["reply_state"] == "failed")
                #expect(state["reply_error"]?.string?.contains("unknown model") == true, "\(state)")
            }
        }
    }

    @Test("an answer fails at once where the agent's model is gone", arguments: TestDatabase.kinds)
    func gone(on kind: TestDatabase.Kind) async throws {
        try await withOpenAISimulator { simulator in
            try await withApp(on: kind, environment: provider(simulator), roles: "http") { before in
                let owner = try await before.signUp()
                let created = try await owner.post(Self.path, ["name": "Support"])
                let tag = try #require(created.headers["etag"])
                let path = "\(Self.path)/\(created.id)"
                // Another node on the same rows, without the provider.
                try await withApp(over: before.node.database, roles: "http") { app in
                    let owner = TestClient(
                        app: app,
                        token: owner.token,
                        organization: owner.organization,
                        user: owner.user
                    )
                    let read = try await owner.get(path, headers: ["if-none-match": tag])
                    #expect(read.status == 200 && read.json["model_in_use"] == "built-in extractive", "\(read.text)")
                    // Nobody has edited the agent.
                    let renamed = try await owner.patch(path, ["name": "Sales"], headers: ["if-match": tag])
                    #expect(renamed.status == 200, "\(renamed.text)")

                    try await write("UPDATE ai_agents SET model = 'gpt-4o'", in: owner)
                    let shown = try await owner.get(path).json
                    #expect(shown["model"] == "gpt-4o" && shown["model_in_use"] == "gpt-4o")
                    let conversation = "/api/v1/conversations/\(try await owner.startConversation())"
                    _ = try await owner.create(conversation + "/messages", ["content": "Where is my order?"])
                    try await app.settle()
                    let state = try await owner.get(conversation).json
                    #expect(state["reply_state"] == "failed")
                    #expect(state["reply_error"]?.string?.contains("unknown model") == true, "\(state)")
                    let jobs = try await owner.get("/api/v1/jobs/quarantined").json["data"]?.array ?? []
                    #expect(jobs.map { $0["attempts"]?.int } == [1])

                    // The rest of the agent can still be changed, and then it answers what was given up.
                    #expect(try await owner.patch(path, ["instructions": "Be kind."]).status == 200)
                    #expect(try await owner.patch(path, ["model": .null]).status == 200)
                    _ = try await owner.post("/api/v1/jobs/\(jobs.first?["id"]?.string ?? "")/retry")
                    try await app.settle()
                    #expect(try await owner.get(conversation).json["reply_state"] == "idle")
                }
            }
        }
    }

    // MARK: Deletion

    @Test("a deleted agent is gone at once, and later all that named it goes on without", arguments: TestDatabase.kinds)
    func deletion(on kind: TestDatabase.Kind) async throws {
        try await withApp(on: kind, roles: "http") { app in
            let owner = try await app.signUp()
            let first = try await owner.create(Self.path, ["name": "First"])
            let agent = try await owner.create(Self.path, ["name": "Second"])
            let channel = try await owner.create(
                "/api/v1/channels",
                ["name": "Website", "type": "api", "ai_agent_id": .string(agent)]
            )
            let contact = try await owner.create("/api/v1/contacts", ["name": "Besa"])
            let body: JSON = [
                "channel_id": .string(channel), "contact_id": .string(contact), "ai_agent_id": .string(agent),
            ]
            let id = try await owner.create("/api/v1/conversations", body)
            try await multiply(conversation: id, channel: channel, by: 1_001, in: owner)
            let shown = ["/api/v1/conversations/\(id)", "/api/v1/channels/\(channel)"]
            var tags: [String: String] = [:]
            for path in shown { tags[path] = try await owner.get(path).headers["etag"] }
            /// Asks, and gives the agent that answers.
            func ask() async throws -> String? {
                _ = try await owner.create("\(shown[0])/messages", ["content": "Where is my order?"])
                _ = try await app.node.runner.runOnce(.interactive)
                let newest = try await owner.get("\(shown[0])/messages?limit=1").json["data"]?.array?.first
                return newest?["metadata"]?["agent_id"]?.string
            }
            #expect(try await ask() == agent)

            let path = "\(Self.path)/\(agent)"
            #expect(try await owner.delete(path).status == 204)
            for reply in [
                try await owner.get(path), try await owner.patch(path, ["name": "Third"]), try await owner.delete(path),
                try await owner.post("/api/v1/conversations", body),
                try await owner.patch(shown[1], ["ai_agent_id": .string(agent)]),
            ] { #expect(reply.status == 404 && reply.code == "agent.not_found", "\(reply.text)") }
            #expect(try await owner.get(Self.path).json["data"]?.array?.map { $0["id"]?.string } == [first])
            #expect(try await ask() == first)

            let names: SQL = "ai_agent_id = \(ID<Void>(agent) ?? .zero)"
            #expect(try await count("SELECT count(*) FROM conversations WHERE \(names)", in: owner) == 1_002)
            #expect(try await count("SELECT count(*) FROM channels WHERE \(names)", in: owner) == 1_002)
            try await app.settle()
            for table in ["conversations", "channels"] as [SQL] {
                #expect(try await count("SELECT count(*) FROM \(table) WHERE \(names)", in: owner) == 0)
            }
            #expect(try await count("SELECT count(*) FROM ai_agents", in: owner) == 1)
            for path in shown {
                let known = try #require(tags[path])
                let read = try await owner.get(path, headers: ["if-none-match": known])
                #expect(read.status == 200 && read.json["ai_agent_id"] == .null, "\(read.text)")
                let stale = try await owner.patch(path, [:], headers: ["if-match": known])
                #expect(stale.status == 412, "\(stale.text)")
            }
            #expect(try await ask() == first)
            #expect(try await owner.get("/api/v1/jobs/quarantined").json["data"] == [])
        }
    }

    @Test("a conversation that named the agent just before does not keep its row", arguments: TestDatabase.kinds)
    func lateReference(on kind: TestDatabase.Kind) async throws {
        /// What another transaction stores between the last look for references and the end of the row.
        struct Late: Sendable {
            let conversation: ID<Void>
            let agent: ID<Void>
        }
        let late = Mutex<Late?>(nil)
        let clock = Watched(Timestamp.now())
        try await withDatabase(on: kind, migrations: ProductSchema.migrations) { base in
            let database = InterceptedDatabase(
                base,
                beforeWrite: { scope in
                    guard case .organization(let scope) = scope, let next = late.withLock({ $0 }) else { return }
                    let count: SQL = "SELECT count(*) FROM conversations WHERE ai_agent_id = \(next.agent)"
                    guard try await base.read(scope, { tx in try tx.value(count, as: Int.self) }) == 0 else { return }
                    late.withLock { $0 = nil }
                    try await base.write(scope) { tx in
                        try tx.run(
                            "UPDATE conversations SET ai_agent_id = \(next.agent) WHERE id = \(next.conversation)"
                        )
                    }
                }
            )
            try await withApp(over: database, roles: "http", now: { clock.current }) { app in
                let owner = try await app.signUp()
                let agent = try await owner.create(Self.path, ["name": "Support"])
                let channel = try await owner.create(
                    "/api/v1/channels",
                    ["name": "Website", "type": "api", "ai_agent_id": .string(agent)]
                )
                let contact = try await owner.create("/api/v1/contacts", ["name": "Besa"])
                let conversation = try await owner.create(
                    "/api/v1/conversations",
                    ["channel_id": .string(channel), "contact_id": .string(contact)]
                )
                #expect(try await owner.delete("\(Self.path)/\(agent)").status == 204)
                let ids = (try #require(ID<Void>(conversation)), try #require(ID<Void>(agent)))
                late.withLock { $0 = Late(conversation: ids.0, agent: ids.1) }
                #expect(try await app.node.runner.runOnce(.bulk) == 1)
                #expect(late.withLock { $0 == nil })
                #expect(try await count("SELECT count(*) FROM ai_agents", in: owner) == 1)
                clock.change { $0 = $0 + .seconds(6) }
                #expect(try await app.node.runner.runOnce(.bulk) == 1)
                #expect(try await count("SELECT count(*) FROM ai_agents", in: owner) == 0)
                let read = try await owner.get("/api/v1/conversations/\(conversation)")
                #expect(read.json["ai_agent_id"] == .null)
            }
        }
    }

    /// Stores so many more rows like a conversation and a channel.
    private func multiply(conversation: String, channel: String, by number: Int, in client: TestClient) async throws {
        let organization = try #require(ID<OrganizationEntity>(client.organization))
        let models = (try #require(ID<Void>(conversation)), try #require(ID<Void>(channel)))
        try await client.app.node.database.write(.job(of: organization)) { tx in
            for _ in 0..<number {
                try tx.run(
                    """
                    INSERT INTO conversations (organization_id, id, contact_id, channel_id, ai_agent_id, status, handled_by,
                        reply_state, last_sequence, exclusive, metadata, created_at, updated_at)
                    SELECT organization_id, \(ID<Void>()), contact_id, channel_id, ai_agent_id, status, handled_by,
                        reply_state, last_sequence, exclusive, metadata, created_at, updated_at
                    FROM conversations WHERE id = \(models.0)
                    """
                )
                try tx.run(
                    """
                    INSERT INTO channels (organization_id, id, name, type, settings, ai_agent_id, single_conversation,
                        is_active, created_at, updated_at)
                    SELECT organization_id, \(ID<Void>()), name, type, settings, ai_agent_id, single_conversation,
                        is_active, created_at, updated_at
                    FROM channels WHERE id = \(models.1)
                    """
                )
            }
        }
    }
}
