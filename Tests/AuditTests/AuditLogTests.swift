import Audit
import Events
import Kernel
import Logging
import Schema
import Storage
import TestKit
import Testing

@Suite("the audit log")
struct AuditLogTests {
    private static let now = Timestamp(milliseconds: 1_800_000_000_000)
    private static let closed = EventType(
        "conversation.closed",
        resource: "conversation",
        "A conversation was closed.",
        data: .object([.required("number", .integer())]),
        example: ["number": 1]
    )
    private static let person = ActorKind("user", isUser: true)
    private static let machine = ActorKind("api_key")

    /// A database with organizations, the log's reader of the feed, and its list.
    private struct Harness {
        let database: any Database
        let logs: AuditLogService
        let consumer = AuditConsumer(actorKinds: [person, machine])

        func organization() async throws -> ID<OrganizationEntity> {
            let id = ID<OrganizationEntity>()
            try await database.migrate { tx in
                try tx.run(
                    """
                    INSERT INTO organizations (id, name, slug, status, settings, created_at, updated_at)
                    VALUES (\(id), 'x', \(id.description), 'active', \(JSON.object([:])), \(now), \(now))
                    """
                )
            }
            return id
        }

        func record(_ subject: String, by actor: Actor, of organization: ID<OrganizationEntity>) async throws {
            let origin = RequestOrigin(requestID: "r-\(subject)", address: "192.0.2.7", userAgent: "curl/8")
            let scope = OrganizationScope.authenticated(organization, as: actor, from: origin)
            try await database.write(scope) { tx in
                try tx.record(
                    Event(closed, subject: subject, data: ["number": 1], changes: ["status": ["before": "active"]]),
                    in: scope,
                    now: now
                )
            }
        }

        /// Lets the log read the whole feed, as often as is said.
        func read(times: Int = 1, expecting count: Int) async throws {
            let events = try await eventually("\(count) events") {
                let events = try await database.write(for: .feed, isolation: .readCommitted) { tx in
                    try EventFeed.read(after: .beginning, limit: 100, in: tx)
                }
                return events.count == count ? events : nil
            }
            for _ in 0..<times {
                try await database.write(for: .feed) { tx in try consumer.consume(events, in: tx) }
            }
        }

        func list(
            _ organization: ID<OrganizationEntity>,
            _ page: PageRequest = PageRequest(),
            _ choose: (inout AuditLogFilter) -> Void = { _ in }
        ) async throws -> Page<AuditLog> {
            var filter = AuditLogFilter()
            choose(&filter)
            return try await logs.list(filter, page, in: .job(of: organization))
        }
    }

    private func withHarness(on kind: TestDatabase.Kind, _ body: (Harness) async throws -> Void) async throws {
        try await withDatabase(on: kind, migrations: ProductSchema.migrations) { database in
            try await body(Harness(database: database, logs: AuditLogService(database: database)))
        }
    }

    @Test("has one line for each event, however often the feed is read", arguments: TestDatabase.kinds)
    func oneLine(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let organization = try await harness.organization()
            let user = ID<UserEntity>()
            try await harness.record("c1", by: Actor(Self.person, id: user.description), of: organization)
            try await harness.record("c2", by: Actor(Self.machine, id: "k1"), of: organization)
            try await harness.read(times: 3, expecting: 2)

            let lines = try await harness.list(organization).items
            #expect(Set(lines.map(\.resourceID)) == ["c1", "c2"])
            let line = try #require(lines.first { $0.resourceID == "c1" })
            #expect(line.userID == user)
            #expect(line.action == "conversation.closed")
            #expect(line.resourceType == "conversation")
            #expect(line.changes == ["status": ["before": "active"]])
            #expect(line.address?.text == "192.0.2.7")
            #expect(line.userAgent == "curl/8")
            #expect(line.requestID == "r-c1")
            #expect(line.createdAt == Self.now)
            let other = try #require(lines.first { $0.resourceID == "c2" })
            #expect(other.userID == nil)
            #expect(other.actorKind == "api_key")
            #expect(other.actorID == "k1")
        }
    }

    @Test("leaves out what happened in an organization that is gone", arguments: TestDatabase.kinds)
    func goneOrganization(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let (gone, there) = (ID<OrganizationEntity>(), try await harness.organization())
            try await harness.record("c1", by: Actor(Self.machine, id: "k1"), of: gone)
            try await harness.record("c2", by: Actor(Self.machine, id: "k1"), of: there)
            try await harness.read(expecting: 2)
            #expect(try await harness.list(there).items.map(\.resourceID) == ["c2"])
            #expect(try await harness.list(gone).items.isEmpty)
        }
    }

    @Test("is listed by page and filter, and an organization sees its own", arguments: TestDatabase.kinds)
    func list(on kind: TestDatabase.Kind) async throws {
        try await withHarness(on: kind) { harness in
            let (organization, other) = (try await harness.organization(), try await harness.organization())
            let user = ID<UserEntity>()
            for number in 1...5 {
                let actor = number == 3 ? Actor(Self.person, id: user.description) : Actor(Self.machine, id: "k1")
                try await harness.record("c\(number)", by: actor, of: organization)
            }
            try await harness.record("foreign", by: Actor(Self.machine, id: "k2"), of: other)
            try await harness.read(expecting: 6)

            var seen: [String] = []
            var page = PageRequest(limit: 2)
            for pages in 1...3 {
                let found = try await harness.list(organization, page)
                seen += found.items.map(\.resourceID)
                #expect((found.next == nil) == (pages == 3))
                page = PageRequest(limit: 2, after: found.next)
            }
            #expect(Set(seen) == ["c1", "c2", "c3", "c4", "c5"])
            #expect(seen.count == 5)

            #expect(try await harness.list(organization) { $0.userID = user }.items.map(\.resourceID) == ["c3"])
            #expect(try await harness.list(organization) { $0.resourceID = "c4" }.items.map(\.resourceID) == ["c4"])
            #expect(try await harness.list(organization) { $0.action = "conversation.updated" }.items.isEmpty)
            #expect(try await harness.list(organization) { $0.resourceType = "conversation" }.items.count == 5)
            #expect(try await harness.list(other).items.map(\.resourceID) == ["foreign"])
        }
    }
}
