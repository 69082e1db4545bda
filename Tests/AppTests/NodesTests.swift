import App
import Jobs
import Kernel
import Schema
import Simulators
import Storage
import TestKit
import Testing

/// Several nodes on one PostgreSQL.
@Suite("Several nodes", .timeLimit(.minutes(3)))
struct NodesTests {
    /// Opens the database once more, as another node does.
    private func open(_ url: String) async throws -> any Database {
        try await PostgresDatabase(
            configuration: PostgresConfiguration(
                url: Secret(url),
                maximumConnections: 8,
                acquireTimeout: .seconds(60),
                connectTimeout: .seconds(60)
            ),
            signals: SignalHub(),
            logger: ServerFleet.silent
        )
    }

    @Test("what is posted to one is answered by another, and streams from both")
    func streamsFromBoth() async throws {
        try await withOpenAISimulator { simulator in
            let environment = [
                "KUVEND_LLM_BASE_URL": simulator.baseURL, "KUVEND_LLM_API_KEY": simulator.apiKey.exposed,
                "KUVEND_LLM_MODEL": "gpt-4o-mini",
            ]
            let words = (1...40).map { "word\($0)" }.joined(separator: " ")
            simulator.answer(with: words)
            simulator.hold(after: 20)
            try await withDatabaseURL(on: .postgres, migrations: ProductSchema.migrations) { url in
                try await withApp(over: open(url), environment: environment, roles: "http") { front in
                    try await withApp(over: open(url), environment: environment) { worker in
                        let owner = try await front.signUp()
                        let other = TestClient(
                            app: worker,
                            token: owner.token,
                            organization: owner.organization,
                            user: owner.user
                        )
                        _ = try await owner.create("/api/v1/ai-agents", ["name": "Support"])
                        let conversation = try await owner.startConversation()
                        let path = "/api/v1/conversations/\(conversation)/events?after=0"
                        let deltas = Watched(["front": 0, "worker": 0])
                        @Sendable func count(_ node: String, _ event: TestEvent) -> Bool {
                            if event.kind == "reply.delta" { deltas.change { $0[node, default: 0] += 1 } }
                            return event.kind == "reply.completed"
                        }
                        async let fromWorker = other.events("GET", path) { count("worker", $0) }
                        async let fromFront = owner.events("GET", path) { count("front", $0) }
                        _ = try await owner.create(
                            "/api/v1/conversations/\(conversation)/messages",
                            ["content": "Tell me the words."]
                        )
                        // Both see pieces while the model is still speaking.
                        try await deltas.value { $0.values.allSatisfy { $0 > 0 } }
                        #expect(simulator.counts.completed == 0)
                        simulator.release()

                        let (front, worker) = try await (fromFront, fromWorker)
                        #expect(front.map(\.id) == worker.map(\.id))
                        #expect(front.map(\.data) == worker.map(\.data))
                        #expect(front.map(\.id) == Array(1...Int64(front.count)))
                        let pieces = front.filter { $0.kind == "reply.delta" }.compactMap { $0.data["text"]?.string }
                        #expect(pieces.joined() == words)
                        #expect(front.last?.data["content"]?.string == words)
                        #expect(simulator.counts.chats == 1)
                    }
                }
            }
        }
    }

    @Test("200 answers: each is written once, and two servers share the work")
    func sharesTheWork() async throws {
        try await withDatabaseURL(on: .postgres, migrations: ProductSchema.migrations) { url in
            try await withServers { fleet in
                let servers = [try await fleet.start(database: url), try await fleet.start(database: url)]
                let token = try await servers[0].stranger.signUp()
                let clients = servers.map { $0.client(token) }
                let customer = try await Customer(clients[0])
                let conversations = try await customer.conversations(200, at: clients[0])
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for client in 0..<8 {
                        group.addTask {
                            for index in stride(from: client, to: conversations.count, by: 8) {
                                _ = try await clients[index % 2].create(
                                    "/api/v1/conversations/\(conversations[index])/messages",
                                    ["content": "Where is my order?"]
                                )
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                for (index, conversation) in conversations.enumerated() {
                    // Read from the node to which it was not posted.
                    let events = try await clients[(index + 1) % 2].events(of: conversation) {
                        $0.kind == "reply.completed"
                    }
                    #expect(
                        events.map(\.kind).filter { $0 != "reply.delta" } == [
                            "message.created", "reply.started", "reply.completed",
                        ]
                    )
                    let state = try await clients[0].get("/api/v1/conversations/\(conversation)")
                    #expect(state.json["reply_state"]?.string == "idle")
                    #expect(state.json["last_event_id"]?.int == events.last?.id)
                }
                // Counted after the transaction in which an answer ends, so readers of the answer may be here first.
                let shares = try await eventually("200 jobs counted") {
                    var shares: [Int] = []
                    for client in clients {
                        shares.append(
                            try await client.metric(
                                "kuvend_jobs_total",
                                ["kind=\"reply.generate\"", "outcome=\"finished\""]
                            )
                        )
                    }
                    let sum: Int = shares.reduce(0, +)
                    return sum >= 200 ? shares : nil
                }
                let sum: Int = shares.reduce(0, +)
                #expect(sum == 200)
                #expect(shares.allSatisfy { $0 > 0 }, "\(shares)")
                var conflicts = 0
                for client in clients {
                    let name = "kuvend_db_conflicts_total"
                    #expect(try await client.get("/metrics").text.contains(name))
                    conflicts += try await client.metric(name)
                }
                // They wait for the locks of their conversations; when they met as serializable transactions, there were
                // about as many conflicts as answers.
                #expect(conflicts < 20)
            }
        }
    }

    @Test("a node without slots leaves the work to others, and says that it has none")
    func noSlots() async throws {
        try await withDatabaseURL(on: .postgres, migrations: ProductSchema.migrations) { url in
            try await withServers { fleet in
                var environment: [String: String] = [:]
                for lane in Lane.all { environment["KUVEND_SLOTS_\(lane.name.uppercased())"] = "0" }
                let idle = try await fleet.start(database: url, environment: environment)
                let token = try await idle.stranger.signUp()
                let client = idle.client(token)
                let customer = try await Customer(client)
                let conversation = try #require(try await customer.conversations(1, at: client).first)
                let path = "/api/v1/conversations/\(conversation)"
                _ = try await client.create("\(path)/messages", ["content": "Where is my order?"])
                let metrics = try await client.get("/metrics").text
                for lane in Lane.all { #expect(metrics.contains("kuvend_lane_slots{lane=\"\(lane.name)\"} 0\n")) }
                #expect(try await client.get(path).json["reply_state"]?.string == "queued")

                let busy = try await fleet.start(database: url)
                let events = try await client.events(of: conversation) { $0.kind == "reply.completed" }
                #expect(events.filter { $0.kind == "reply.started" }.count == 1)
                #expect(try await busy.client(token).metric("kuvend_lane_slots", ["lane=\"delivery\""]) == 32)
            }
        }
    }

    @Test("a server that only serves and one that only works")
    func splitsRoles() async throws {
        try await withDatabaseURL(on: .postgres, migrations: ProductSchema.migrations) { url in
            try await withServers { fleet in
                let front = try await fleet.start(database: url, environment: ["KUVEND_ROLES": "http"])
                let token = try await front.stranger.signUp()
                let client = front.client(token)
                let customer = try await Customer(client)
                let conversation = try #require(try await customer.conversations(1, at: client).first)
                let path = "/api/v1/conversations/\(conversation)"
                _ = try await client.create("\(path)/messages", ["content": "Where is my order?"])
                #expect(try await client.get(path).json["reply_state"]?.string == "queued")

                let worker = try await fleet.start(database: url, environment: ["KUVEND_ROLES": "worker,scheduler"])
                let events = try await client.events(of: conversation) { $0.kind == "reply.completed" }
                #expect(events.filter { $0.kind == "reply.started" }.count == 1)
                #expect(
                    try await client.metric("kuvend_jobs_total", ["kind=\"reply.generate\"", "outcome=\"finished\""])
                        == 0
                )
                worker.terminate()
                #expect(try await worker.waitForEnd() == 0, "\(worker.log)")
            }
        }
    }

    @Test("one is killed in the middle of an answer: the other finishes it, and the contact sees one answer")
    func takesOver() async throws {
        try await withOpenAISimulator { simulator in
            let environment = [
                "KUVEND_LLM_BASE_URL": simulator.baseURL, "KUVEND_LLM_API_KEY": simulator.apiKey.exposed,
                "KUVEND_LLM_MODEL": "gpt-4o-mini",
            ]
            simulator.hold(after: 3)
            try await withDatabaseURL(on: .postgres, migrations: ProductSchema.migrations) { url in
                try await withServers { fleet in
                    let victim = try await fleet.start(database: url, environment: environment)
                    let token = try await victim.stranger.signUp()
                    let customer = try await Customer(victim.client(token))
                    let conversations = try await customer.conversations(1, at: victim.client(token))
                    let conversation = try #require(conversations.first)
                    let question = try await victim.client(token).create(
                        "/api/v1/conversations/\(conversation)/messages",
                        ["content": "Where is my order?"]
                    )
                    // Only the victim is there, so it is the victim that answers.
                    try await simulator.counts { $0.held == 1 }
                    _ = try await victim.client(token).events(of: conversation) { $0.kind == "reply.delta" }
                    let survivor = try await fleet.start(database: url, environment: environment)
                    let client = survivor.client(token)
                    victim.kill()
                    #expect(try await victim.waitForEnd() == -9)
                    let killed = ContinuousClock.now
                    simulator.release()

                    let events = try await client.events(of: conversation) { $0.kind == "reply.completed" }
                    // 15 s of lease, 5 s between sweeps, some 2 s before the next attempt.
                    print("the other node had answered after \(ContinuousClock.now - killed)")
                    let starts = events.filter { $0.kind == "reply.started" }
                    #expect(starts.map { $0.data["attempt"]?.int } == [1, 2])
                    #expect(events.filter { $0.kind == "reply.completed" }.count == 1)
                    let pieces = events.drop { $0.id <= starts.last?.id ?? 0 }.filter { $0.kind == "reply.delta" }
                    #expect(
                        pieces.compactMap { $0.data["text"]?.string }.joined() == events.last?.data["content"]?.string
                    )
                    let messages = try await client.messages(of: conversation)
                    #expect(messages.map { $0["role"]?.string } == ["user", "assistant"])
                    #expect(messages.last?["metadata"]?["in_reply_to"]?.string == question)
                    #expect(simulator.counts.chats == 2)
                }
            }
        }
    }
}
