import Kernel
import Testing
import Web

@Suite("API description")
struct DescriptionTests {
    @Test("OpenAPI says what the server does")
    func openAPI() async throws {
        try await withServer(Things().endpoints) { server in
            let response = try await server.get("/api/v1/openapi.json", token: nil)
            #expect(response.status == 200)
            let document = try response.json
            #expect(document["openapi"]?.string == "3.1.0")
            let paths = try #require(document["paths"]?.object)
            #expect(
                paths.keys.sorted() == [
                    "/api/v1/things", "/api/v1/things/special", "/api/v1/things/{id}",
                    "/api/v1/things/{id}/parts/{part}",
                ]
            )
            let create = try #require(document["paths"]?["/api/v1/things"]?["post"])
            #expect(create["operationId"]?.string == "postThings")
            #expect(
                create["responses"]?.object?.keys.sorted() == [
                    "201", "204", "400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "500", "503",
                    "507",
                ]
            )
            #expect(create["parameters"]?.array?.compactMap { $0["name"]?.string } == ["Idempotency-Key"])
            let change = try #require(document["paths"]?["/api/v1/things/{id}"]?["patch"])
            #expect(change["operationId"]?.string == "patchThingsById")
            #expect(change["parameters"]?.array?.compactMap { $0["name"]?.string } == ["id", "If-Match"])
            #expect(change["responses"]?["412"] != nil)
            #expect(document["components"]?["schemas"]?["Thing"] != nil)
            #expect(document["components"]?["schemas"]?["Problem"] != nil)
            let list = try #require(document["paths"]?["/api/v1/things"]?["get"])
            #expect(
                list["parameters"]?.array?.compactMap { $0["name"]?.string }.prefix(3) == ["limit", "cursor", "kind"]
            )
        }
    }

    @Test("operation ids are unique")
    func operationIDs() async throws {
        try await withServer(Things().endpoints) { server in
            let paths = try await server.get("/api/v1/openapi.json").json["paths"]?.object ?? [:]
            let ids = paths.flatMap { $0.value.object.map { $0.map { $0.value["operationId"]?.string ?? "" } } ?? [] }
            #expect(Set(ids).count == ids.count)
        }
    }

    @Test("the description is answered with 304 to those who have it")
    func cached() async throws {
        try await withServer(Things().endpoints) { server async throws in
            let tag = try #require(try await server.get("/api/v1/openapi.json").header("ETag"))
            #expect(try await server.get("/api/v1/openapi.json", headers: [("If-None-Match", tag)]).status == 304)
        }
    }

    @Test("the reference shows every endpoint, and needs nothing from elsewhere")
    func reference() async throws {
        try await withServer(Things().endpoints) { server in
            let page = try await server.get("/docs", token: nil)
            #expect(page.header("Content-Type") == "text/html; charset=utf-8")
            #expect(page.header("Content-Security-Policy")?.hasPrefix("default-src 'none'; style-src 'self'") == true)
            for words in ["List things", "postThings", "channels:write", "problem-rate_limit.exceeded", "curl"] {
                #expect(page.text.contains(words))
            }
            #expect(!page.text.contains("<script"))
            #expect(!page.text.contains("style=\""))
            #expect(!page.text.contains("src=\"http"))
            let style = try await server.get("/docs/style.css", token: nil)
            #expect(style.header("Content-Type") == "text/css; charset=utf-8")
        }
    }
}
