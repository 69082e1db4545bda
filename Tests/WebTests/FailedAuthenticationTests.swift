import Kernel
import Synchronization
import TestKit
import Testing

@testable import Web

@Suite("Failed authentications and shares of organizations")
struct FailedAuthenticationTests {
    private let path = "/api/v1/things/special"

    @Test("an address that fails too often waits; credentials that were good from there go on, other addresses too")
    func failures() async throws {
        let checks = Mutex(0)
        let authenticator = Authenticator(isLookedUp: { !$0.exposed.hasPrefix("signed") }) { bearer, _ in
            checks.withLock { $0 += 1 }
            return try TestCaller.principal(of: bearer.exposed)
        }
        try await withServer(
            Things().endpoints,
            authenticator: authenticator,
            configure: {
                $0.failedAuthenticationRate = .init(3, per: .seconds(3_600))
                $0.trustedProxies = [AddressBlock("127.0.0.0/8")].compactMap(\.self)
            }
        ) { server in
            func status(_ token: String?, from address: String = "9.0.0.1") async throws -> Int {
                try await server.get(path, token: token, headers: [("X-Forwarded-For", address)]).status
            }
            #expect(try await status("good") == 200)
            // What needs no look-up is no guess.
            for token in [nil, "signed", nil, "signed"] { #expect(try await status(token) == 401) }
            for token in ["bad", "worse", "worst"] { #expect(try await status(token) == 401) }
            let before = checks.withLock { $0 }
            let refused = try await server.get(path, token: "bad", headers: [("X-Forwarded-For", "9.0.0.1")])
            #expect(refused.status == 429)
            #expect(refused.code == "rate_limit.exceeded")
            #expect(refused.header("Retry-After").flatMap { Int($0) }.map { (1...1_200).contains($0) } == true)
            #expect(try await status("reader") == 429, "new to the address, so like a guess")
            #expect(checks.withLock { $0 } == before, "none of them was looked at")
            #expect(try await status("good") == 200)
            for token in [nil, "signed"] { #expect(try await status(token) == 401) }
            #expect(try await status("reader", from: "9.0.0.2") == 200)
            #expect(try await status("bad", from: "9.0.0.2") == 401)
        }
    }

    @Test("good credentials use up nothing, and without the limit nothing is counted")
    func unlimited() async throws {
        try await withServer(
            Things().endpoints,
            configure: { $0.failedAuthenticationRate = .init(1, per: .seconds(3_600)) }
        ) { server async throws in
            for token in ["good", "reader", "other", "good"] {
                #expect(try await server.get(path, token: token).status == 200)
            }
            #expect(try await server.get(path, token: "bad").status == 401)
            #expect(try await server.get(path, token: "bad").status == 429)
        }
        try await withServer(
            Things().endpoints,
            configure: { $0.failedAuthenticationRate = nil }
        ) { server async throws in
            for _ in 0..<5 { #expect(try await server.get(path, token: "bad").status == 401) }
        }
    }

    @Test("a credential that is good no longer is like any other, and memory is bounded")
    func known() {
        let clock = InstantClock()
        let failures = FailedAuthentications(.init(2, per: .seconds(60)), capacity: 10, now: { clock.now })
        let address = ClientAddress(high: 1, low: 0)
        let attempt = FailedAuthentications.CredentialAttempt(Secret("a"), from: address)
        let other = FailedAuthentications.CredentialAttempt(Secret("b"), from: address)
        #expect(!failures.knows(attempt))
        failures.succeeded(attempt)
        #expect(failures.knows(attempt))
        #expect(!failures.knows(other))
        #expect(!failures.knows(FailedAuthentications.CredentialAttempt(Secret("a"), from: nil)))
        #expect(failures.secondsToWait(other) == nil)
        failures.failed(other)
        #expect(failures.secondsToWait(other) == nil)
        failures.failed(attempt)
        #expect(!failures.knows(attempt))
        #expect(failures.secondsToWait(attempt) == 30)
        clock.advance(by: .seconds(30))
        #expect(failures.secondsToWait(attempt) == nil)
        for number in 0..<1_000 {
            failures.succeeded(FailedAuthentications.CredentialAttempt(Secret("\(number)"), from: address))
        }
        #expect(failures.count <= 10)
        #expect(failures.knows(FailedAuthentications.CredentialAttempt(Secret("999"), from: address)))
    }

    @Test("all callers of an organization share a bucket, which is nobody else's")
    func organizations() async throws {
        try await withServer(
            Things().endpoints,
            configure: {
                $0.apiRate = .init(100, per: .seconds(3_600))
                $0.organizationRate = .init(3, per: .seconds(3_600))
            }
        ) { server in
            for token in ["good", "reader", "good"] {
                let response = try await server.get(path, token: token)
                #expect(response.status == 200)
                #expect(response.header("RateLimit-Limit") == "100")
            }
            let refused = try await server.get(path, token: "reader")
            #expect(refused.status == 429)
            #expect(refused.header("RateLimit-Limit") == "3", "what is used up is told")
            #expect(try await server.get(path, token: "other").status == 200)
        }
    }
}
