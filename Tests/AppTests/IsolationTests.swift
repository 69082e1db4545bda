import App
import Kernel
import TestKit
import Testing
import Web

/// Nobody reaches what belongs to another organization, by any route that there is.
@Suite("Isolation")
struct IsolationTests {
    /// Which word of a path leads to what an id in a body or in a query names.
    private static let nouns = [
        "contact_id": "contacts", "channel_id": "channels", "ai_agent_id": "ai-agents",
        "organization_id": "organizations", "user_id": "members",
    ]

    private func withTenants(
        on kind: TestDatabase.Kind,
        _ body: @escaping @Sendable (_ app: TestApp, _ blue: Tenant, _ red: Tenant) async throws -> Void
    ) async throws {
        try await withApp(on: kind, roles: "http") { app in
            let blue = try await app.furnish("Blue Books", word: "blue")
            let red = try await app.furnish("Red Books", word: "red")
            let before = try await state(of: red, in: app)
            try await body(app, blue, red)
            try await app.settle()
            let after = try await state(of: red, in: app)
            for (path, text) in before { #expect(after[path] == text, "\(path) has changed") }
        }
    }

    /// All that an organization can read of itself, by path.
    private func state(of tenant: Tenant, in app: TestApp) async throws -> [String: String] {
        var state: [String: String] = [:]
        for endpoint in app.node.endpoints
        where endpoint.method == .get && endpoint.isAuthenticated && !endpoint.path.hasSuffix("/events") {
            let path = endpoint.target(in: tenant)
            let reply = try await tenant.owner.get(path)
            #expect(reply.status == 200, "\(path): \(reply.status) \(reply.text)")
            state[path] = reply.text
        }
        return state
    }

    private func send(
        _ endpoint: Endpoint,
        _ path: String,
        as client: TestClient,
        in tenant: Tenant
    ) async throws
        -> TestReply
    {
        var body: JSON?
        if endpoint.bodySchema != nil {
            let sample = SampleRequests.body(of: endpoint, in: tenant)
            body = try #require(sample as JSON?, "SampleRequests has no body for \(endpoint.name)") as JSON
        }
        return try await client.send(endpoint.method.rawValue, path, body: body?.bytes)
    }

    @Test("ids of another organization in a path are not found", arguments: TestDatabase.kinds)
    func paths(on kind: TestDatabase.Kind) async throws {
        try await withTenants(on: kind) { app, blue, red in
            for endpoint in app.node.endpoints where endpoint.isAuthenticated && !endpoint.parameterNames.isEmpty {
                let count = endpoint.parameterNames.count
                // Every mixture of own ids and foreign ones, but for the one that is all own.
                for foreign in 1..<(1 << count) {
                    let path = endpoint.target { index in
                        let noun = endpoint.noun(ofParameter: index)
                        let tenant = foreign >> index & 1 == 1 ? red : blue
                        #expect(!tenant.id(noun).isEmpty, "the test has no id for \(noun) in \(endpoint.path)")
                        return tenant.id(noun)
                    }
                    for client in [blue.owner, blue.apiKey] {
                        let reply = try await send(endpoint, path, as: client, in: blue)
                        #expect(reply.status == 404, "\(endpoint.name): \(reply.status) \(reply.text)")
                        #expect(reply.code?.hasSuffix(".not_found") == true && reply.code != "route.not_found")
                    }
                }
                // It looks like what is nowhere, and like what is no id.
                let foreign = try await send(endpoint, endpoint.target(in: red), as: blue.owner, in: blue)
                for id in [ID<Void>().description, "nonsense", "%F0%9F%98%80", String(repeating: "9", count: 300)] {
                    let missing = try await send(endpoint, endpoint.target { _ in id }, as: blue.owner, in: blue)
                    #expect(missing.status == 404, "\(endpoint.name) \(id): \(missing.status) \(missing.text)")
                    #expect(missing.code == foreign.code && missing.json["detail"] == foreign.json["detail"])
                }
            }
        }
    }

    @Test("ids of another organization in a body are not found", arguments: TestDatabase.kinds)
    func bodies(on kind: TestDatabase.Kind) async throws {
        try await withTenants(on: kind) { app, blue, red in
            var tried: Set<String> = []
            for endpoint in app.node.endpoints where endpoint.isAuthenticated {
                guard let schema = endpoint.bodySchema else { continue }
                for property in schema.members where property.schema.isUUID {
                    let noun = try #require(Self.nouns[property.name], "what is \(property.name) of \(endpoint.name)?")
                    var body = try #require(SampleRequests.body(of: endpoint, in: blue)?.object)
                    body[property.name] = .string(red.id(noun))
                    let path = endpoint.target(in: blue)
                    for client in [blue.owner, blue.apiKey] {
                        let reply = try await client.send(
                            endpoint.method.rawValue,
                            path,
                            body: JSON.object(body).bytes
                        )
                        let userOnly = client.token == blue.apiKey.token && reply.code == "auth.user_required"
                        #expect(reply.status == 404 || userOnly, "\(endpoint.name) \(property.name): \(reply.text)")
                    }
                    tried.insert(property.name)
                }
            }
            #expect(tried.isSuperset(of: ["contact_id", "channel_id", "ai_agent_id", "organization_id"]))
        }
    }

    @Test("lists hold nothing of another organization, whatever is asked for", arguments: TestDatabase.kinds)
    func lists(on kind: TestDatabase.Kind) async throws {
        try await withTenants(on: kind) { app, blue, red in
            let texts = [
                "email": "red@example.com", "phone": "%2B355692222222", "resource_id": red.id("channels"), "q": "red",
            ]
            for endpoint in app.node.endpoints
            where endpoint.isAuthenticated && endpoint.method == .get && !endpoint.path.hasSuffix("/events") {
                let own = endpoint.target(in: blue)
                let separator = own.contains("?") ? "&" : "?"
                var replies = [own: try await blue.owner.get(own)]
                for parameter in endpoint.query {
                    if let noun = Self.nouns[parameter.name] {
                        let path = "\(own)\(separator)\(parameter.name)=\(red.id(noun))"
                        let reply = try await blue.owner.get(path)
                        #expect(reply.status == 404 || reply.json["data"]?.array == [], "\(path): \(reply.text)")
                        let ownFilter = try await blue.owner.get(
                            "\(own)\(separator)\(parameter.name)=\(blue.ids[noun]?.first ?? "")"
                        )
                        #expect(ownFilter.json["data"]?.array?.isEmpty == false, "\(path) finds nothing of one's own")
                    } else if parameter.schema.isUUID {
                        Issue.record("what is \(parameter.name) of \(endpoint.name)?")
                    } else if let text = texts[parameter.name] {
                        let path =
                            endpoint.path + "?\(parameter.name)=\(text)"
                        let reply = try await blue.owner.get(path)
                        #expect(reply.status == 200 && reply.json["data"]?.array == [], "\(path): \(reply.text)")
                        let theirs = try await red.owner.get(path)
                        #expect(theirs.json["data"]?.array?.isEmpty == false, "\(path): \(theirs.text)")
                    }
                }
                if endpoint.query.contains(where: { $0.name == "cursor" }) {
                    let theirs = endpoint.target(in: red)
                    let page = try await red.owner.get(theirs + separator + "limit=1")
                    let cursors = [
                        page.json["next_cursor"]?.string,
                        Cursor(time: .now(), id: ID<Void>(red.id("channels")) ?? .zero).text,
                    ]
                    for cursor in cursors.compactMap(\.self) {
                        let path = own + separator + "cursor=\(cursor)"
                        replies[path] = try await blue.owner.get(path)
                    }
                }
                for (path, reply) in replies {
                    #expect(reply.status == 200, "\(path): \(reply.status) \(reply.text)")
                    for id in red.allIDs { #expect(!reply.text.contains(id), "\(path) shows \(id)") }
                }
            }
            let found = try await blue.owner.post("/api/v1/knowledge/search", ["query": "the red book", "limit": 50])
            #expect(found.json["data"]?.array?.isEmpty == false)
            for chunk in found.json["data"]?.array ?? [] {
                #expect(blue.ids["knowledge-sources"]?.contains(chunk["knowledge_source_id"]?.string ?? "") == true)
                #expect(chunk["content"]?.string?.contains("red") == false)
            }
        }
    }

    @Test("every route asks for the permission that it declares", arguments: TestDatabase.kinds)
    func permissions(on kind: TestDatabase.Kind) async throws {
        try await withTenants(on: kind) { app, blue, _ in
            let authenticated = app.node.endpoints.filter(\.isAuthenticated)
            // These are for every credential; who adds one here has thought about it.
            #expect(
                Set(authenticated.filter { $0.permission == nil }.map(\.name)) == [
                    "POST /api/v1/auth/logout", "POST /api/v1/auth/switch", "POST /api/v1/organizations",
                    "GET /api/v1/me", "PATCH /api/v1/me", "POST /api/v1/me/password",
                    "POST /api/v1/me/memberships", "DELETE /api/v1/me/memberships/{organization_id}",
                ]
            )
            let allPermissions = Modules.permissions.map(\.permission)
            for permission in allPermissions {
                let endpoints = authenticated.filter { $0.permission == permission }
                let others = allPermissions.filter { $0 != permission }
                let without = try await key(of: blue, holding: others)
                let with = try await key(of: blue, holding: [permission])
                for endpoint in endpoints {
                    let refused = try await send(endpoint, endpoint.target(in: blue), as: without, in: blue)
                    #expect(refused.status == 403 && refused.code == "auth.forbidden", "\(endpoint.name)")
                    let nowhere = endpoint.target { _ in ID<Void>().description }
                    let allowed = try await send(endpoint, nowhere, as: with, in: blue)
                    #expect(
                        allowed.code != "auth.forbidden" && allowed.status != 401,
                        "\(endpoint.name): \(allowed.status) \(allowed.text)"
                    )
                    let expected = endpoint.parameterNames.isEmpty ? allowed.status : 404
                    #expect(allowed.status == expected, "\(endpoint.name): \(allowed.status) \(allowed.text)")
                }
            }
        }
    }

    @Test("without a credential every route but the public ones answers 401", arguments: TestDatabase.kinds)
    func strangers(on kind: TestDatabase.Kind) async throws {
        try await withTenants(on: kind) { app, blue, _ in
            #expect(
                Set(app.node.endpoints.filter { !$0.isAuthenticated }.map(\.name)) == [
                    "POST /api/v1/auth/signup", "POST /api/v1/auth/join", "POST /api/v1/auth/login",
                    "POST /api/v1/auth/refresh",
                    "GET /api/v1/plans", "GET /api/v1/plans/comparison",
                ]
            )
            for endpoint in app.node.endpoints where endpoint.isAuthenticated {
                let reply = try await send(endpoint, endpoint.target(in: blue), as: app.stranger, in: blue)
                #expect(reply.status == 401 && reply.code == "auth.required", "\(endpoint.name): \(reply.text)")
            }
        }
    }

    private func key(of tenant: Tenant, holding permissions: [Permission]) async throws -> TestClient {
        let reply = try await tenant.owner.post(
            "/api/v1/api-keys",
            ["name": "Limited", "permissions": .array(permissions.map { .string($0.name) })]
        )
        let token = try #require(reply.json["key"]?.string, "\(reply.status) \(reply.text)")
        return TestClient(
            app: tenant.owner.app,
            token: token,
            organization: tenant.owner.organization,
            user: tenant.owner.user
        )
    }
}
