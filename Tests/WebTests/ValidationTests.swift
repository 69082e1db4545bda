import Kernel
import NIOCore
import Testing
import Web

@Suite("Validation")
struct ValidationTests {
    @Test(
        "every bad query parameter is named",
        arguments: [
            ("limit=0", ["?limit out_of_range"]), ("limit=x", ["?limit type"]), ("limit=", ["?limit type"]),
            ("limit=1&limit=2", ["?limit not_allowed"]), ("kind=huge", ["?kind not_allowed"]),
            ("limit=101&kind=huge&other=1", ["?limit out_of_range", "?kind not_allowed", "?other unknown_field"]),
            ("cursor=abc", ["?cursor too_short"]),
            ("cursor=ffffffffffffffffffffffffffffffffffffffffffffffff", ["?cursor format"]),
            ("limit=99999999999999999999999999", ["?limit out_of_range"]), ("limit=1e400", ["?limit type"]),
        ]
    )
    func query(_ query: String, _ errors: [String]) async throws {
        try await withServer(Things().endpoints) { server in
            let response = try await server.get("/api/v1/things?\(query)")
            #expect(response.status == 400)
            #expect(response.code == "request.invalid")
            #expect(response.errors == errors)
        }
    }

    @Test(
        "queries that cannot be decoded are 400",
        arguments: ["kind=%", "kind=%00", "kind=%ff", "%00=1", "kind=%e2%28%a1"]
    )
    func malformedQuery(_ query: String) async throws {
        try await withServer(Things().endpoints) { server in
            let head = "Host: x\r\nAuthorization: Bearer good\r\nConnection: close\r\n\r\n"
            let response = try await server.raw("GET /api/v1/things?\(query) HTTP/1.1\r\n\(head)")
            #expect(response?.hasPrefix("HTTP/1.1 400 ") == true)
            #expect(response?.contains("request.malformed") == true)
        }
    }

    @Test("good queries reach the handler, defaults included")
    func goodQuery() async throws {
        try await withServer(Things().endpoints) { server async throws in
            #expect(try await server.get("/api/v1/things").json["data"]?.array?.count == 20)
            #expect(try await server.get("/api/v1/things?limit=3&&kind=b%69g&").json["data"]?.array?.count == 3)
            let cursor = Cursor(time: ThingBody.sample.updatedAt, id: ThingBody.sample.id).text
            #expect(try await server.get("/api/v1/things?cursor=\(cursor)").json["next_cursor"]?.string == cursor)
        }
    }

    @Test(
        "bodies that do not fit are 400 and say all that is wrong",
        arguments: [
            ("", nil), ("{", nil), ("[1,]", nil), (#"{"name": "a", "name": "b"}"#, nil), (#"{"name": "\u0000"}"#, nil),
            (#"{"name": 1e999}"#, nil), ("null", [" type"]), ("[]", [" type"]), ("{}", ["/name required"]),
            (
                #"{"name": "", "size": 10, "other": 1}"#,
                ["/name too_short", "/size out_of_range", "/other unknown_field"]
            ),
            (#"{"name": "a", "size": 1.5}"#, ["/size type"]),
        ] as [(String, [String]?)]
    )
    func body(_ text: String, _ errors: [String]?) async throws {
        try await withServer(Things().endpoints) { server in
            let response = try await server.post("/api/v1/things", text)
            #expect(response.status == 400)
            #expect(response.code == (errors == nil ? "request.malformed" : "request.invalid"))
            if let errors { #expect(Set(response.errors) == Set(errors)) }
        }
    }

    @Test("malformed JSON is answered with line and column")
    func position() async throws {
        try await withServer(Things().endpoints) { server in
            let response = try await server.post("/api/v1/things", "{\n  \"name\": }")
            #expect(try response.json["detail"]?.string?.contains("line 2, column 11") == true)
        }
    }

    @Test("invalid UTF-8 in a body is 400")
    func invalidUTF8() async throws {
        try await withServer(Things().endpoints) { server in
            let head = "POST /api/v1/things HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nConnection: close\r\n"
            let body: [UInt8] = Array("{\"name\": \"".utf8) + [0x80] + Array("\"}".utf8)
            let type = "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n\r\n"
            let response = try await server.raw([ByteBuffer(string: head + type), ByteBuffer(bytes: body)])
            #expect(response?.hasPrefix("HTTP/1.1 400 ") == true)
        }
    }

    @Test(
        "a media type that is not offered is 415",
        arguments: ["text/plain", "application/xml", "application/json2", ""]
    )
    func mediaType(_ type: String) async throws {
        try await withServer(Things().endpoints) { server in
            let response = try await server.send(
                "POST",
                "/api/v1/things",
                #"{"name": "a"}"#,
                headers: [("Content-Type", type)]
            )
            #expect(response.status == 415)
            #expect(response.code == "request.unsupported_media_type")
            let encoded = try await server.send(
                "POST",
                "/api/v1/things",
                #"{"name": "a"}"#,
                headers: [("Content-Type", "Application/JSON; charset=utf-8"), ("Content-Encoding", "gzip")]
            )
            #expect(encoded.status == 415)
            let good = try await server.send(
                "POST",
                "/api/v1/things",
                #"{"name": "a"}"#,
                headers: [("Content-Type", "Application/JSON; charset=utf-8")]
            )
            #expect(good.status == 204)
        }
    }

    @Test("a GET may have a body; nobody reads it")
    func bodyOfGet() async throws {
        try await withServer(Things().endpoints) { server async throws in
            #expect(try await server.send("GET", "/api/v1/things?limit=1", "not json").status == 200)
        }
    }
}
