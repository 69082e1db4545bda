import Foundation
import Kernel
import Schema
import Simulators
import Storage
import TestKit
import Testing

/// What is acknowledged is kept, whatever becomes of the process that said so.
@Suite("Durability")
struct DurabilityTests {
    private static let rounds = ProcessInfo.processInfo.environment["KUVEND_TEST_LONG"] == "1" ? 200 : 20

    @Test("no acknowledged message is lost when the server is killed under load", arguments: TestDatabase.kinds)
    func kills(on kind: TestDatabase.Kind) async throws {
        var random = SeededGenerator()
        let seed = random.seed
        try await withDatabaseURL(on: kind, migrations: ProductSchema.migrations) { url in
            try await withServers { fleet in
                var server = try await fleet.start(database: url)
                let token = try await server.stranger.signUp()
                let customer = try await Customer(server.client(token))
                var all: [Load.Acknowledged] = []
                for round in 1...Self.rounds {
                    let conversations = try await customer.conversations(3, at: server.client(token))
                    let load = Load(clients: Int.random(in: 8...16, using: &random), conversations: conversations)
                    let moment = Int.random(in: 10...150, using: &random)
                    let victim = server
                    let acknowledged = try await load.run(at: server.client(token), until: moment) { victim.kill() }
                    #expect(try await server.waitForEnd() == -SIGKILL)

                    server = try await fleet.start(database: url)
                    try await Self.check(
                        acknowledged,
                        of: conversations,
                        at: server.client(token),
                        "round \(round), seed \(seed)"
                    )
                    try await Self.checkFile(at: url, kind)
                    all += acknowledged
                }
                #expect(all.count >= Self.rounds * 10)

                // The last victim dies with one message in each of many conversations: each gets its one answer.
                let last = try await customer.conversations(40, at: server.client(token))
                let load = Load(clients: 8, conversations: last, isOnce: true)
                let victim = server
                let acknowledged = try await load.run(at: server.client(token), until: 30) { victim.kill() }
                try await server.waitForEnd()
                server = try await fleet.start(database: url)
                let started = ContinuousClock.now
                let client = server.client(token)
                for message in acknowledged {
                    _ = try await client.events(of: message.conversation) { $0.kind == "reply.completed" }
                    let messages = try await client.messages(of: message.conversation)
                    #expect(messages.map { $0["role"]?.string } == ["user", "assistant"])
                    #expect(messages.first?["id"]?.string == message.id)
                    #expect(messages.last?["metadata"]?["in_reply_to"]?.string == message.id)
                }
                // A dead worker's claims are free after 15 s; the sweep comes every 5 s; then the wait of a retry.
                #expect(ContinuousClock.now - started < .seconds(45))

                // And in all conversations of before, the newest message of the contact was answered, none twice.
                for conversation in Set(all.map(\.conversation)) {
                    try await Self.checkAnswers(in: conversation, at: client)
                }
                print(
                    "durability on \(kind): \(Self.rounds) kills, \(all.count + acknowledged.count) acknowledged, 0 lost;",
                    "all answered \(ContinuousClock.now - started) after the last"
                )
            }
        }
    }

    @Test("SIGTERM ends the server in time, with exit code 0, and loses nothing", arguments: TestDatabase.kinds)
    func terminates(on kind: TestDatabase.Kind) async throws {
        try await withDatabaseURL(on: kind, migrations: ProductSchema.migrations) { url in
            try await withServers { fleet in
                let server = try await fleet.start(database: url)
                let token = try await server.stranger.signUp()
                let customer = try await Customer(server.client(token))
                let conversations = try await customer.conversations(4, at: server.client(token))
                let load = Load(clients: 12, conversations: conversations)
                let started = Watched(ContinuousClock.now)
                let acknowledged = try await load.run(at: server.client(token), until: 60) {
                    started.set(.now)
                    server.terminate()
                }
                #expect(try await server.waitForEnd() == 0, "\(server.log)")
                #expect(ContinuousClock.now - started.current < .seconds(25), "\(server.log)")

                let next = try await fleet.start(database: url)
                try await Self.check(acknowledged, of: conversations, at: next.client(token), "after SIGTERM")
                try await Self.checkFile(at: url, kind)
            }
        }
    }

    // MARK: Checks

    /// Every acknowledged message is there once, nothing is there twice, and no sequence has a gap.
    private static func check(
        _ acknowledged: [Load.Acknowledged],
        of conversations: [String],
        at client: ServerClient,
        _ what: String
    ) async throws {
        var counts: [String: Int] = [:]
        var contents: [String: Int] = [:]
        for conversation in conversations {
            for message in try await client.messages(of: conversation) {
                counts["\(conversation) \(message["id"]?.string ?? "")", default: 0] += 1
                if message["role"]?.string == "user" { contents[message["content"]?.string ?? "", default: 0] += 1 }
            }
            let state = try await client.get("/api/v1/conversations/\(conversation)")
            let last = try #require(state.json["last_event_id"]?.int, "\(what): \(state.text)")
            guard last > 0 else { continue }
            let events = try await client.events(of: conversation) { $0.id >= last }
            #expect(events.map(\.id) == Array(1...last), "\(what): the sequence has gaps")
        }
        let lost = acknowledged.filter { counts["\($0.conversation) \($0.id)"] != 1 || contents[$0.content] != 1 }
        #expect(lost.isEmpty, "\(what): lost \(lost.count) of \(acknowledged.count)")
        #expect(contents.values.allSatisfy { $0 == 1 }, "\(what): something is there twice")
    }

    private static func checkFile(at url: String, _ kind: TestDatabase.Kind) async throws {
        guard kind == .sqlite else { return }
        let database = try SQLiteDatabase(
            configuration: SQLiteConfiguration(path: String(url.dropFirst("sqlite:".count)), readers: 1),
            signals: SignalHub(),
            logger: ServerFleet.silent
        )
        let findings = try await database.checkIntegrity()
        await database.close()
        #expect(findings.isEmpty)
    }

    private static func checkAnswers(in conversation: String, at client: ServerClient) async throws {
        let before = try await client.get("/api/v1/conversations/\(conversation)")
        if before.json["reply_state"]?.string != "idle" {
            _ = try await client.events(of: conversation, after: before.json["last_event_id"]?.int ?? 0) { event in
                event.kind == "reply.completed"
            }
        }
        let messages = try await client.messages(of: conversation)
        let answered = messages.filter { $0["role"]?.string == "assistant" }
            .compactMap { $0["metadata"]?["in_reply_to"]?.string }
        #expect(Set(answered).count == answered.count, "a message was answered twice")
        let questions = messages.filter { $0["role"]?.string == "user" }.compactMap { $0["id"]?.string }
        #expect(Set(answered).isSubset(of: questions))
        #expect(answered.contains(questions.last ?? ""), "the newest message has no answer")
    }
}

/// Random numbers that come again with the same seed: `KUVEND_TEST_SEED`.
struct SeededGenerator: RandomNumberGenerator {
    let seed: UInt64
    private var state: UInt64

    init() {
        seed =
            ProcessInfo.processInfo.environment["KUVEND_TEST_SEED"].flatMap { UInt64($0) }
            ?? .random(in: 0...UInt64.max)
        state = seed
    }

    /// SplitMix64.
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// An organization with an agent that answers and a channel where contacts write.
struct Customer: Sendable {
    let channel: String

    init(_ client: ServerClient) async throws {
        _ = try await client.create("/api/v1/ai-agents", ["name": "Support"])
        channel = try await client.create("/api/v1/channels", ["name": "Website", "type": "api"])
    }

    /// New conversations, each of a new contact.
    func conversations(_ count: Int, at client: ServerClient) async throws -> [String] {
        var conversations: [String] = []
        for _ in 0..<count {
            let contact = try await client.create("/api/v1/contacts", ["name": "Besa"])
            conversations.append(
                try await client.create(
                    "/api/v1/conversations",
                    ["channel_id": .string(channel), "contact_id": .string(contact)]
                )
            )
        }
        return conversations
    }
}

/// Clients that post one message after the other, each waiting for its acknowledgement.
struct Load: Sendable {
    struct Acknowledged: Sendable {
        let conversation: String
        let id: String
        let content: String
    }

    let clients: Int
    let conversations: [String]
    /// Whether each conversation gets one message; else they get messages without end.
    var isOnce = false

    /// - Parameters:
    ///   - count: After so many acknowledgements `strike` is called, which ends the server.
    /// - Returns: What was acknowledged, when all clients have seen that the server is gone.
    func run(
        at client: ServerClient,
        until count: Int,
        strike: @escaping @Sendable () -> Void
    ) async throws -> [Acknowledged] {
        let acknowledged = Watched<[Acknowledged]>([])
        let tickets = Watched(0)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<clients {
                group.addTask {
                    while true {
                        let ticket = tickets.change { count -> Int in
                            count += 1
                            return count - 1
                        }
                        if isOnce, ticket >= conversations.count { return }
                        let conversation = conversations[ticket % conversations.count]
                        let content = "Message \(ticket)"
                        let reply: TestReply
                        do {
                            reply = try await client.post(
                                "/api/v1/conversations/\(conversation)/messages",
                                ["content": .string(content), "external_id": .string("\(ticket)")]
                            )
                        } catch {
                            // The server is gone: nothing was acknowledged.
                            return
                        }
                        // A server that is being stopped may say so.
                        if reply.status == 503 { return }
                        guard reply.status == 201 else {
                            throw TestAppFailure("posting: \(reply.status) \(reply.text)")
                        }
                        acknowledged.change {
                            $0.append(Acknowledged(conversation: conversation, id: reply.id, content: content))
                        }
                    }
                }
            }
            group.addTask {
                try await acknowledged.value { $0.count >= count }
                strike()
            }
            try await group.waitForAll()
        }
        return acknowledged.current
    }
}
