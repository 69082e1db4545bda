import App
import Events
import Kernel
import Storage
import TestKit
import Testing
import Web

/// Whatever is changed enters the feed, from which the audit log is written.
@Suite("Recorded events")
struct RecordedEventTests {
    /// What has a method that changes something and records nothing; who adds one here has thought about it.
    private static let silent = [
        "POST /api/v1/auth/refresh": "the session goes on as it is", "POST /api/v1/knowledge/search": "it only reads",
    ]
    private static let password: JSON = "correct horse battery"

    private struct Change {
        var client: TestClient
        var path: String
        var body: JSON?
    }

    @Test("every endpoint that changes something records an event", arguments: TestDatabase.kinds)
    func walk(on kind: TestDatabase.Kind) async throws {
        try await withApp(on: kind, roles: "http") { app in
            let tenant = try await app.furnish("Blue Books", word: "blue")
            let endpoints = app.node.endpoints.filter { $0.method != .get }
            #expect(Set(endpoints.map(\.name)).isSuperset(of: Self.silent.keys))
            // Deletions last: the others need what they delete.
            for endpoint in endpoints.filter({ $0.method != .delete }) + endpoints.filter({ $0.method == .delete })
            where Self.silent[endpoint.name] == nil {
                let change = try await prepare(endpoint, in: tenant, app)
                let before = try await events(in: app)
                let reply = try await change.client.send(
                    endpoint.method.rawValue,
                    change.path,
                    body: change.body?.bytes
                )
                #expect((200..<300).contains(reply.status), "\(endpoint.name): \(reply.status) \(reply.text)")
                #expect(try await events(in: app) > before, "\(endpoint.name) records nothing")
            }
        }
    }

    @Test("what is done about given-up work and old training is in the audit log", arguments: TestDatabase.kinds)
    func audit(on kind: TestDatabase.Kind) async throws {
        try await withApp(on: kind, roles: "http") { app in
            let owner = try await app.signUp()
            let (retried, discarded) = (
                try await app.quarantine(in: owner.organization), try await app.quarantine(in: owner.organization)
            )
            #expect(try await owner.post("/api/v1/jobs/\(retried)/retry").status == 204)
            #expect(try await owner.post("/api/v1/jobs/\(retried)/retry").status == 404)
            #expect(try await owner.delete("/api/v1/jobs/\(discarded)").status == 204)
            #expect(try await owner.delete("/api/v1/jobs/\(discarded)").status == 404)
            let source = try await owner.create(
                "/api/v1/knowledge-sources",
                ["name": "Doc", "type": "text", "content": "# A\n\nWords."]
            )
            #expect(try await owner.post("/api/v1/knowledge-sources/\(source)/retrain").status == 202)
            try await app.settle()
            for (action, kind, id) in [
                ("job.retried", "job", retried), ("job.discarded", "job", discarded),
                ("knowledge_source.retraining_requested", "knowledge_source", source),
            ] {
                let log = try await owner.get("/api/v1/audit-logs?action=\(action)").json["data"]?.array ?? []
                #expect(log.map { $0["resource_id"]?.string } == [id], "\(action): \(log)")
                #expect(log.first?["resource_type"]?.string == kind && log.first?["user_id"]?.string == owner.user)
            }
        }
    }

    @Test("that nobody answers, as no agent is active, is in the audit log", arguments: TestDatabase.kinds)
    func noAgent(on kind: TestDatabase.Kind) async throws {
        try await withApp(on: kind, roles: "http") { app in
            let owner = try await app.signUp()
            let conversation = try await owner.startConversation()
            _ = try await owner.create("/api/v1/conversations/\(conversation)/messages", ["content": "Hello?"])
            try await app.settle()
            let state = try await owner.get("/api/v1/conversations/\(conversation)").json
            #expect(state["reply_state"] == "failed" && state["reply_error"] == "No agent is active.")
            let log = try await owner.get("/api/v1/audit-logs?action=reply.failed").json["data"]?.array ?? []
            #expect(log.map { $0["resource_id"]?.string } == [conversation], "\(log)")
            #expect(log.first?["actor_type"] == "system")
        }
    }

    private func events(in app: TestApp) async throws -> Int {
        try await app.node.database.read(for: .feed) { tx in
            try tx.value("SELECT count(*) FROM events", as: Int.self) ?? 0
        }
    }

    /// A request that succeeds, with what it needs.
    private func prepare(_ endpoint: Endpoint, in tenant: Tenant, _ app: TestApp) async throws -> Change {
        let owner = tenant.owner
        var change = Change(
            client: endpoint.isAuthenticated ? owner : app.stranger,
            path: endpoint.target(in: tenant),
            body: nil
        )
        if endpoint.bodySchema != nil {
            change.body =
                try #require(
                    SampleRequests.body(of: endpoint, in: tenant) as JSON?,
                    "SampleRequests has no body for \(endpoint.name)"
                ) as JSON
        }
        /// The code of an invitation.
        func invite(_ email: JSON) async throws -> JSON {
            let reply = try await owner.post("/api/v1/invitations", ["email": email, "role": "member"])
            return try #require(reply.json["code"], "\(reply.text)")
        }
        func email(of client: TestClient) async throws -> JSON {
            try #require(try await client.get("/api/v1/me").json["user"]?["email"])
        }
        switch endpoint.name {
        case "POST /api/v1/auth/login":
            change.body = ["email": try await email(of: owner), "password": Self.password]
        case "POST /api/v1/auth/join":
            change.body = [
                "code": try await invite("joins@example.com"), "name": "Ben", "password": Self.password,
            ]
        case "POST /api/v1/auth/switch":
            change.body = [
                "organization_id": .string(try await owner.create("/api/v1/organizations", ["name": "More"]))
            ]
        case "POST /api/v1/auth/logout":
            change.client = try await app.signUp()
        case "POST /api/v1/me/password":
            change.client = try await app.signUp()
            change.body = ["current_password": Self.password, "new_password": "correct donkey battery"]
        case "POST /api/v1/me/memberships":
            change.client = try await app.signUp()
            change.body = ["code": try await invite(try await email(of: change.client))]
        case "DELETE /api/v1/me/memberships/{organization_id}":
            change.client = try await app.signUp()
            let code = try await invite(try await email(of: change.client))
            _ = try await change.client.post("/api/v1/me/memberships", ["code": code])
        case "DELETE /api/v1/organizations/{id}":
            change.client = try await app.signUp()
            change.path = "/api/v1/organizations/\(change.client.organization)"
        case "DELETE /api/v1/channels/{id}":
            change.path = "/api/v1/channels/\(try await owner.create("/api/v1/channels", ["name": "A", "type": "api"]))"
        case "DELETE /api/v1/contacts/{id}":
            change.path = "/api/v1/contacts/\(try await owner.create("/api/v1/contacts", ["name": "A"]))"
        case "DELETE /api/v1/jobs/{id}":
            change.path = "/api/v1/jobs/\(try await app.quarantine(in: owner.organization))"
        default: break
        }
        return change
    }
}
