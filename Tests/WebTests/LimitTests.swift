import Kernel
import TestKit
import Testing
import Web

@Suite("Limits")
struct LimitTests {
    @Test("a body over the limit is 413, announced or not")
    func tooLarge() async throws {
        try await withServer(Things().endpoints, configure: { $0.bodyLimit = 1_000 }) { server in
            let body = #"{"name": "a"}"# + String(repeating: " ", count: 2_000)
            let announced = try await server.post("/api/v1/things", body)
            #expect(announced.status == 413)
            #expect(announced.code == "request.too_large")
            #expect(announced.header("Connection") == "close")
            let chunk = String(repeating: "x", count: 0x400)
            let head =
                "POST /api/v1/things HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nContent-Type: application/json\r\n"
            let chunked = try await server.raw(
                head + "Transfer-Encoding: chunked\r\n\r\n400\r\n\(chunk)\r\n",
                then: "400\r\n\(chunk)\r\n"
            )
            #expect(chunked?.contains("413 ") == true, "and the connection is closed")
            #expect(try await server.post("/api/v1/things", #"{"name": "a"}"#).status == 204)
        }
    }

    @Test("a body that does not arrive is 408, and the connection ends")
    func slowBody() async throws {
        try await withServer(Things().endpoints, configure: { $0.bodyDeadline = .milliseconds(200) }) { server in
            let head =
                "POST /api/v1/things HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nContent-Type: application/json\r\n"
            let response = try await server.raw(head + "Content-Length: 100\r\n\r\n{\"name\"")
            let text = try #require(response, "the connection ends")
            #expect(text.hasPrefix("HTTP/1.1 408 "))
            #expect(text.contains("request.timeout"))
            #expect(try await server.get("/healthz").status == 200)
        }
    }

    @Test("a connection without a whole request head is closed after the idle timeout")
    func slowHead() async throws {
        try await withServer(Things().endpoints, configure: { $0.idleTimeout = .milliseconds(200) }) { server in
            for text in ["GET / HTTP/1.1\r\nHost:", ""] {
                let ending = try await server.raw(text)
                #expect(ending != nil)
            }
        }
    }

    @Test("a caller who broke off is no error")
    func brokenOff() async throws {
        try await withServer(Things().endpoints) { server in
            let head =
                "POST /api/v1/things HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nContent-Type: application/json\r\n"
            _ = try await server.raw(head + "Content-Length: 100\r\n\r\n{", patience: .milliseconds(100))
            #expect(try await server.get("/healthz").status == 200)
            #expect(!server.logs.text.contains("request failed"))
        }
    }

    @Test("Expect: 100-continue is answered before the body is read")
    func expectContinue() async throws {
        try await withServer(Things().endpoints) { server in
            let head =
                "POST /api/v1/things HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nContent-Type: application/json\r\n"
            let response = try await server.raw(
                head + "Expect: 100-continue\r\nConnection: close\r\nContent-Length: 13\r\n\r\n",
                then: #"{"name": "a"}"#
            )
            #expect(response?.hasPrefix("HTTP/1.1 100 ") == true)
            #expect(response?.contains("HTTP/1.1 204 ") == true)
        }
    }

    @Test("each caller has a share, and is told when more is to be had")
    func rates() async throws {
        try await withServer(Things().endpoints, configure: { $0.apiRate = .init(3, per: .seconds(60)) }) { server in
            for remaining in [2, 1, 0] {
                let response = try await server.get("/api/v1/things/special")
                #expect(response.status == 200)
                #expect(response.header("RateLimit-Limit") == "3")
                #expect(response.header("RateLimit-Remaining") == "\(remaining)")
            }
            let response = try await server.get("/api/v1/things/special")
            #expect(response.status == 429)
            #expect(response.code == "rate_limit.exceeded")
            #expect(response.header("Retry-After").flatMap { Int($0) }.map { (1...20).contains($0) } == true)
            #expect(response.header("RateLimit-Remaining") == "0")
            #expect(try await server.get("/healthz").status == 200, "health is not counted")
        }
    }

    @Test("guesses at credentials are counted by client address, behind trusted proxies too")
    func authenticationRate() async throws {
        let endpoint = Endpoint.public(.post, "/login", "Sign in", responses: [.noContent], rateLimit: .authentication)
        {
            _ in .noContent
        }
        func attempts(_ server: TestServer, from address: String) async throws -> [Int] {
            var statuses: [Int] = []
            for _ in 0..<3 {
                statuses.append(try await server.send("POST", "/login", headers: [("X-Forwarded-For", address)]).status)
            }
            return statuses
        }
        try await withServer([endpoint], configure: { $0.authenticationRate = .init(2, per: .seconds(60)) }) { server in
            let first = try await attempts(server, from: "10.0.0.1")
            #expect(first == [204, 204, 429])
            let other = try await attempts(server, from: "10.0.0.2")
            #expect(other == [429, 429, 429], "nobody believes the header")
        }
        try await withServer(
            [endpoint],
            configure: {
                $0.authenticationRate = .init(2, per: .seconds(60))
                $0.trustedProxies = [AddressBlock("127.0.0.0/8")].compactMap(\.self)
            }
        ) { server in
            let first = try await attempts(server, from: "10.0.0.1")
            #expect(first == [204, 204, 429])
            let other = try await attempts(server, from: "9.9.9.9, 10.0.0.2")
            #expect(other == [204, 204, 429])
            let liar = try await attempts(server, from: "8.8.8.8, 10.0.0.2")
            #expect(liar == [429, 429, 429], "the proxy's own word counts")
        }
    }

    @Test("buckets refill evenly, and memory is bounded")
    func buckets() {
        let clock = InstantClock()
        let limiter = RateLimiter<Int>(4, per: .seconds(4), capacity: 10, now: { clock.now })
        for remaining in [3, 2, 1, 0] {
            let decision = limiter.take(1)
            #expect(decision.isAllowed)
            #expect(decision.remaining == remaining)
        }
        #expect(!limiter.take(1).isAllowed)
        #expect(limiter.take(1).retryAfterSeconds == 1)
        clock.advance(by: .milliseconds(999))
        #expect(!limiter.take(1).isAllowed)
        clock.advance(by: .milliseconds(1))
        #expect(limiter.take(1).isAllowed)
        #expect(!limiter.take(1).isAllowed)
        clock.advance(by: .seconds(3_600))
        #expect(limiter.take(1).remaining == 3)
        for key in 0..<1_000 { _ = limiter.take(key) }
        #expect(limiter.count <= 10)
    }
}
