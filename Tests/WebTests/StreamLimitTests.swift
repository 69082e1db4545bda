import Kernel
import Synchronization
import TestKit
import Testing

@testable import Web

@Suite("Limits of streams", .timeLimit(.minutes(5)))
struct StreamLimitTests {
    /// A credential that changes while it is used.
    private final class Credential: Sendable {
        private let state = Mutex<Result<Principal, Problem>?>(nil)
        private let checks = Mutex(0)

        func become(_ principal: Principal) { state.withLock { $0 = .success(principal) } }
        func fail(with problem: Problem) { state.withLock { $0 = .failure(problem) } }
        var checked: Int { checks.withLock { $0 } }

        var authenticator: Authenticator {
            Authenticator { bearer, _ in
                self.checks.withLock { $0 += 1 }
                return try self.state.withLock { $0 }?.get() ?? TestCaller.principal(of: bearer.exposed)
            }
        }
    }

    private let events = [("Accept", "text/event-stream")]

    private func endpoint(
        _ produce: @escaping @Sendable (EventWriter) async throws -> Void
    ) -> Endpoint {
        Endpoint.organization(
            .get,
            "/events",
            "Events",
            permission: .channelsRead,
            responses: [.events("Some.")]
        ) { _ in .events(produce) }
    }

    /// A stream that says hello and then nothing.
    private func silent(_ started: Gate) -> Endpoint {
        endpoint { writer in
            try await writer.send(StreamEvent(data: "hello"))
            started.open()
            try await Task.sleep(for: .seconds(36_000))
        }
    }

    enum Loss: CaseIterable {
        case credential, permission, organization
    }

    @Test("a stream ends when its reader may no longer read it", arguments: Loss.allCases)
    func lost(_ loss: Loss) async throws {
        let started = Gate()
        let credential = Credential()
        try await withServer(
            [silent(started)],
            authenticator: credential.authenticator,
            configure: { $0.streamCheck = .milliseconds(10) }
        ) { server in
            async let streamed = server.get("/events", headers: events)
            try await started.pass()
            let before = try TestCaller.principal(of: "good")
            switch loss {
            case .credential: credential.fail(with: Problem(.unauthorized, "auth.invalid_token", "It was revoked."))
            case .permission:
                credential.become(
                    Principal(actor: before.actor, organization: before.organization, permissions: [.auditRead])
                )
            case .organization: credential.become(try TestCaller.principal(of: "other"))
            }
            #expect(try await streamed.text == "data: hello\n\n")
        }
    }

    @Test("a stream goes on while the credential cannot be checked")
    func unchecked() async throws {
        let started = Gate()
        let credential = Credential()
        let patient = endpoint { writer in
            started.open()
            while credential.checked < 4 { await Task.yield() }
            try await writer.send(StreamEvent(data: "still here"))
        }
        try await withServer(
            [patient],
            authenticator: credential.authenticator,
            configure: { $0.streamCheck = .milliseconds(10) }
        ) { server async throws in
            async let streamed = server.get("/events", headers: events)
            try await started.pass()
            credential.fail(with: Problem(.unavailable, "storage.unavailable", "The database is away."))
            #expect(try await streamed.text == "data: still here\n\n")
        }
    }

    @Test("a stream ends when it has been open for long, and its source is cancelled")
    func lifetime() async throws {
        let started = Gate()
        try await withServer([silent(started)], configure: { $0.streamLifetime = .milliseconds(50) }) { server in
            let streamed = try await server.get("/events", headers: events)
            #expect(streamed.status == 200)
            #expect(["", "data: hello\n\n"].contains(streamed.text), "an end like any other")
        }
    }

    @Test("a caller has a number of streams, and what would stream is refused before it does anything")
    func perActor() async throws {
        let started = Gate()
        let mayEnd = Gate()
        let held = endpoint { writer in
            try await writer.send(StreamEvent(data: "hello"))
            started.open()
            try await mayEnd.pass()
        }
        let runs = Mutex(0)
        let post = Endpoint.organization(
            .post,
            "/posts",
            "Post",
            permission: nil,
            responses: [.noContent, .events("Some.")]
        ) { call in
            runs.withLock { $0 += 1 }
            return call.acceptsEvents ? .events { _ in } : .noContent
        }
        try await withServer([held, post], configure: { $0.streamsPerActor = 1 }) { server in
            async let first = server.get("/events", headers: events)
            try await started.pass()
            let refused = try await server.send("POST", "/posts", headers: events)
            #expect(refused.status == 429)
            #expect(refused.code == "stream.too_many")
            #expect(refused.header("Retry-After") == "10")
            #expect(runs.withLock { $0 } == 0)
            #expect(try await server.send("POST", "/posts").status == 204, "what does not stream is not counted")
            #expect(try await server.get("/events").code == "stream.too_many", "a stream that nobody asked for is")
            mayEnd.open()
            #expect(try await first.text == "data: hello\n\n")
            // Its place is free soon after its end has been read.
            while try await server.send("POST", "/posts", headers: events).status == 429 {}
            #expect(runs.withLock { $0 } == 2)
        }
    }

    @Test("an organization has a number of streams")
    func perOrganization() throws {
        let streams = OpenStreams(perActor: 2, perOrganization: 3)
        func principal(_ number: UInt64, _ organization: ID<OrganizationEntity>) -> Principal {
            Principal(actor: Actor(ActorKind("user"), id: String(number)), organization: organization, permissions: [])
        }
        let ours = (TestCaller.organization, TestCaller.otherOrganization)
        let first = try streams.open(for: principal(1, ours.0))
        _ = try streams.open(for: principal(1, ours.0))
        #expect(throws: Problem.self) { try streams.open(for: principal(1, ours.0)) }
        _ = try streams.open(for: principal(2, ours.0))
        #expect(throws: Problem.self) { try streams.open(for: principal(2, ours.0)) }
        _ = try streams.open(for: principal(3, ours.1))
        streams.close(first)
        _ = try streams.open(for: principal(2, ours.0))
    }
}
