import Kernel
import NIOCore
import Schema
import Storage
import Synchronization
import TestKit
import Testing
import Web

@Suite("Idempotency keys")
struct IdempotencyTests {
    /// A handler that counts its effects as contacts of the organization, and a clock for the keys.
    private final class Probe: Sendable {
        let database: any Database
        let runs = Mutex(0)
        let time = Mutex(Timestamp.now())
        let answer: @Sendable (_ run: Int, OrganizationCall) async throws -> Response

        init(_ database: any Database, answer: @escaping @Sendable (Int, OrganizationCall) async throws -> Response) {
            self.database = database
            self.answer = answer
        }

        var now: Timestamp { time.withLock { $0 } }

        func advance(by duration: Duration) { time.withLock { $0 = $0 + duration } }

        func create(_ call: OrganizationCall) async throws -> Response {
            let run = runs.withLock { runs in
                runs += 1
                return runs
            }
            return try await answer(run, call)
        }

        /// Adds one row with the claim of the call, as services do.
        func effect(_ call: OrganizationCall) async throws {
            let (id, now, scope) = (ID<Probe>(), Timestamp.now(), call.scope)
            try await database.write(scope) { tx in
                try tx.run(
                    """
                    INSERT INTO contacts (id, organization_id, metadata, created_at, updated_at)
                    VALUES (\(id), \(scope.id), '{}', \(now), \(now))
                    """
                )
            }
        }

        func effects() async throws -> Int {
            let scope = OrganizationScope.authenticated(TestCaller.organization, as: .system)
            return try await database.read(scope) { tx in
                try tx.value("SELECT count(*) FROM contacts WHERE organization_id = \(scope.id)") ?? 0
            }
        }
    }

    private static func created(_ name: String) -> Response {
        .created(
            ThingBody(id: ThingBody.sample.id, name: name, updatedAt: ThingBody.sample.updatedAt),
            at: "/api/v1/things/1",
            tag: EntityTag(ThingBody.sample.updatedAt)
        )
    }

    private func withProbe(
        on kind: TestDatabase.Kind,
        answer: @escaping @Sendable (Probe, Int, OrganizationCall) async throws -> Response,
        _ body: (TestServer, Probe, IdempotencyKeys) async throws -> Void
    ) async throws {
        try await withDatabase(on: kind, migrations: ProductSchema.migrations) { database in
            for (organization, slug) in [(TestCaller.organization, "one"), (TestCaller.otherOrganization, "two")] {
                let (scope, now) = (OrganizationScope.authenticated(organization, as: .system), Timestamp.now())
                try await database.write(scope) { tx in
                    try tx.run(
                        """
                        INSERT INTO organizations (id, name, slug, settings, created_at, updated_at)
                        VALUES (\(organization), \(slug), \(slug), '{}', \(now), \(now))
                        """
                    )
                }
            }
            let holder = Mutex<Probe?>(nil)
            let probe = Probe(database) { run, call in
                guard let probe = holder.withLock({ $0 }) else { throw CancellationError() }
                return try await answer(probe, run, call)
            }
            holder.withLock { $0 = probe }
            let keys = IdempotencyKeys(
                database: database,
                secretKey: Secret("a key of the server"),
                now: { probe.time.withLock { $0 } }
            )
            try await withServer(Things(create: probe.create).endpoints, idempotency: keys) { server in
                try await body(server, probe, keys)
            }
            holder.withLock { $0 = nil }
        }
    }

    private let path = "/api/v1/things"
    private let body = #"{"name": "a"}"#

    @Test("the same request again is answered the same way, and done once", arguments: TestDatabase.kinds)
    func replay(on kind: TestDatabase.Kind) async throws {
        try await withProbe(on: kind) { probe, run, call in
            try await probe.effect(call)
            return Self.created("run \(run)")
        } _: { server, probe, _ in
            let first = try await server.post(path, body, key: "k1")
            #expect(first.status == 201)
            #expect(first.header("Idempotency-Replayed") == nil)
            let again = try await server.post(path, body, key: "k1")
            #expect(again.status == 201)
            #expect(again.header("Idempotency-Replayed") == "true")
            #expect(again.bytes == first.bytes)
            for name in ["Location", "ETag", "Content-Type"] { #expect(again.header(name) == first.header(name)) }
            #expect(try await server.post(path, body, key: "k2").text.contains("run 2"))
            #expect(try await server.post(path, body).text.contains("run 3"), "without a key nothing is kept")
            #expect(try await probe.effects() == 3)
        }
    }

    @Test("another request with the key is refused, another caller's is its own", arguments: TestDatabase.kinds)
    func reuse(on kind: TestDatabase.Kind) async throws {
        try await withProbe(on: kind) { _, run, _ in
            Self.created("run \(run)")
        } _: { server, _, _ in
            #expect(try await server.post(path, body, key: "k").status == 201)
            let other = try await server.post(path, #"{"name": "b"}"#, key: "k")
            #expect(other.status == 422)
            #expect(other.code == "idempotency.key_reused")
            let stranger = try await server.post(path, #"{"name": "b"}"#, key: "k", token: "other")
            #expect(stranger.text.contains("run 2"))
        }
    }

    @Test("keys must be modest", arguments: ["", "a b", "ä", String(repeating: "k", count: 256)])
    func badKeys(_ key: String) async throws {
        try await withServer(Things().endpoints) { server in
            let response = try await server.post(path, body, key: key)
            #expect(response.status == 400)
            #expect(response.errors == ["Idempotency-Key format"])
        }
    }

    @Test("where nobody is authenticated a key is refused, and where repeating does no harm it is not read")
    func notOffered() async throws {
        let endpoints = [
            Endpoint.public(.post, "/public", "Sign up", responses: [.noContent]) { _ in .noContent },
            Endpoint.public(.get, "/public", "Read", responses: [.noContent]) { _ in .noContent },
            Endpoint.organization(
                .post,
                "/search",
                "Search",
                permission: nil,
                responses: [.noContent],
                idempotent: false
            ) { _ in .noContent },
        ]
        try await withServer(endpoints) { server in
            let refused = try await server.post("/public", "", key: "k")
            #expect(refused.status == 400)
            #expect(refused.code == "request.invalid")
            #expect(refused.errors == ["Idempotency-Key not_allowed"])
            #expect(try await server.post("/public", "").status == 204)
            #expect(try await server.get("/public", headers: [("Idempotency-Key", "k")]).status == 204)
            #expect(try await server.post("/search", "", key: "k").status == 204)
        }
    }

    @Test("requests that meet run once; the others are told to wait", arguments: TestDatabase.kinds)
    func race(on kind: TestDatabase.Kind) async throws {
        let othersAreAnswered = Gate()
        try await withProbe(on: kind) { probe, run, call in
            try await probe.effect(call)
            try await othersAreAnswered.pass()
            return Self.created("run \(run)")
        } _: { server, probe, _ in
            let responses = try await withThrowingTaskGroup(of: TestServer.TestResponse.self) { group in
                for _ in 0..<8 { group.addTask { try await server.post(path, body, key: "k") } }
                return try await group.reduce(into: [TestServer.TestResponse]()) { responses, response in
                    responses.append(response)
                    if responses.count == 7 { othersAreAnswered.open() }
                }
            }
            #expect(responses.filter { $0.status == 201 && $0.header("Idempotency-Replayed") == nil }.count == 1)
            for response in responses where response.status != 201 {
                #expect(response.code == "idempotency.in_flight")
                #expect(response.header("Retry-After") == "1")
            }
            #expect(try await probe.effects() == 1)
            #expect(try await server.post(path, body, key: "k").header("Idempotency-Replayed") == "true")
        }
    }

    @Test(
        "problems that say nothing about the next try are not kept, others are",
        arguments: TestDatabase.kinds,
        [Problem.Status.internalError, .conflict, .tooManyRequests, .notFound, .unprocessable]
    )
    func problems(on kind: TestDatabase.Kind, _ status: Problem.Status) async throws {
        try await withProbe(on: kind) { _, run, _ in
            if run == 1 { throw Problem(status, "thing.wrong", "It went wrong.") }
            return Self.created("run \(run)")
        } _: { server, _, _ in
            let isKept = status == .notFound || status == .unprocessable
            _ = try await server.post(path, body, key: "k")
            let again = try await server.post(path, body, key: "k")
            #expect((again.header("Idempotency-Replayed") == "true") == isKept)
            #expect((again.status == 201) == !isKept)
        }
    }

    @Test("a request that failed after its change is not run again", arguments: TestDatabase.kinds)
    func responseLost(on kind: TestDatabase.Kind) async throws {
        try await withProbe(on: kind) { probe, _, call in
            try await probe.effect(call)
            throw Problem(.internalError, "internal", "It went wrong afterwards.")
        } _: { server, probe, _ in
            #expect(try await server.post(path, body, key: "k").status == 500)
            let again = try await server.post(path, body, key: "k")
            #expect(again.status == 409)
            #expect(again.code == "idempotency.response_lost")
            #expect(try await probe.effects() == 1)
        }
    }

    @Test("a claim whose request died is taken over when its lease is over", arguments: TestDatabase.kinds)
    func takeover(on kind: TestDatabase.Kind) async throws {
        let started = Gate()
        let mayEnd = Gate()
        try await withProbe(on: kind) { _, run, _ in
            if run == 1 {
                started.open()
                try await mayEnd.pass()
            }
            return Self.created("run \(run)")
        } _: { server, probe, _ in
            async let dead = server.post(path, body, key: "k")
            try await started.pass()
            #expect(try await server.post(path, body, key: "k").code == "idempotency.in_flight")
            probe.advance(by: IdempotencyKeys.lease)
            #expect(try await server.post(path, body, key: "k").text.contains("run 2"))
            mayEnd.open()
            #expect(try await dead.text.contains("run 1"))
            let again = try await server.post(path, body, key: "k")
            #expect(again.text.contains("run 2"), "the late one does not replace the answer")
        }
    }

    @Test("answers are kept for a day, sealed, and then deleted", arguments: TestDatabase.kinds)
    func expiry(on kind: TestDatabase.Kind) async throws {
        try await withProbe(on: kind) { _, run, _ in
            Self.created("run \(run)")
        } _: { server, probe, keys in
            #expect(try await server.post(path, body, key: "k").text.contains("run 1"))
            let scope = OrganizationScope.authenticated(TestCaller.organization, as: .system)
            let kept = try await probe.database.read(scope) { tx in
                try tx.value(
                    "SELECT response_body FROM idempotency_keys WHERE organization_id = \(scope.id)",
                    as: [UInt8].self
                )
            }
            #expect(!String(decoding: try #require(kept), as: UTF8.self).contains("run 1"))
            #expect(try await IdempotencyKeys.purge.run(probe.database, probe.now) == 0)
            probe.advance(by: IdempotencyKeys.retention)
            #expect(try await server.post(path, body, key: "k").text.contains("run 2"), "expired keys are free")
            probe.advance(by: IdempotencyKeys.retention)
            #expect(try await IdempotencyKeys.purge.run(probe.database, probe.now) == 1)
        }
    }

    @Test("a stream is replayed as the buffered answer that it names, or not at all", arguments: TestDatabase.kinds)
    func streams(on kind: TestDatabase.Kind) async throws {
        try await withDatabase(on: kind, migrations: ProductSchema.migrations) { database in
            let (scope, now) = (OrganizationScope.authenticated(TestCaller.organization, as: .system), Timestamp.now())
            try await database.write(scope) { tx in
                try tx.run(
                    """
                    INSERT INTO organizations (id, name, slug, settings, created_at, updated_at)
                    VALUES (\(scope.id), 'one', 'one', '{}', \(now), \(now))
                    """
                )
            }
            let probe = Probe(database) { _, _ in .noContent }
            let keys = IdempotencyKeys(database: database, secretKey: Secret("a key of the server"))
            let endpoints = ["replayed", "lost"].map { name in
                Endpoint.organization(
                    .post,
                    "/\(name)",
                    "Post",
                    permission: nil,
                    responses: [.created(ThingBody.schema), .events("Tokens.")]
                ) { call in
                    try await probe.effect(call)
                    return .events(replay: name == "replayed" ? Self.created("kept") : nil) { writer in
                        try await writer.send(StreamEvent(data: "token"))
                    }
                }
            }
            try await withServer(endpoints, idempotency: keys) { server in
                #expect(try await server.post("/replayed", "", key: "k1").text == "data: token\n\n")
                let replayed = try await server.post("/replayed", "", key: "k1")
                #expect(replayed.status == 201)
                #expect(replayed.text.contains("kept"))
                #expect(try await server.post("/lost", "", key: "k2").text == "data: token\n\n")
                #expect(try await server.post("/lost", "", key: "k2").code == "idempotency.response_lost")
                #expect(try await probe.effects() == 2)
            }
        }
    }
}
