import App
import Foundation
import Kernel
import NIOCore
import Synchronization
import TestKit
import Testing
import Web

/// Whatever arrives, the answer says what is wrong with it, and the node goes on.
@Suite("Bad input")
struct BadInputTests {
    private static let channels = "/api/v1/channels"

    /// Runs `body` with an organization that has two of everything, and sees that the node still works afterwards.
    private func withTenant(
        on kind: TestDatabase.Kind,
        _ body: @escaping @Sendable (TestApp, Tenant) async throws -> Void
    ) async throws {
        try await withApp(on: kind, roles: "http") { app in
            let tenant = try await app.furnish("Blue Books", word: "blue")
            try await body(app, tenant)
            #expect(try await app.stranger.get("/healthz").status == 200)
            try await eventually("the node is ready") {
                try await app.stranger.get("/readyz").status == 200 ? () : nil
            }
            let reply = try await tenant.owner.post(Self.channels, ["name": "Afterwards", "type": "api"])
            #expect(reply.status == 201, "the node does not work any more: \(reply.status) \(reply.text)")
        }
    }

    private func expect(
        _ reply: TestReply,
        _ status: Int,
        _ code: String,
        _ what: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(reply.status == status, "\(what): \(reply.status) \(reply.text)", sourceLocation: sourceLocation)
        #expect(reply.code == code, "\(what): \(reply.text)", sourceLocation: sourceLocation)
        isProblem(reply, what, sourceLocation: sourceLocation)
    }

    /// A refusal is a problem document and not the server's own fault.
    private func isProblem(
        _ reply: TestReply,
        _ what: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(reply.status < 500, "\(what): \(reply.status) \(reply.text)", sourceLocation: sourceLocation)
        guard reply.status >= 400 else { return }
        #expect(
            reply.headers["content-type"] == "application/problem+json",
            "\(what): \(reply.headers)",
            sourceLocation: sourceLocation
        )
        #expect(reply.json["status"]?.int == Int64(reply.status), "\(what)", sourceLocation: sourceLocation)
        for key in ["type", "title", "detail", "code", "request_id"] {
            #expect(
                reply.json[key]?.string?.isEmpty == false,
                "\(what) has no \(key): \(reply.text)",
                sourceLocation: sourceLocation
            )
        }
        #expect(reply.headers["x-request-id"] == reply.json["request_id"]?.string, sourceLocation: sourceLocation)
    }

    // MARK: Bodies

    @Test("malformed JSON is refused with its place", arguments: TestDatabase.kinds)
    func malformed(on kind: TestDatabase.Kind) async throws {
        let deep = String(repeating: "[", count: 5_000)
        let texts: [(String, [UInt8])] = [
            ("nothing", []), ("space", Array("  \n".utf8)), ("truncated", Array(#"{"name": "Web", "ty"#.utf8)),
            ("trailing", Array(#"{"name": "Web", "type": "api"} {}"#.utf8)),
            ("trailing comma", Array(#"{"name": "Web", "type": "api",}"#.utf8)),
            ("duplicate key", Array(#"{"name": "Web", "type": "api", "name": "Other"}"#.utf8)),
            ("escaped duplicate key", Array(#"{"name": "Web", "type": "api", "n\u0061me": "Other"}"#.utf8)),
            ("deep array", Array((#"{"name": "Web", "type": "api", "settings": {"a": "# + deep).utf8)),
            ("deep, closed", Array((#"{"settings": "# + deep + deep.map { _ in "]" }.joined() + "}").utf8)),
            ("deep object", Array(String(repeating: #"{"a":"#, count: 5_000).utf8)),
            ("lone high surrogate", Array(#"{"name": "\ud800", "type": "api"}"#.utf8)),
            ("lone low surrogate", Array(#"{"name": "\udc00x", "type": "api"}"#.utf8)),
            ("surrogate, then no escape", Array(#"{"name": "\ud800\n", "type": "api"}"#.utf8)),
            ("invalid UTF-8", Array(#"{"name": ""#.utf8) + [0xC3, 0x28] + Array(#"", "type": "api"}"#.utf8)),
            ("overlong UTF-8", Array(#"{"name": ""#.utf8) + [0xC0, 0x80] + Array(#"", "type": "api"}"#.utf8)),
            ("UTF-8 surrogate", Array(#"{"name": ""#.utf8) + [0xED, 0xA0, 0x80] + Array(#"", "type": "api"}"#.utf8)),
            ("UTF-16", Array("{\"name\": \"Web\"}".utf16.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] })),
            ("NUL as an escape", Array(#"{"name": "a\u0000b", "type": "api"}"#.utf8)),
            ("NUL in free JSON", Array(#"{"name": "a", "type": "api", "settings": {"a": ["\u0000"]}}"#.utf8)),
            ("NUL in a key", Array(#"{"name": "a", "type": "api", "settings": {"\u0000": 1}}"#.utf8)),
            ("raw NUL", Array(#"{"name": "a"#.utf8) + [0] + Array(#"b", "type": "api"}"#.utf8)),
            ("NUL bytes", [UInt8](repeating: 0, count: 100)), ("raw line feed", Array("{\"name\": \"a\nb\"}".utf8)),
            ("too large a number", Array(#"{"name": "a", "type": "api", "settings": {"a": 1e400}}"#.utf8)),
            ("not a number", Array(#"{"name": "a", "type": "api", "settings": {"a": NaN}}"#.utf8)),
            ("leading zero", Array(#"{"name": "a", "type": "api", "settings": {"a": 01}}"#.utf8)),
            ("comment", Array(#"{"name": "a", /* */ "type": "api"}"#.utf8)), ("quotes", Array("{'name': 'a'}".utf8)),
            ("a form", Array("name=a&type=api".utf8)),
        ]
        try await withTenant(on: kind) { _, tenant in
            for (what, bytes) in texts {
                let reply = try await tenant.owner.send("POST", Self.channels, body: bytes)
                expect(reply, 400, "request.malformed", what)
            }
            let many = #"{"settings": {"a": ["# + String(repeating: "0,", count: 150_000) + "0]}}"
            expect(
                try await tenant.owner.send("POST", Self.channels, body: Array(many.utf8)),
                400,
                "request.malformed",
                "many values"
            )
        }
    }

    @Test("a body that does not fit is refused with every bad field", arguments: TestDatabase.kinds)
    func invalid(on kind: TestDatabase.Kind) async throws {
        let long = String(repeating: "x", count: 121)
        let bodies: [(JSON, [String])] = [
            ([:], ["/name", "/type"]), ([], [""]), ("text", [""]), (.null, [""]), (5, [""]),
            (["name": "Web", "type": "api", "organization_id": "x"], ["/organization_id"]),
            (["name": "Web", "type": "api", "a/b~c": 1], ["/a~1b~0c"]),
            (["name": 5, "type": ["api"]], ["/name", "/type"]),
            (["name": .null, "type": "api"], ["/name"]), (["name": "", "type": "api"], ["/name"]),
            (["name": " \u{3000}", "type": "api"], ["/name"]), (["name": .string(long), "type": "api"], ["/name"]),
            (["name": "a\u{7}b", "type": "api"], ["/name"]), (["name": "Web", "type": "API"], ["/type"]),
            (["name": "Web", "type": "api", "ai_agent_id": "1"], ["/ai_agent_id"]),
            (["name": "Web", "type": "api", "is_active": "true"], ["/is_active"]),
            (["name": "Web", "type": "api", "is_active": 1], ["/is_active"]),
            (["name": "Web", "type": "api", "settings": []], ["/settings"]),
            (
                ["name": "Web", "type": "api", "settings": ["a": .string(String(repeating: "x", count: 20_000))]],
                ["/settings"]
            ),
        ]
        let searches: [(String, [String])] = [
            (#"{"query": "a", "limit": 0}"#, ["/limit"]), (#"{"query": "a", "limit": -1}"#, ["/limit"]),
            (#"{"query": "a", "limit": 1.5}"#, ["/limit"]), (#"{"query": "a", "limit": "5"}"#, ["/limit"]),
            (#"{"query": "a", "limit": 1000000000}"#, ["/limit"]),
            (#"{"query": "a", "limit": 9223372036854775808}"#, ["/limit"]),
            (#"{"query": "a", "limit": 1e308}"#, ["/limit"]), (#"{"query": "a", "limit": -1e308}"#, ["/limit"]),
            (#"{"query": "a", "limit": 123456789012345678901234567890}"#, ["/limit"]),
            (#"{"limit": 51, "query": 7, "other": 1}"#, ["/limit", "/query", "/other"]),
        ]
        try await withTenant(on: kind) { _, tenant in
            func check(_ reply: TestReply, _ pointers: [String], _ what: String) {
                expect(reply, 400, "request.invalid", what)
                let found = reply.json["errors"]?.array?.compactMap { $0["pointer"]?.string } ?? []
                #expect(Set(found) == Set(pointers), "\(what): \(reply.text)")
            }
            for (body, pointers) in bodies {
                check(try await tenant.owner.post(Self.channels, body), pointers, String(body.text.prefix(100)))
            }
            for (text, pointers) in searches {
                let path = "/api/v1/knowledge/search"
                check(try await tenant.owner.send("POST", path, body: Array(text.utf8)), pointers, text)
            }
        }
    }

    @Test("a body that is too large is refused", arguments: TestDatabase.kinds)
    func oversized(on kind: TestDatabase.Kind) async throws {
        try await withTenant(on: kind) { _, tenant in
            let big = [UInt8](repeating: UInt8(ascii: " "), count: (1 << 20) + 1)
            expect(
                try await tenant.owner.send("POST", Self.channels, body: big),
                413,
                "request.too_large",
                "one byte more"
            )
            // One that holds as much as allowed is read.
            let most = Array(#"{"name":"a","type":"api"}"#.utf8)
            let padded = most + [UInt8](repeating: 0x20, count: (1 << 20) - most.count)
            #expect(try await tenant.owner.send("POST", Self.channels, body: padded).status == 201)
            let path = "/api/v1/conversations/\(tenant.id("conversations"))/messages"
            let message = try await tenant.owner.post(
                path,
                ["content": .string(String(repeating: "x", count: 500_000))]
            )
            expect(message, 400, "request.invalid", "a long message")
        }
    }

    @Test("a body of another type is refused", arguments: TestDatabase.kinds)
    func contentTypes(on kind: TestDatabase.Kind) async throws {
        try await withTenant(on: kind) { _, tenant in
            let body = Array(#"{"name":"a","type":"api"}"#.utf8)
            for type in ["text/plain", "application/xml", "application/x-www-form-urlencoded", "", "json", "*/*"] {
                let reply = try await tenant.owner.send(
                    "POST",
                    Self.channels,
                    body: body,
                    headers: ["content-type": type]
                )
                expect(reply, 415, "request.unsupported_media_type", type)
            }
            let zipped = try await tenant.owner.send(
                "POST",
                Self.channels,
                body: body,
                headers: ["content-encoding": "gzip"]
            )
            expect(zipped, 415, "request.unsupported_media_type", "gzip")
            let type = "Application/JSON; charset=utf-8"
            let good = try await tenant.owner.send("POST", Self.channels, body: body, headers: ["content-type": type])
            #expect(good.status == 201)
        }
    }

    // MARK: Queries, paths and headers

    @Test("queries that do not fit are refused, on every list", arguments: TestDatabase.kinds)
    func queries(on kind: TestDatabase.Kind) async throws {
        let limits = [
            "0", "-1", "101", "1000000000", "abc", "1.5", "", "1e3", "0x10", "%2010", "99999999999999999999",
            "-9223372036854775809", "%EF%BC%91",
        ]
        let hex = String(repeating: "f", count: 48)
        let cursors = [
            "garbage", "", hex, String(hex.dropLast()), hex + "f", String(repeating: "0", count: 47) + "G",
            "' OR 1=1 --", "eyJhIjoxfQ==", String(repeating: "é", count: 24),
        ]
        try await withTenant(on: kind) { app, tenant in
            for endpoint in app.node.endpoints
            where endpoint.isAuthenticated && endpoint.method == .get && !endpoint.path.hasSuffix("/events") {
                let path = endpoint.target(in: tenant)
                let separator = path.contains("?") ? "&" : "?"
                func refuse(_ query: String, _ code: String = "request.invalid") async throws {
                    let reply = try await tenant.owner.get(path + separator + query)
                    expect(reply, 400, code, "\(path)\(separator)\(query)")
                }
                try await refuse("unknown=1")
                try await refuse("organization_id=\(tenant.owner.organization)")
                try await refuse("=1")
                try await refuse("limit%00=1", "request.malformed")
                try await refuse("a=%C3%28", "request.malformed")
                for parameter in endpoint.query {
                    switch parameter.name {
                    case "limit":
                        for limit in limits { try await refuse("limit=\(limit)") }
                        try await refuse("limit=5&limit=5")
                    case "cursor":
                        for cursor in cursors {
                            let allowed = CharacterSet.alphanumerics.intersection(CharacterSet(charactersIn: "a"..."z"))
                                .union(CharacterSet(charactersIn: "A"..."Z")).union(
                                    CharacterSet(charactersIn: "0"..."9")
                                )
                            let text = cursor.addingPercentEncoding(withAllowedCharacters: allowed) ?? ""
                            try await refuse("cursor=\(text)")
                        }
                    default:
                        try await refuse("\(parameter.name)=a%00b", "request.malformed")
                        let long = String(repeating: "x", count: 2_000)
                        if !path.contains("\(parameter.name)=") { try await refuse("\(parameter.name)=\(long)") }
                    }
                }
                // A cursor of another list is a place in time all the same.
                if endpoint.query.contains(where: { $0.name == "cursor" }) {
                    let page = try await tenant.owner.get("/api/v1/channels?limit=1")
                    let cursor = try #require(page.json["next_cursor"]?.string)
                    let reply = try await tenant.owner.get("\(path)\(separator)cursor=\(cursor)")
                    #expect(reply.status == 200, "\(path): \(reply.text)")
                }
            }
        }
    }

    @Test("unknown paths and methods have their answers", arguments: TestDatabase.kinds)
    func routes(on kind: TestDatabase.Kind) async throws {
        try await withTenant(on: kind) { app, tenant in
            let paths = [
                "/api", "/api/v1", "/api/v1/", "/api/v2/channels", "/api/v1/channel", "/api/v1/channels/", "//",
                "/api/v1/channels//", "/api/v1/CHANNELS", "/api/v1/channels/\(ID<Void>())/more", "/.env", "/etc/passwd",
                "/api/v1/../../etc/passwd", "/%2e%2e/", "/api%2Fv1%2Fchannels",
                "/" + String(repeating: "a/", count: 500), "/api/v1/conversations//messages",
            ]
            for path in paths {
                for client in [tenant.owner, app.stranger] {
                    expect(try await client.get(path), 404, "route.not_found", path)
                }
            }
            // HTTPClient would encode these once more.
            let malformed = [
                "/api/v1/channels/%", "/api/v1/channels/%FF", "/api/v1/channels/%00", "/api/v1/channels/%4",
                "/api/v1/channels?limit=%", "/api/v1/channels?a=%ZZ", "/api/v1/channels?%C3%28=1",
            ]
            for path in malformed {
                let reply = try await tenant.owner.raw(
                    "GET \(path) HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(tenant.owner.token ?? "")\r\n"
                        + "Connection: close\r\n\r\n"
                )
                expect(reply, 400, "request.malformed", path)
            }
            for method in ["PUT", "DELETE", "PATCH", "TRACE"] {
                let reply = try await tenant.owner.send(method, Self.channels)
                expect(reply, 405, "route.method_not_allowed", method)
                #expect(reply.headers["allow"] == "GET, POST, HEAD, OPTIONS")
            }
        }
    }

    @Test("headers that do not fit are refused", arguments: TestDatabase.kinds)
    func headers(on kind: TestDatabase.Kind) async throws {
        try await withTenant(on: kind) { _, tenant in
            let path = "\(Self.channels)/\(tenant.id("channels"))"
            for tag in ["abc", "\"abc", "W/abc", "\"a\" \"b\"", "", String(repeating: "x", count: 2_000), "*, \"a\""] {
                let reply = try await tenant.owner.patch(path, ["name": "Other"], headers: ["if-match": tag])
                expect(reply, 400, "request.invalid", "If-Match: \(tag.prefix(20))")
                #expect(reply.json["errors"]?.array?.first?["pointer"]?.string == "If-Match")
            }
            for key in ["", "a b", "ë", String(repeating: "k", count: 256)] {
                let reply = try await tenant.owner.post(
                    Self.channels,
                    ["name": "Web", "type": "api"],
                    headers: ["idempotency-key": key]
                )
                expect(reply, 400, "request.invalid", "Idempotency-Key: \(key.prefix(20))")
            }
            // A header beyond the limits of the server ends the connection or is refused; never worse.
            for size in [15_000, 17_000, 100_000] {
                let headers = ["x-long": String(repeating: "x", count: size)]
                guard let reply = try? await tenant.owner.get("/api/v1/me", headers: headers) else { continue }
                #expect(reply.status == 200 || (400..<500).contains(reply.status), "\(size): \(reply.status)")
            }
            let ids = ["", "a b", String(repeating: "x", count: 65), "é", "<script>"]
            for id in ids {
                let reply = try await tenant.owner.get("/api/v1/me", headers: ["x-request-id": id])
                #expect(reply.status == 200 && reply.headers["x-request-id"] != id)
            }
            let stream = "/api/v1/conversations/\(tenant.id("conversations"))/events"
            expect(
                try await tenant.owner.get(stream, headers: ["last-event-id": "a b"]),
                400,
                "request.invalid",
                "event id"
            )
            for after in ["-1", "abc", "9223372036854775808", "1.5"] {
                expect(try await tenant.owner.get("\(stream)?after=\(after)"), 400, "request.invalid", "after=\(after)")
            }
        }
    }

    @Test("what is no HTTP ends its connection and nothing else", arguments: TestDatabase.kinds)
    func noHTTP(on kind: TestDatabase.Kind) async throws {
        try await withTenant(on: kind) { app, tenant in
            let token = tenant.owner.token ?? ""
            let head =
                "POST \(Self.channels) HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(token)\r\n"
                + "Content-Type: application/json\r\nConnection: close\r\n"
            let texts: [(String, String)] = [
                ("nonsense", "nonsense\r\n\r\n"), ("binary", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n"),
                ("an unknown method", "FOO / HTTP/1.1\r\nHost: x\r\n\r\n"),
                ("an unknown version", "GET / HTTP/9.9\r\nHost: x\r\n\r\n"),
                ("a space in the path", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"),
                ("a bad header", "GET / HTTP/1.1\r\nHo st: x\r\n\r\n"),
                (
                    "a long header",
                    "GET / HTTP/1.1\r\nHost: x\r\nX-Long: \(String(repeating: "x", count: 200_000))\r\n\r\n"
                ),
                ("many headers", "GET / HTTP/1.1\r\nHost: x\r\n\(String(repeating: "X-A: b\r\n", count: 2_000))\r\n"),
                ("a long path", "GET /\(String(repeating: "a", count: 200_000)) HTTP/1.1\r\nHost: x\r\n\r\n"),
                ("a negative length", head + "Content-Length: -1\r\n\r\n"),
                ("a huge length", head + "Content-Length: 99999999999999999999999\r\n\r\n{}"),
                ("two lengths", head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
                ("a length and chunks", head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                ("a bad chunk", head + "Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n"),
                ("a huge chunk", head + "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n{}"),
            ]
            for (what, text) in texts {
                let reply = try await tenant.owner.raw(text)
                // 0: the connection was closed without a word.
                #expect(
                    reply.status == 0 || (400..<500).contains(reply.status),
                    "\(what): \(reply.status) \(reply.text)"
                )
                #expect(try await app.stranger.get("/healthz").status == 200, "after \(what)")
            }
            let large = try await tenant.owner.raw(head + "Content-Length: 1000000000\r\n\r\n{")
            expect(large, 413, "request.too_large", "an announced gigabyte")
            let count = try await tenant.owner.get(Self.channels).json["data"]?.array?.count
            #expect(count == 2)
        }
    }

    // MARK: Credentials

    @Test("what is no credential of this server is refused", arguments: TestDatabase.kinds)
    func credentials(on kind: TestDatabase.Kind) async throws {
        // Two nodes on one database that differ in nothing but their key.
        let foreignKey = String(repeating: "z", count: 64)
        try await withApp(on: kind, roles: "http", secretKey: foreignKey) { foreign in
            let elsewhere = try await foreign.signUp("Foreign")
            try await withApp(over: foreign.node.database, roles: "http") { app in
                let owner = try await app.signUp()
                let token = try #require(owner.token)
                let parts = token.split(separator: ".").map(String.init)
                let apiKey = try await owner.post(
                    "/api/v1/api-keys",
                    ["name": "Key", "permissions": ["channels:read"]]
                )
                let key = try #require(apiKey.json["key"]?.string)
                let forged = forge(parts[1], organization: elsewhere.organization)
                let tokens: [(String, String)] = [
                    ("signed with another key", elsewhere.token ?? ""),
                    ("alg none", forge(header: #"{"alg":"none","typ":"JWT"}"#, parts[1]) + "."),
                    (
                        "alg none, with a signature",
                        forge(header: #"{"alg":"none","typ":"JWT"}"#, parts[1]) + "." + parts[2]
                    ),
                    ("alg nOnE", forge(header: #"{"alg":"nOnE"}"#, parts[1]) + "."),
                    ("alg RS256", forge(header: #"{"alg":"RS256","typ":"JWT"}"#, parts[1]) + "." + parts[2]),
                    ("no signature", "\(parts[0]).\(parts[1])."), ("two parts", "\(parts[0]).\(parts[1])"),
                    ("another organization", "\(parts[0]).\(forged).\(parts[2])"),
                    ("a changed signature", String(token.dropLast(2)) + (token.hasSuffix("AA") ? "BB" : "AA")),
                    ("something after it", token + "x"), ("twice", "\(token).\(token)"), ("garbage", "garbage"),
                    ("dots", ".."), ("long", String(repeating: "a", count: 8_000)), ("a query", "' OR 1=1 --"),
                    ("not ASCII", "këto"),
                    ("a key with a wrong check", String(key.dropLast()) + (key.hasSuffix("a") ? "b" : "a")),
                    ("the beginning of a key", String(key.prefix(12))),
                    ("an unknown key", "kv_live_" + String(repeating: "A", count: 46)),
                    ("a refresh token", "kv_refresh_abc"),
                ]
                for (what, token) in tokens {
                    let client = TestClient(app: app, token: token, organization: "", user: "")
                    for path in ["/api/v1/me", Self.channels] {
                        let reply = try await client.get(path)
                        expect(reply, 401, "auth.invalid_token", what)
                        #expect(reply.headers["www-authenticate"]?.hasPrefix("Bearer") == true)
                    }
                }
                for header in [nil, "", "Bearer", "Bearer ", "Basic YTpi", token, "Token \(token)"] {
                    let headers = header.map { ["authorization": $0] } ?? [:]
                    expect(
                        try await app.stranger.get("/api/v1/me", headers: headers),
                        401,
                        "auth.required",
                        header ?? "none"
                    )
                }
                #expect(try await owner.get("/api/v1/me").status == 200)
                // What went wrong first is told first: nothing about the body for strangers.
                expect(
                    try await app.stranger.send("POST", Self.channels, body: [0]),
                    401,
                    "auth.required",
                    "stranger's body"
                )
            }
        }
    }

    @Test("a token ends with its time, a key with its own", arguments: TestDatabase.kinds)
    func expiry(on kind: TestDatabase.Kind) async throws {
        let offset = Offset()
        try await withApp(on: kind, roles: "http", now: { .now() + .seconds(offset.seconds) }) { app in
            let owner = try await app.signUp()
            let end = Timestamp.now() + .seconds(3_600)
            let created = try await owner.post(
                "/api/v1/api-keys",
                ["name": "Key", "permissions": ["channels:read"], "expires_at": .string(end.description)]
            )
            let key = TestClient(app: app, token: created.json["key"]?.string, organization: "", user: "")
            #expect(try await owner.get("/api/v1/me").status == 200)
            #expect(try await key.get(Self.channels).status == 200)
            offset.seconds = 1_200
            expect(try await owner.get("/api/v1/me"), 401, "auth.invalid_token", "an access token after 20 minutes")
            #expect(try await key.get(Self.channels).status == 200)
            offset.seconds = 3_700
            expect(try await key.get(Self.channels), 401, "auth.invalid_token", "a key after its end")
        }
    }

    /// A header and a payload in base64url, with a dot between them.
    private func forge(header: String, _ payload: String) -> String { base64(header) + "." + payload }

    /// The payload with another organization in it.
    private func forge(_ payload: String, organization: String) -> String {
        var text = payload.replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
        text += String(repeating: "=", count: (4 - text.count % 4) % 4)
        let data = Data(base64Encoded: text) ?? Data()
        var claims = (try? JSON(parsing: String(decoding: data, as: UTF8.self)))?.object ?? [:]
        claims["org"] = .string(organization)
        return base64(JSON.object(claims).text)
    }

    private func base64(_ text: String) -> String {
        Data(text.utf8).base64EncodedString().replacingOccurrences(of: "+", with: "-")
            .replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "=", with: "")
    }

    // MARK: Mutations

    @Test("mutated requests never break anything", arguments: TestDatabase.kinds)
    func mutations(on kind: TestDatabase.Kind) async throws {
        let isLong = ProcessInfo.processInfo.environment["KUVEND_TEST_LONG"] == "1"
        let rounds = isLong ? 400 : 16
        let seed = ProcessInfo.processInfo.environment["KUVEND_TEST_SEED"].flatMap { UInt64($0) } ?? 20_261_124
        try await withTenant(on: kind) { app, tenant in
            var mutator = Mutator(seed: seed)
            for endpoint in app.node.endpoints {
                guard endpoint.bodySchema != nil else { continue }
                for round in 0..<rounds {
                    let sample = SampleRequests.body(of: endpoint, in: tenant)
                    let body = try #require(sample as JSON?, "SampleRequests has no body for \(endpoint.name)") as JSON
                    let bytes = mutator.mutate(body)
                    let path = endpoint.target(in: tenant)
                    let what =
                        "seed \(seed), round \(round), \(endpoint.name): \(String(decoding: bytes.prefix(300), as: UTF8.self))"
                    let reply = try await tenant.owner.send(endpoint.method.rawValue, path, body: bytes)
                    isProblem(reply, what)
                }
            }
            for endpoint in app.node.endpoints
            where !endpoint.query.isEmpty && !endpoint.path.hasSuffix("/events") {
                for round in 0..<rounds {
                    let path = mutator.mutate(endpoint.target(in: tenant), endpoint.query)
                    let reply = try await tenant.owner.get(path)
                    isProblem(reply, "seed \(seed), round \(round): \(path)")
                }
            }
        }
    }
}

extension TestClient {
    /// Sends bytes as they are, on a connection of their own, and reads until it ends; status 0 when nothing comes.
    func raw(_ text: String) async throws -> TestReply {
        let port = app.port
        let bytes = await withCheckedContinuation { continuation in
            // Blocks, so it has a thread of its own.
            Thread.detachNewThread { continuation.resume(returning: exchange(Array(text.utf8), port: port)) }
        }
        let answer = String(decoding: bytes, as: UTF8.self)
        let parts = answer.components(separatedBy: "\r\n\r\n")
        let lines = parts[0].components(separatedBy: "\r\n")
        let headers = lines.dropFirst().map { line in
            let pair = line.components(separatedBy: ": ")
            return (pair[0].lowercased(), pair.dropFirst().joined(separator: ": "))
        }
        return TestReply(
            status: Int(lines[0].split(separator: " ").dropFirst().first ?? "") ?? 0,
            headers: Dictionary(headers) { first, _ in first },
            text: parts.dropFirst().joined(separator: "\r\n\r\n")
        )
    }
}

private func exchange(_ request: [UInt8], port: Int) -> [UInt8] {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var patience = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let connected = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    guard connected == 0 else { return [] }
    var sent = 0
    while sent < request.count {
        let count = request[sent...].withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        guard count > 0 else { break }
        sent += count
    }
    var answer: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { return answer }
        answer += buffer[..<count]
    }
}

/// How far a test has moved the clock.
private final class Offset: Sendable {
    private let value = Mutex(0)

    var seconds: Int {
        get { value.withLock { $0 } }
        set { value.withLock { $0 = newValue } }
    }
}

/// Spoils valid requests, always in the same way for the same seed.
private struct Mutator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    private mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    private mutating func pick<Element>(_ list: [Element]) -> Element { list[Int(next() % UInt64(list.count))] }

    private static let values: [JSON] = [
        .null, true, false, 0, -1, 1, 1.5, .integer(.max), .integer(.min), .number(1e308),
        .number(-.leastNonzeroMagnitude), "", " ", "a",
        "null", "\u{0}", "a\u{0}b", "\u{202E}\u{FEFF}", "\u{FFFF}", "👩‍👩‍👧‍👦", "e\u{301}", "'; DROP TABLE users; --", "%s%n",
        "../../etc",
        "00000000-0000-0000-0000-000000000000", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59.999Z",
        "0001-01-01T00:00:00Z",
        "-1-01-01T00:00:00Z", "http://[::1", "javascript:alert(1)", "a@b", "+1", "\r\nSet-Cookie: a=b", [], [:], [[]],
        ["a"],
        ["a": .null], [.null], ["": ""], ["\u{0}": 1], .string(String(repeating: "x", count: 70_000)),
        .string(String(repeating: "🙂", count: 5_000)), .string(String(repeating: "e\u{301}", count: 1_000)),
        .array([JSON](repeating: 1, count: 1_000)),
    ]

    private static let snippets: [[UInt8]] = [
        [0], [0xFF], [0xC3], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], Array("\\u0000".utf8), Array("\\ud800".utf8),
        Array("\"".utf8), Array("{".utf8), Array("}".utf8), Array("[".utf8), Array(",".utf8), Array("1e999".utf8),
        Array("-".utf8), Array("\\".utf8), Array("NaN".utf8), [0xEF, 0xBB, 0xBF],
    ]

    /// A spoiled text of a body.
    mutating func mutate(_ body: JSON) -> [UInt8] {
        var json = body
        for _ in 0...(next() % 3) {
            switch next() % 6 {
            case 0, 1, 2: json = replace(json)
            case 3: json = wrap(json)
            case 4:
                if var object = json.object {
                    object[pick(["unknown", "id", "organization_id", "", "__proto__", "name"])] = pick(Self.values)
                    json = .object(object)
                }
            default:
                if var object = json.object, !object.keys.isEmpty {
                    object[pick(object.keys)] = nil
                    json = .object(object)
                }
            }
        }
        var bytes = json.bytes
        guard next() % 3 == 0, !bytes.isEmpty else { return bytes }
        for _ in 0...(next() % 3) where !bytes.isEmpty {
            let place = Int(next() % UInt64(bytes.count))
            switch next() % 4 {
            case 0: bytes[place] = UInt8(truncatingIfNeeded: next())
            case 1: bytes.removeSubrange(place...)
            case 2: bytes.insert(contentsOf: pick(Self.snippets), at: place)
            default: bytes.insert(contentsOf: bytes[place...], at: place)
            }
        }
        return bytes
    }

    /// The value, with one value somewhere inside replaced.
    private mutating func replace(_ json: JSON) -> JSON {
        if var object = json.object, !object.keys.isEmpty, next() % 8 != 0 {
            let key = pick(object.keys)
            object[key] = replace(object[key] ?? .null)
            return .object(object)
        }
        return pick(Self.values)
    }

    private mutating func wrap(_ json: JSON) -> JSON {
        var json = json
        for _ in 0..<pick([1, 10, 100]) { json = next() % 2 == 0 ? [json] : ["a": json] }
        return json
    }

    /// The path with a spoiled query.
    mutating func mutate(_ path: String, _ parameters: [Schema.Property]) -> String {
        let base = path.prefix { $0 != "?" }
        let names = parameters.map(\.name)
        let pieces = [
            "", "0", "-1", "1", "20", "100", "%00", "%FF", "%", "+", "a", "%27%20OR%201=1", "true", "%2Cblue", "blue",
            "00000000-0000-0000-0000-000000000000", "red@example.com", "%F0%9F%99%82", "%22", "%5C", "*", "%25", "_",
            "a%20b%20c",
            "%22a%22%20NEAR%20b", "-a", "a%3A%2A", "(", "%26%7C%21", String(repeating: "a+", count: 200),
            "9223372036854775807",
            "0000019aa3f4c8b1" + String(repeating: "0", count: 32), "0000d" + String(repeating: "f", count: 43),
        ]
        let count = Int(next() % 3) + 1
        let pairs = (0..<count).map { _ in "\(pick(names))=\(pick(pieces))" }
        return base + "?" + pairs.joined(separator: pick(["&", "&", "&&", "="]))
    }
}
