import Foundation
import Kernel
import Storage
import Testing
import Web

private struct PrivateError: Error { let secret = "hunter2" }

@Suite("Answers")
struct AnswerTests {
    private func server(
        _ response: @escaping @Sendable (OrganizationCall) async throws -> Response,
        verifies: Bool = false,
        _ body: (TestServer) async throws -> Void
    ) async throws {
        try await withServer(Things(create: response).endpoints, configure: { $0.verifiesResponses = verifies }, body)
    }

    @Test("a problem is a problem document with its headers")
    func problem() async throws {
        try await server({ _ in throw Problem(.conflict, "thing.busy", "It is busy.", retryAfterSeconds: 3) }) {
            server in
            let response = try await server.send(
                "POST",
                "/api/v1/things",
                #"{"name": "a"}"#,
                headers: [("X-Request-Id", "abc-1_2.3")]
            )
            #expect(response.status == 409)
            #expect(response.header("Retry-After") == "3")
            #expect(response.header("Cache-Control") == "no-store")
            #expect(response.header("X-Request-Id") == "abc-1_2.3")
            #expect(
                try response.json == [
                    "type": "/docs#problem-thing.busy", "title": "Conflict", "status": 409, "detail": "It is busy.",
                    "code": "thing.busy", "request_id": "abc-1_2.3",
                ]
            )
        }
    }

    @Test("any other error is an internal problem, logged by its type only")
    func internalError() async throws {
        try await server({ _ in throw PrivateError() }) { server in
            let response = try await server.post("/api/v1/things", #"{"name": "a"}"#)
            #expect(response.status == 500)
            #expect(response.code == "internal")
            #expect(!response.text.contains("hunter2"))
            #expect(server.logs.text.contains("PrivateError"))
            #expect(!server.logs.text.contains("hunter2"))
        }
        try await server({ _ in throw StorageError.database(code: "XX000", message: "hunter2") }) { server in
            let response = try await server.post("/api/v1/things", #"{"name": "a"}"#)
            #expect(response.status == 500)
            #expect(server.logs.text.contains("XX000"))
            #expect(!server.logs.text.contains("hunter2"))
        }
    }

    @Test(
        "request ids from outside are taken only when they are modest",
        arguments: ["", "a b", "ä", String(repeating: "a", count: 65)]
    )
    func requestIDs(_ id: String) async throws {
        try await withServer([]) { server in
            let response = try await server.get("/healthz", headers: [("X-Request-Id", id)])
            let own = try #require(response.header("X-Request-Id"))
            #expect(own != id)
            #expect(ID<Self>(own) != nil)
        }
    }

    @Test("every answer carries the security headers and a date")
    func securityHeaders() async throws {
        try await withServer([]) { server in
            for path in ["/healthz", "/nothing", "/docs"] {
                let begin = Date()
                let response = try await server.get(path)
                #expect(response.header("X-Content-Type-Options") == "nosniff")
                #expect(response.header("Referrer-Policy") == "no-referrer")
                #expect(response.header("X-Frame-Options") == "DENY")
                let date = try #require(response.header("Date"))
                let formatter = DateFormatter()
                formatter.locale = Locale(identifier: "en_US_POSIX")
                formatter.timeZone = TimeZone(identifier: "GMT")
                formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
                let time = try #require(formatter.date(from: date))
                #expect(time >= begin.addingTimeInterval(-2) && time <= Date())
                #expect(formatter.string(from: time) == date)
            }
        }
    }

    @Test("tags: 304 when it is known, 412 when another one is asked for")
    func tags() async throws {
        try await withServer(Things().endpoints) { server in
            let path = "/api/v1/things/\(ThingBody.sample.id)"
            let tag = try #require(try await server.get(path).header("ETag"))
            #expect(tag == "\"18bcfe56800\"")
            for known in [tag, "W/\(tag)", "\"x\", \(tag)", "*"] {
                let response = try await server.get(path, headers: [("If-None-Match", known)])
                #expect(response.status == 304)
                #expect(response.bytes.isEmpty)
                #expect(response.header("ETag") == tag)
            }
            #expect(try await server.get(path, headers: [("If-None-Match", "\"x\"")]).status == 200)
            for (condition, status) in [
                (tag, 200), ("*", 200), ("\"x\", \(tag)", 200), ("\"x\"", 412), ("W/\(tag)", 412),
            ] {
                let response = try await server.send("PATCH", path, "{}", headers: [("If-Match", condition)])
                #expect(response.status == status, "\(condition)")
                #expect(response.header("ETag") == tag)
            }
            #expect(try await server.send("PATCH", path, "{}").status == 200)
            let malformed = try await server.send("PATCH", path, "{}", headers: [("If-Match", "x")])
            #expect(malformed.errors == ["If-Match format"])
        }
    }

    @Test("large answers are compressed when the caller accepts it")
    func gzip() async throws {
        try await withServer(Things().endpoints) { server in
            let plain = try await server.get("/api/v1/things?limit=100")
            #expect(plain.header("Content-Encoding") == nil)
            #expect(plain.header("Vary") == "Accept-Encoding")
            for accept in ["gzip", "br;q=1, gzip;q=0.5", "*"] {
                let response = try await server.get("/api/v1/things?limit=100", headers: [("Accept-Encoding", accept)])
                #expect(response.header("Content-Encoding") == "gzip")
                #expect(response.bytes.starts(with: [0x1F, 0x8B]))
                #expect(response.bytes.count * 4 < plain.bytes.count)
                #expect(try gunzip(response.bytes) == plain.bytes)
            }
            for accept in ["gzip;q=0", "identity", "*;q=0"] {
                let response = try await server.get("/api/v1/things?limit=100", headers: [("Accept-Encoding", accept)])
                #expect(response.header("Content-Encoding") == nil)
            }
            let small = try await server.get("/api/v1/things?limit=1", headers: [("Accept-Encoding", "gzip")])
            #expect(small.header("Content-Encoding") == nil)
        }
    }

    private func gunzip(_ bytes: [UInt8]) throws -> [UInt8] {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/gzip")
        process.arguments = ["-dc"]
        let (input, output) = (Pipe(), Pipe())
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        try input.fileHandleForWriting.write(contentsOf: Data(bytes))
        try input.fileHandleForWriting.close()
        return Array(try output.fileHandleForReading.readToEnd() ?? Data())
    }

    @Test("an undeclared answer is found out in tests")
    func verification() async throws {
        try await server({ _ in .json { $0.value("no thing") } }, verifies: true) { server in
            let response = try await server.post("/api/v1/things", #"{"name": "a"}"#)
            #expect(response.code == "internal.undeclared_answer")
        }
        try await server({ _ in .created(ThingBody(id: ID(), name: "", updatedAt: .now()), at: "/x") }, verifies: true)
        { server in
            let response = try await server.post("/api/v1/things", #"{"name": "a"}"#)
            #expect(response.code == "internal.undeclared_answer")
            #expect(try response.json["detail"]?.string?.contains("/name") == true)
        }
    }

    @Test("CORS is off unless origins are allowed")
    func cors() async throws {
        let preflight = [("Origin", "https://app.example.com"), ("Access-Control-Request-Method", "POST")]
        try await withServer(Things().endpoints) { server in
            let response = try await server.send("OPTIONS", "/api/v1/things", token: nil, headers: preflight)
            #expect(response.header("Access-Control-Allow-Origin") == nil)
        }
        try await withServer(Things().endpoints, configure: { $0.allowedOrigins = ["https://app.example.com"] }) {
            server in
            let response = try await server.send("OPTIONS", "/api/v1/things", token: nil, headers: preflight)
            #expect(response.status == 204)
            #expect(response.header("Access-Control-Allow-Origin") == "https://app.example.com")
            #expect(response.header("Access-Control-Allow-Methods") == "GET, POST")
            #expect(response.header("Access-Control-Allow-Headers")?.contains("Idempotency-Key") == true)
            let get = try await server.get("/api/v1/things?limit=1", headers: [("Origin", "https://app.example.com")])
            #expect(get.header("Access-Control-Allow-Origin") == "https://app.example.com")
            let stranger = try await server.get("/api/v1/things?limit=1", headers: [("Origin", "https://evil.example")])
            #expect(stranger.header("Access-Control-Allow-Origin") == nil)
            #expect(stranger.header("Vary") == "Origin")
        }
    }
}
