import Kernel
import Testing
import Web

@Suite("Routing")
struct RoutingTests {
    @Test("a path that does not exist is 404, a method that a path lacks 405 with Allow")
    func unknown() async throws {
        try await withServer(Things().endpoints) { server in
            let missing = try await server.get("/api/v1/nothing")
            #expect(missing.status == 404)
            #expect(missing.code == "route.not_found")
            #expect(try await server.get("/api/v1/things/").status == 404)
            let method = try await server.send("PUT", "/api/v1/things")
            #expect(method.status == 405)
            #expect(method.code == "route.method_not_allowed")
            #expect(method.header("Allow") == "GET, POST, HEAD, OPTIONS")
            #expect(try await server.send("TRACE", "/api/v1/things").status == 405)
            let options = try await server.send("OPTIONS", "/api/v1/things", token: nil)
            #expect(options.status == 204)
            #expect(options.header("Allow") == "GET, POST, HEAD, OPTIONS")
        }
    }

    @Test("words go before parameters, and a path parameter is decoded")
    func matching() async throws {
        try await withServer(Things().endpoints) { server in
            #expect(try await server.get("/api/v1/things/special").status == 200)
            #expect(try await server.get("/api/v1/things/other").code == "thing.not_found")
            #expect(try await server.get("/api/v1/things/\(ThingBody.sample.id)").status == 200)
            #expect(
                try await server.get("/api/v1/things/\(ThingBody.sample.id.description.uppercased())").status == 200
            )
            let parts = try await server.send("POST", "/api/v1/things/special/parts/a%2Fb%20%C3%A7+")
            #expect(try parts.json == ["special", "a/b ç+"])
        }
    }

    @Test("paths that cannot be decoded are 400", arguments: ["%", "%zz", "a%4", "%ff%fe", "a%00b"])
    func malformed(segment: String) async throws {
        try await withServer(Things().endpoints) { server in
            let response = try await server.raw(
                "GET /api/v1/things/\(segment) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            let text = try #require(response)
            #expect(text.hasPrefix("HTTP/1.1 400 "))
            #expect(text.contains("request.malformed"))
        }
    }

    @Test("HEAD answers like GET, without the body")
    func head() async throws {
        try await withServer(Things().endpoints) { server in
            let path = "/api/v1/things/\(ThingBody.sample.id)"
            let get = try await server.get(path)
            let head = try await server.send("HEAD", path)
            #expect(head.status == 200)
            #expect(head.bytes.isEmpty)
            #expect(head.header("Content-Length") == get.header("Content-Length"))
            #expect(head.header("ETag") == get.header("ETag"))
        }
    }

    @Test("an absolute request target is understood")
    func absoluteTarget() async throws {
        try await withServer(Things().endpoints) { server in
            let response = try await server.raw(
                "GET http://example.com/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            #expect(response?.hasPrefix("HTTP/1.1 200 ") == true)
        }
    }

    @Test("two endpoints for one method and path are refused at the start")
    func duplicates() async throws {
        await #expect(throws: (any Error).self) {
            try await withServer(Things().endpoints + Things().endpoints) { _ in }
        }
    }

    @Test("broken HTTP is 400 and closes, and the server goes on")
    func brokenHTTP() async throws {
        try await withServer(Things().endpoints) { server async throws in
            for nonsense in ["\u{16}\u{3}\u{1}nonsense\r\n\r\n", "FOO / HTTP/1.1\r\nHost: x\r\n\r\n"] {
                let response = try await server.raw(nonsense)
                #expect(response?.hasPrefix("HTTP/1.1 400 ") == true)
                #expect(response?.contains("application/problem+json") == true)
                #expect(response?.contains(#""code":"request.malformed""#) == true)
            }
            let large = String(repeating: "a", count: 100_000)
            #expect(try await server.raw("GET / HTTP/1.1\r\nHost: x\r\nX-Large: \(large)\r\n\r\n") != nil)
            #expect(try await server.get("/healthz").status == 200)
        }
    }
}
