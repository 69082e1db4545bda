import Kernel
import TestKit
import Testing
import Web

/// A request that is sent again is not done again.
@Suite("Idempotency keys")
struct IdempotencyAppTests {
    private static let contacts = "/api/v1/contacts"

    private func contacts(of client: TestClient) async throws -> Int {
        try await client.get(Self.contacts + "?limit=100").json["data"]?.array?.count ?? -1
    }

    @Test("the same request is answered with the same answer and makes one row", arguments: TestDatabase.kinds)
    func replay(on kind: TestDatabase.Kind) async throws {
        try await withApp(on: kind, roles: "http") { app in
            let owner = try await app.signUp()
            let body: JSON = ["name": "Besa", "external_id": "b-1"]
            let headers = ["idempotency-key": "order-17"]
            let first = try await owner.post(Self.contacts, body, headers: headers)
            #expect(first.status == 201 && first.headers["idempotency-replayed"] == nil)
            for _ in 0..<3 {
                let again = try await owner.post(Self.contacts, body, headers: headers)
                #expect(again.status == 201, "\(again.text)")
                #expect(again.text == first.text)
                #expect(
                    again.headers["location"] == first.headers["location"]
                        && again.headers["etag"] == first.headers["etag"]
                )
                #expect(again.headers["idempotency-replayed"] == "true")
            }
            #expect(try await contacts(of: owner) == 1)

            // The row lives on; the kept answer does not change with it.
            _ = try await owner.patch("\(Self.contacts)/\(first.id)", ["name": "Beni"])
            #expect(try await owner.post(Self.contacts, body, headers: headers).text == first.text)

            let other = try await owner.post(Self.contacts, ["name": "Other"], headers: headers)
            #expect(other.status == 422 && other.code == "idempotency.key_reused", "\(other.text)")
            let elsewhere = try await owner.post("/api/v1/ai-agents", ["name": "Besa"], headers: headers)
            #expect(elsewhere.status == 422 && elsewhere.code == "idempotency.key_reused", "\(elsewhere.text)")
            #expect(try await contacts(of: owner) == 1)
            let next = try await owner.post(Self.contacts, ["name": "Other"], headers: ["idempotency-key": "order-18"])
            #expect(next.status == 201 && next.id != first.id)
        }
    }

    @Test("two requests at the same time do it once", arguments: TestDatabase.kinds)
    func race(on kind: TestDatabase.Kind) async throws {
        try await withApp(on: kind, roles: "http") { app in
            let owner = try await app.signUp()
            for round in 0..<5 {
                let headers = ["idempotency-key": "race-\(round)"]
                let replies = try await withThrowingTaskGroup(of: TestReply.self) { group in
                    for _ in 0..<4 {
                        group.addTask { try await owner.post(Self.contacts, ["name": "Besa"], headers: headers) }
                    }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                // The others hear that it is being done, or what came of it.
                for reply in replies {
                    let waits = reply.status == 409 && reply.code == "idempotency.in_flight"
                    #expect(reply.status == 201 || waits, "\(reply.status) \(reply.text)")
                    if waits { #expect(reply.headers["retry-after"] != nil) }
                }
                let created = replies.filter { $0.status == 201 }
                #expect(Set(created.map(\.id)).count == 1)
                #expect(try await contacts(of: owner) == round + 1)
                let after = try await owner.post(Self.contacts, ["name": "Besa"], headers: headers)
                #expect(after.status == 201 && after.id == created.first?.id)
            }
        }
    }

    @Test("a key belongs to its organization and its caller", arguments: TestDatabase.kinds)
    func owners(on kind: TestDatabase.Kind) async throws {
        try await withApp(on: kind, roles: "http") { app in
            let blue = try await app.signUp("Blue Books")
            let red = try await app.signUp("Red Books")
            let key = try await blue.post(
                "/api/v1/api-keys",
                ["name": "Key", "permissions": ["contacts:read", "contacts:write"]]
            )
            let machine = TestClient(
                app: app,
                token: key.json["key"]?.string,
                organization: blue.organization,
                user: ""
            )
            let headers = ["idempotency-key": "same"]
            var ids: Set<String> = []
            for client in [blue, red, machine] {
                let reply = try await client.post(Self.contacts, ["name": "Besa"], headers: headers)
                #expect(reply.status == 201 && reply.headers["idempotency-replayed"] == nil, "\(reply.text)")
                ids.insert(reply.id)
            }
            #expect(ids.count == 3)
            #expect(try await contacts(of: blue) == 2)
            #expect(try await contacts(of: red) == 1)
        }
    }

    @Test("a refusal is kept too, but not one that says nothing about the next try", arguments: TestDatabase.kinds)
    func refusals(on kind: TestDatabase.Kind) async throws {
        try await withApp(on: kind, roles: "http") { app in
            let owner = try await app.signUp()
            let conversation = try await owner.startConversation()
            let path = "/api/v1/conversations/\(conversation)"
            _ = try await owner.patch(path, ["status": "closed"])
            let headers = ["idempotency-key": "message"]
            let body: JSON = ["content": "Good day"]
            #expect(try await owner.post(path + "/messages", body, headers: headers).code == "conversation.not_active")
            _ = try await owner.patch(path, ["status": "active"])
            let posted = try await owner.post(path + "/messages", body, headers: headers)
            #expect(posted.status == 201, "\(posted.text)")
            let again = try await owner.post(path + "/messages", body, headers: headers)
            #expect(again.id == posted.id && again.headers["idempotency-replayed"] == "true")
            // What does not pass the checks has not used its key.
            let other = ["idempotency-key": "contact"]
            #expect(try await owner.post(Self.contacts, ["name": 5], headers: other).status == 400)
            #expect(try await owner.post(Self.contacts, ["name": "Besa"], headers: other).status == 201)
        }
    }

    @Test("a streamed request that is sent again receives the buffered answer", arguments: TestDatabase.kinds)
    func streams(on kind: TestDatabase.Kind) async throws {
        try await withApp(on: kind) { app in
            let owner = try await app.signUp()
            _ = try await owner.create("/api/v1/ai-agents", ["name": "Support"])
            let conversation = try await owner.startConversation()
            let path = "/api/v1/conversations/\(conversation)/messages"
            let headers = ["idempotency-key": "question"]
            let body: JSON = ["content": "How much is it?"]
            let events = try await owner.events("POST", path, body: body, headers: headers) {
                $0.kind == "reply.completed"
            }
            let message = try #require(events.first { $0.kind == "message.created" }?.data["id"]?.string)
            let again = try await owner.post(path, body, headers: headers)
            #expect(again.status == 201 && again.id == message, "\(again.status) \(again.text)")
            let page = try await owner.get(path)
            #expect(page.json["data"]?.array?.filter { $0["role"]?.string == "user" }.count == 1)
        }
    }
}
