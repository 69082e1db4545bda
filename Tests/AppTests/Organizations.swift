import App
import Events
import Jobs
import Kernel
import Storage
import TestKit
import Web

/// One organization with two of everything, and the ids by the word of the path that leads to them.
struct Tenant: Sendable {
    let owner: TestClient
    /// By the word of the path: `["channels": [id, id], …]`.
    let ids: [String: [String]]
    /// A key with all permissions.
    let apiKey: TestClient

    func id(_ noun: String) -> String { ids[noun]?.last ?? "" }

    var allIDs: [String] { ids.values.flatMap(\.self) }
}

extension TestApp {
    /// An organization with two of everything, all at rest.
    ///
    /// - Parameter word: Occurs in all that it says and knows.
    func furnish(_ name: String, word: String) async throws -> Tenant {
        let owner = try await signUp(name)
        var ids: [String: [String]] = [
            "organizations": [owner.organization], "memberships": [owner.organization], "members": [owner.user],
        ]
        let key = try await owner.post(
            "/api/v1/api-keys",
            ["name": "All", "permissions": .array(Modules.permissions.map { .string($0.permission.name) })]
        )
        guard key.status == 201 else { throw TestAppFailure("api key: \(key.status) \(key.text)") }
        ids["api-keys"] = [key.id]
        for number in 1...2 {
            if number == 2 {
                let permissions: JSON = ["conversations:read"]
                ids["api-keys", default: []].append(
                    try await owner.create("/api/v1/api-keys", ["name": "Reader", "permissions": permissions])
                )
                let member = try await owner.post(
                    "/api/v1/members",
                    [
                        "email": "\(word).\(ID<Void>().description)@example.com", "name": "Ben", "role": "member",
                        "password": "correct horse battery",
                    ]
                )
                guard member.status == 201 else { throw TestAppFailure("member: \(member.status) \(member.text)") }
                ids["members", default: []].append(member.json["user_id"]?.string ?? "")
            }
            func add(_ noun: String, _ body: JSON) async throws -> String {
                let id = try await owner.create("/api/v1/\(noun)", body)
                ids[noun, default: []].append(id)
                return id
            }
            let agent = try await add("ai-agents", ["name": "Agent \(number)", "instructions": .string(word)])
            let channel = try await add(
                "channels",
                ["name": "Channel \(number)", "type": "api", "ai_agent_id": .string(agent)]
            )
            _ = try await add(
                "invitations",
                ["email": .string("\(word)\(number)@example.com"), "role": "member"]
            )
            // Everybody uses the same external ids: they are unique inside an organization.
            let contact = try await add(
                "contacts",
                [
                    "name": .string(word), "external_id": "contact-\(number)", "email": "\(word)@example.com",
                    "phone": .string(word == "blue" ? "+355691111111" : "+355692222222"),
                ]
            )
            let conversation = try await add(
                "conversations",
                [
                    "channel_id": .string(channel), "contact_id": .string(contact),
                    "external_id": "conversation-\(number)",
                ]
            )
            for message in 1...2 {
                let id = try await owner.create(
                    "/api/v1/conversations/\(conversation)/messages",
                    ["content": "How much is the \(word) book?", "external_id": "message-\(message)"]
                )
                ids["messages", default: []].append(id)
            }
            _ = try await add(
                "knowledge-sources",
                [
                    "name": "Prices \(number)", "type": "text",
                    "content": "# Prices\n\nThe \(word) book costs \(number) euros.",
                ]
            )
            ids["jobs", default: []].append(try await quarantine(in: owner.organization))
        }
        try await settle()
        let chunks = try await owner.get("/api/v1/knowledge-sources/\(ids["knowledge-sources"]?.last ?? "")/chunks")
        ids["chunks"] = chunks.json["data"]?.array?.compactMap { $0["id"]?.string } ?? []
        return Tenant(
            owner: owner,
            ids: ids,
            apiKey: TestClient(
                app: self,
                token: key.json["key"]?.string,
                organization: owner.organization,
                user: owner.user
            )
        )
    }

    /// Runs all waiting work, for a node that has no worker.
    func settle() async throws {
        for _ in 0..<6_000 {
            var count = 0
            for lane in Lane.all { count += try await node.runner.runOnce(lane) }
            for consumer in node.consumers { count += try await consumer.runOnce() }
            if count == 0, try await unreadEvents() == 0 { return }
            // On PostgreSQL a transaction of another test may hold up the feed for a moment after it began.
            if count == 0 { try await Task.sleep(for: .milliseconds(10)) }
        }
        throw TestAppFailure("the work does not end")
    }

    private func unreadEvents() async throws -> Int {
        try await node.database.read(for: .feed) { tx in
            try tx.value(
                """
                SELECT count(*) FROM events CROSS JOIN event_consumers c
                WHERE (events.transaction_number, events.position) > (c.transaction_number, c.position)
                """,
                as: Int.self
            ) ?? 0
        }
    }

    /// A job that was given up.
    func quarantine(in organization: String) async throws -> String {
        guard let organization = ID<OrganizationEntity>(organization) else { throw TestAppFailure("no organization") }
        let id = ID<JobEntity>()
        let now = Timestamp.now()
        _ = try await node.database.write(.job(of: organization)) { tx in
            try tx.execute(
                """
                INSERT INTO jobs (organization_id, id, lane, kind, payload, state, run_at, attempt, max_attempts,
                    last_error, created_at, updated_at)
                VALUES (\(organization), \(id), \(Lane.maintenance), 'test.given_up', \(JSON.object([:])),
                    'quarantined', \(now), 3, 3, 'It never worked.', \(now), \(now))
                """
            )
        }
        return id.description
    }
}

// MARK: - Requests made from declarations

extension Endpoint {
    /// Method and path: `POST /api/v1/channels`.
    var name: String { "\(method.rawValue) \(path)" }

    /// The names of the path's parameters, in order.
    var parameterNames: [String] {
        path.split(separator: "/").filter { $0.hasPrefix("{") }.map { String($0.dropFirst().dropLast()) }
    }

    /// What the parameter at an index names: the word before it.
    func noun(ofParameter index: Int) -> String {
        let segments = path.split(separator: "/")
        let places = segments.indices.filter { segments[$0].hasPrefix("{") }
        return String(segments[places[index] - 1])
    }

    /// The path with its parameters replaced, and with valid values for what the query must have.
    func target(_ value: (_ index: Int) -> String) -> String {
        var index = -1
        let segments = path.split(separator: "/", omittingEmptySubsequences: false).map { segment -> String in
            guard segment.hasPrefix("{") else { return String(segment) }
            index += 1
            return value(index)
        }
        let required = query.filter(\.isRequired).map { "\($0.name)=\(SampleRequests.query[$0.name] ?? "")" }
        return segments.joined(separator: "/") + (required.isEmpty ? "" : "?" + required.joined(separator: "&"))
    }

    /// The path to what a tenant has.
    func target(in tenant: Tenant) -> String { target { tenant.id(noun(ofParameter: $0)) } }

    var bodySchema: Schema? {
        if case .json(let schema, _) = payload { schema } else { nil }
    }
}

/// A valid request for each route.
///
/// A new route with a body needs an entry, or the tests that use these fail.
enum SampleRequests {
    static let query = ["q": "book"]

    /// The body of an endpoint that takes one, with ids of `tenant`; nil when nobody has written it yet.
    static func body(of endpoint: Endpoint, in tenant: Tenant) -> JSON? {
        let random = ID<Void>().description
        switch endpoint.name {
        case "POST /api/v1/auth/signup":
            return [
                "email": "s\(random)@example.com", "password": "correct horse battery", "name": "Ana",
                "organization_name": "Books",
            ]
        case "POST /api/v1/auth/login": return ["email": "nobody@example.com", "password": "correct horse battery"]
        case "POST /api/v1/auth/refresh": return ["refresh_token": "no such token"]
        case "POST /api/v1/auth/switch": return ["organization_id": .string(tenant.owner.organization)]
        case "PATCH /api/v1/me": return ["name": "Ana", "image": "https://example.com/ana.png"]
        case "POST /api/v1/me/password":
            return ["current_password": "not my password", "new_password": "correct horse battery"]
        case "POST /api/v1/organizations": return ["name": "More books"]
        case "PATCH /api/v1/organizations/{id}": return ["name": "Taken over", "settings": ["a": 1]]
        case "POST /api/v1/members":
            return [
                "email": "m\(random)@example.com", "name": "Ben", "role": "member", "password": "correct horse battery",
            ]
        case "POST /api/v1/invitations": return ["email": .string("i\(random)@example.com"), "role": "member"]
        case "POST /api/v1/me/memberships": return ["code": "no such code"]
        case "POST /api/v1/auth/join":
            return ["code": "no such code", "name": "Ben", "password": "correct horse battery"]
        case "PATCH /api/v1/members/{user_id}": return ["role": "admin"]
        case "POST /api/v1/api-keys":
            return ["name": "Key", "permissions": ["channels:read"], "expires_at": "2099-01-01T00:00:00Z"]
        case "PATCH /api/v1/api-keys/{id}": return ["name": "Taken over"]
        case "POST /api/v1/channels":
            return [
                "name": "Web", "type": "api", "settings": ["color": "blue"], "single_conversation": false,
                "ai_agent_id": .string(tenant.id("ai-agents")),
            ]
        case "PATCH /api/v1/channels/{id}":
            return ["name": "Taken over", "ai_agent_id": .string(tenant.id("ai-agents"))]
        case "POST /api/v1/contacts":
            return [
                "name": "Besa", "email": "besa@example.com", "phone": "+355691234567", "external_id": .string(random),
                "metadata": ["vip": true],
            ]
        case "PATCH /api/v1/contacts/{id}": return ["name": "Taken over"]
        case "POST /api/v1/conversations":
            return [
                "contact_id": .string(tenant.id("contacts")), "channel_id": .string(tenant.id("channels")),
                "ai_agent_id": .string(tenant.id("ai-agents")), "external_id": .string(random),
                "metadata": ["page": "/start"],
            ]
        case "PATCH /api/v1/conversations/{id}": return ["metadata": ["taken": "over"]]
        case "POST /api/v1/conversations/{id}/messages":
            return ["content": "Good day", "role": "user", "external_id": .string(random), "metadata": ["n": 1.5]]
        case "POST /api/v1/ai-agents": return ["name": "Support", "instructions": "Be kind.", "is_active": true]
        case "PATCH /api/v1/ai-agents/{id}": return ["name": "Taken over"]
        case "POST /api/v1/knowledge-sources":
            return ["name": "Doc", "type": "text", "content": "# Doc\n\nWords.", "metadata": ["lang": "en"]]
        case "POST /api/v1/knowledge/search": return ["query": "book", "limit": 5]
        default: return nil
        }
    }
}

extension Schema {
    /// The members of an object, by name; empty for anything else.
    var members: [Property] {
        switch form {
        case .named(_, let schema), .nullable(let schema): schema.members
        case .object(let properties): properties
        default: []
        }
    }

    var isUUID: Bool {
        switch form {
        case .named(_, let schema), .nullable(let schema): schema.isUUID
        case .string(let rule): rule.format == .uuid
        default: false
        }
    }
}
