import Crypto
import Foundation
import Kernel
package import Logging
import Outbound
import Web

/// Shows the product on a running server, over HTTP as a customer would: an organization, an agent trained on real
/// documents, a question, the streamed answer with its citations.
package struct Demo: Sendable {
    private struct Credentials {
        let email: String
        let password: String
    }

    static let question = "How does Kuvend make sure that no acknowledged message is lost?"

    private let baseURL: String
    private let dataDirectory: String
    private let documents: [String]
    private let client: OutboundClient
    private let say: @Sendable (String, _ isLineEnd: Bool) -> Void

    /// - Parameters:
    ///   - baseURL: Of the running server.
    ///   - documents: Paths of Markdown and text files to train on.
    ///   - say: Receives text to show; a piece of a line when `isLineEnd` is false.
    package init(
        baseURL: String,
        dataDirectory: String,
        documents: [String],
        logger: Logger,
        say: @escaping @Sendable (String, _ isLineEnd: Bool) -> Void
    ) {
        self.baseURL = baseURL
        self.dataDirectory = dataDirectory
        self.documents = documents
        self.say = say
        client = OutboundClient(logger: logger)
    }

    /// The files of a checkout that the demo trains on: the README and the docs.
    package static func documents(in directory: String) -> [String] {
        let docs = (try? FileManager.default.subpathsOfDirectory(atPath: directory + "/docs")) ?? []
        // The schema is a list of columns, which answers nobody's question.
        let texts = docs.filter { $0.hasSuffix(".md") && $0 != "schema.md" }
        let paths = ["README.md"] + texts.sorted().map { "docs/" + $0 }
        return paths.map { directory + "/" + $0 }.filter { FileManager.default.fileExists(atPath: $0) }
    }

    package func run() async throws {
        do {
            try await show()
        } catch {
            await client.shutdown()
            throw error
        }
        await client.shutdown()
    }

    private func show() async throws {
        let credentials = try credentials()
        let token = try await signIn(credentials)
        let api = API(demo: self, token: token)
        let channel = try await api.ensure(
            "/api/v1/channels",
            ["name": "Demo", "type": "api"],
            name: "Demo"
        )
        _ = try await api.ensure(
            "/api/v1/ai-agents",
            [
                "name": "Guide",
                "instructions": "You explain Kuvend to people who have just started it, in a few clear sentences.",
            ],
            name: "Guide"
        )
        try await train(api)
        let contact = try await contact(api)
        let conversation = try await api.post(
            "/api/v1/conversations",
            ["contact_id": .string(contact), "channel_id": .string(channel)]
        )
        let id = conversation["id"]?.string ?? ""
        try await ask(Self.question, in: id, api)
        explain(credentials, conversation: id)
    }

    // MARK: Steps

    private func signIn(_ credentials: Credentials) async throws -> String {
        let api = API(demo: self, token: nil)
        let login: JSON = ["email": .string(credentials.email), "password": .string(credentials.password)]
        let known = try await api.send(.post, "/api/v1/auth/login", login)
        if known.status == 200, let token = known.json["access_token"]?.string { return token }
        let new = try await api.post(
            "/api/v1/auth/signup",
            [
                "email": .string(credentials.email), "password": .string(credentials.password), "name": "Demo Owner",
                "organization_name": "Kuvend Demo",
            ]
        )
        guard let token = new["access_token"]?.string else { throw CommandError("signing up gave no token") }
        return token
    }

    private func train(_ api: API) async throws {
        let known = try await api.list("/api/v1/knowledge-sources?limit=100")
        let names = Set(known.compactMap { $0["name"]?.string })
        for path in documents {
            let name = path.hasSuffix("README.md") ? "README" : String(path.split(separator: "/").last ?? "document")
            guard !names.contains(name), let text = try? String(contentsOfFile: path, encoding: .utf8), !text.isEmpty
            else { continue }
            say("training on \(name)", true)
            _ = try await api.post(
                "/api/v1/knowledge-sources",
                ["name": .string(name), "type": "file", "location": .string(name), "content": .string(text)]
            )
        }
        for _ in 0..<600 {
            let sources = try await api.list("/api/v1/knowledge-sources?limit=100")
            let waiting = sources.filter { ["pending", "processing"].contains($0["status"]?.string ?? "") }
            if waiting.isEmpty {
                let chunks = sources.reduce(0) { $0 + ($1["chunk_count"]?.int ?? 0) }
                say("trained on \(sources.count) documents, \(chunks) passages", true)
                return
            }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw CommandError("training takes too long; is a worker running?")
    }

    private func contact(_ api: API) async throws -> String {
        let known = try await api.list("/api/v1/contacts?external_id=demo")
        if let id = known.first?["id"]?.string { return id }
        let contact = try await api.post("/api/v1/contacts", ["name": "A newcomer", "external_id": "demo"])
        return contact["id"]?.string ?? ""
    }

    private func ask(_ question: String, in conversation: String, _ api: API) async throws {
        say("", true)
        say("Question: \(question)", true)
        say("Answer:   ", false)
        let message = try await api.stream(
            "/api/v1/conversations/\(conversation)/messages",
            ["content": .string(question)]
        ) { text in say(text, false) }
        say("", true)
        for citation in message["metadata"]?["citations"]?.array ?? [] {
            let section = citation["section"]?.array?.compactMap(\.string).joined(separator: " › ") ?? ""
            say(
                "  [\(citation["number"]?.int ?? 0)] \(citation["source_name"]?.string ?? "")"
                    + (section.isEmpty ? "" : ": \(section)"),
                true
            )
        }
        say("  (model: \(message["metadata"]?["model"]?.string ?? "unknown"))", true)
    }

    private func explain(_ credentials: Credentials, conversation: String) {
        let lines = [
            "",
            "Sign in:        POST \(baseURL)/api/v1/auth/login",
            "                e-mail \(credentials.email), password in \(dataDirectory)/demo.json",
            "API reference:  \(baseURL)/docs",
            "Ask more:",
            "  TOKEN=$(curl -s \(baseURL)/api/v1/auth/login -H 'Content-Type: application/json' \\",
            "    -d @\(dataDirectory)/demo.json | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')",
            "  curl -N \(baseURL)/api/v1/conversations/\(conversation)/messages \\",
            "    -H \"Authorization: Bearer $TOKEN\" -H 'Accept: text/event-stream' \\",
            "    -H 'Content-Type: application/json' -d '{\"content\": \"What is a lane?\"}'",
            "",
            "Ctrl-C stops the server.",
        ]
        for line in lines { say(line, true) }
    }

    /// Made once and kept beside the database, readable by its owner only.
    private func credentials() throws -> Credentials {
        let path = dataDirectory + "/demo.json"
        if let text = try? String(contentsOfFile: path, encoding: .utf8), let json = try? JSON(parsing: text),
            let email = json["email"]?.string, let password = json["password"]?.string
        {
            return Credentials(email: email, password: password)
        }
        let bytes = SymmetricKey(size: .bits128).withUnsafeBytes { Array($0) }
        let password = bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        let credentials = Credentials(email: "demo@kuvend.example", password: password)
        let json: JSON = ["email": .string(credentials.email), "password": .string(credentials.password)]
        guard
            FileManager.default.createFile(
                atPath: path,
                contents: Data(json.bytes),
                attributes: [.posixPermissions: 0o600]
            )
        else { throw CommandError("\(path) cannot be written") }
        return credentials
    }

    // MARK: HTTP

    private struct API: Sendable {
        let demo: Demo
        let token: String?

        func send(
            _ method: OutboundRequest.RequestMethod,
            _ path: String,
            _ body: JSON?
        ) async throws -> (status: Int, json: JSON) {
            let response = try await demo.client.send(try request(method, path, body, stream: false))
            return (response.status, (try? JSON(parsing: response.body)) ?? .null)
        }

        func post(_ path: String, _ body: JSON) async throws -> JSON {
            let (status, json) = try await send(.post, path, body)
            guard (200..<300).contains(status) else {
                throw CommandError("POST \(path): \(status) \(json["detail"]?.string ?? "")")
            }
            return json
        }

        func list(_ path: String) async throws -> [JSON] {
            let (status, json) = try await send(.get, path, nil)
            guard status == 200 else { throw CommandError("GET \(path): \(status)") }
            return json["data"]?.array ?? []
        }

        /// The id of the item with a name, made when there is none.
        func ensure(_ path: String, _ body: JSON, name: String) async throws -> String {
            let known = try await list(path + "?limit=100").first { $0["name"]?.string == name }
            let item = if let known { known } else { try await post(path, body) }
            return item["id"]?.string ?? ""
        }

        /// Posts a message and follows its answer.
        ///
        /// - Returns: The finished answer.
        func stream(_ path: String, _ body: JSON, piece: @escaping @Sendable (String) -> Void) async throws -> JSON {
            let request = try request(.post, path, body, stream: true)
            return try await demo.client.stream(request) { stream in
                guard stream.status == 201 else { throw CommandError("POST \(path): \(stream.status)") }
                var parser = ServerSentEventParser()
                for try await chunk in stream.chunks {
                    for event in try parser.read(chunk) {
                        let data = (try? JSON(parsing: event.data)) ?? .null
                        switch event.name {
                        case "reply.delta": piece(data["text"]?.string ?? "")
                        case "reply.completed": return data
                        case "reply.failed", "reply.cancelled":
                            throw CommandError("no answer: \(data["reason"]?.string ?? event.name)")
                        default: break
                        }
                    }
                }
                throw CommandError("the stream ended before the answer did")
            }
        }

        private func request(
            _ method: OutboundRequest.RequestMethod,
            _ path: String,
            _ body: JSON?,
            stream: Bool
        ) throws -> OutboundRequest {
            var headers: OutboundHeaders = ["accept": stream ? "text/event-stream" : "application/json"]
            if body != nil { headers["content-type"] = "application/json" }
            if let token { headers["authorization"] = "Bearer \(token)" }
            return OutboundRequest(
                provider: "demo",
                method: method,
                url: try OutboundURL(demo.baseURL + path),
                headers: headers,
                body: body?.bytes ?? [],
                access: .trusted,
                organization: nil,
                deadline: .now + .seconds(120),
                maximumResponseBytes: 16 << 20
            )
        }
    }
}
