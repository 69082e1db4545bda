import App
import Foundation
import Kernel
import Logging
import TestKit
import Testing
import Web

/// The API has the endpoints that the product was asked for, and describes itself well.
@Suite("Asked-for endpoints")
struct ContractEndpointTests {
    /// What later stages bring.
    ///
    /// When one of these appears, take it off this list.
    private static let later = [
        "/api/v1/workflows", "/api/v1/call-sessions", "/api/v1/webhook-subscriptions", "/api/v1/subscription",
    ]

    private static func isLater(_ path: String) -> Bool {
        later.contains { path == $0 || path.hasPrefix($0 + "/") }
    }

    private func description() async throws -> JSON {
        let settings = try await Settings.load(environment: [:])
        return try JSON(parsing: try await Node.apiDescription(settings, logger: Logger(label: "test")))
    }

    private func asked() throws -> [(method: String, path: String)] {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../SchemaTests/contract-endpoints.json")
        let json = try JSON(parsing: String(contentsOf: file, encoding: .utf8))
        return try #require(json["endpoints"]?.array).map { pair in
            let words = pair.array?.compactMap(\.string) ?? []
            try #require(words.count == 2)
            return (words[0], words[1])
        }
    }

    @Test("all of this stage exist, and none of a later one unnoticed")
    func exist() async throws {
        let paths = try #require(try await description()["paths"]?.object)
        let asked = try asked()
        #expect(asked.count > 30)
        for (method, path) in asked {
            let exists = paths[path]?[method.lowercased()] != nil
            if Self.isLater(path) {
                #expect(!exists, "\(method) \(path) is here: take it off the list of later ones")
            } else {
                #expect(exists, "\(method) \(path) is missing")
            }
        }
        for path in paths.keys { #expect(!Self.isLater(path), "\(path) is here: take it off the list of later ones") }
        for path in Self.later { #expect(asked.contains { $0.path.hasPrefix(path) }, "nobody asks for \(path)") }
    }

    @Test("the description names every operation once and every reference leads somewhere")
    func operations() async throws {
        let document = try await description()
        #expect(document["openapi"]?.string?.hasPrefix("3.1") == true)
        let paths = try #require(document["paths"]?.object)
        let schemas = try #require(document["components"]?["schemas"]?.object)
        var operations: [String] = []
        for (path, item) in paths {
            for (method, operation) in try #require(item.object) where method != "parameters" {
                let id = try #require(operation["operationId"]?.string, "\(method) \(path) has no operationId")
                operations.append(id)
                #expect(operation["summary"]?.string?.isEmpty == false, "\(id)")
                #expect(operation["responses"]?.object?.isEmpty == false, "\(id)")
                let parameters = (item["parameters"]?.array ?? []) + (operation["parameters"]?.array ?? [])
                let inPath = parameters.filter { $0["in"]?.string == "path" }.compactMap { $0["name"]?.string }
                let braces = path.split(separator: "/").filter { $0.hasPrefix("{") }.map {
                    String($0.dropFirst().dropLast())
                }
                #expect(inPath.sorted() == braces.sorted(), "\(id)")
            }
        }
        #expect(Set(operations).count == operations.count, "\(operations.sorted())")
        for reference in references(in: document) {
            let parts = reference.split(separator: "/").map(String.init)
            #expect(parts.first == "#" && parts.count == 4, "\(reference)")
            #expect(document["components"]?[parts[2]]?[parts[3]] != nil, "\(reference) leads nowhere")
        }
        #expect(schemas["Problem"] != nil)
    }

    @Test("the served description is the same, and shows all that the node declares", arguments: TestDatabase.kinds)
    func served(on kind: TestDatabase.Kind) async throws {
        try await withApp(on: kind, roles: "http") { app in
            let reply = try await app.stranger.get("/api/v1/openapi.json")
            #expect(reply.status == 200)
            #expect(reply.headers["content-type"]?.hasPrefix("application/json") == true)
            let paths = try #require(reply.json["paths"]?.object)
            for endpoint in app.node.endpoints where endpoint.isListed {
                let operation = paths[endpoint.path]?[endpoint.method.rawValue.lowercased()]
                #expect(operation != nil, "\(endpoint.name)")
                #expect((operation?["security"] == nil) == endpoint.isAuthenticated, "\(endpoint.name)")
            }
            let printed = try await description()
            #expect(paths.keys == printed["paths"]?.object?.keys)
            let page = try await app.stranger.get("/docs")
            #expect(page.status == 200 && page.headers["content-type"]?.hasPrefix("text/html") == true)
        }
    }

    private func references(in json: JSON) -> [String] {
        switch json {
        case .array(let elements): elements.flatMap(references)
        case .object(let members):
            members.flatMap { key, value -> [String] in
                if key == "$ref", let text = value.string { [text] } else { references(in: value) }
            }
        default: []
        }
    }
}
