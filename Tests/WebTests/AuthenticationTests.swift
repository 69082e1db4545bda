import Kernel
import Testing
import Web

@Suite("Authentication")
struct AuthenticationTests {
    @Test(
        "without a bearer token the answer is 401 and says how to authenticate",
        arguments: [nil, "Basic YTpi", "Bearer", "Bearer "]
    )
    func missing(header: String?) async throws {
        try await withServer(Things().endpoints) { server in
            let response = try await server.get(
                "/api/v1/things?nonsense=1",
                token: nil,
                headers: header.map { [("Authorization", $0)] } ?? []
            )
            #expect(response.status == 401)
            #expect(response.code == "auth.required")
            #expect(response.header("WWW-Authenticate") == "Bearer")
        }
    }

    @Test("a token that is not good is 401")
    func invalid() async throws {
        try await withServer(Things().endpoints) { server in
            let response = try await server.get("/api/v1/things", token: "bad")
            #expect(response.status == 401)
            #expect(response.code == "auth.invalid_token")
            #expect(response.header("WWW-Authenticate") == "Bearer error=\"invalid_token\"")
            #expect(
                try await server.get("/api/v1/things", token: nil, headers: [("Authorization", "bEARER good")]).status
                    == 200
            )
        }
    }

    @Test("a missing permission is 403 and names it")
    func forbidden() async throws {
        try await withServer(Things().endpoints) { server in
            #expect(try await server.get("/api/v1/things", token: "reader").status == 200)
            let response = try await server.post("/api/v1/things", "{}", token: "reader")
            #expect(response.status == 403)
            #expect(response.code == "auth.forbidden")
            #expect(try response.json["detail"]?.string?.contains("channels:write") == true)
        }
    }
}
