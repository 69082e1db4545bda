import Jobs
import Kernel
import Logging
import Schema
import Storage
import Synchronization
import TestKit
import Testing
import Web

@testable import Identity

/// A clock that stands still until it is moved.
final class TestClock: Sendable {
    private let time = Mutex(Timestamp(milliseconds: 1_800_000_000_000))

    var now: Timestamp { time.withLock { $0 } }

    func advance(by duration: Duration) { time.withLock { $0 = $0 + duration } }
}

/// Identity on a fresh database, as one node sees it.
struct Node: Sendable {
    let database: any Database
    let clock: TestClock
    let identity: IdentityModule

    static let password = Secret("mirë se erdhe 1912")
    static let origin = RequestOrigin(requestID: "request-1", address: "203.0.113.7", userAgent: "tests")

    init(database: any Database, clock: TestClock, configuration: IdentityConfiguration? = nil) async {
        self.database = database
        self.clock = clock
        var cheap = IdentityConfiguration()
        cheap.passwordCost = PasswordCost(memoryKiB: 32, passes: 1)
        cheap.attempts = 1_000
        identity = await IdentityModule(
            database: database,
            secretKey: Secret("a secret key of the tests that is long enough"),
            organizationTables: ProductSchema.organizationTables,
            permissions: testGrants,
            configuration: configuration ?? cheap,
            logger: testLogger,
            now: { clock.now }
        )
    }

    /// Another node on the same database.
    func sibling() async -> Node { await Node(database: database, clock: clock) }

    func signUp(_ name: String = "ana", organization: String = "Kafe Tirana") async throws -> SignedIn {
        try await identity.sessions.signUp(
            SignUp(
                email: "\(name)@example.com",
                password: Self.password,
                name: name,
                organization: NewOrganization(name: organization)
            ),
            from: Self.origin
        )
    }

    func logIn(_ name: String, to organization: ID<OrganizationEntity>? = nil) async throws -> SignedIn {
        try await identity.sessions.logIn(
            email: "\(name)@example.com",
            password: Self.password,
            organization: organization,
            from: Self.origin
        )
    }

    func principal(_ token: Secret) async throws -> Principal {
        try await identity.authenticator.authenticate(token, Self.origin)
    }

    /// The caller and their scope, as an endpoint receives them.
    func call(_ token: Secret) async throws -> (principal: Principal, scope: OrganizationScope) {
        let principal = try await principal(token)
        return (principal, .authenticated(principal.organization, as: principal.actor, from: Self.origin))
    }

    func add(_ name: String, as role: MemberRole, by owner: SignedIn) async throws -> Member {
        let (principal, scope) = try await call(owner.accessToken)
        return try await identity.memberships.add(
            NewMember(email: "\(name)@example.com", name: name, role: role, password: Self.password),
            by: principal,
            in: scope
        )
    }

    func invite(_ name: String, as role: MemberRole, by owner: SignedIn) async throws -> Secret {
        let (principal, scope) = try await call(owner.accessToken)
        let new = NewInvitation(email: "\(name)@example.com", role: role)
        return try await identity.invitations.invite(new, by: principal, in: scope).code.secret
    }

    /// Makes an account that exists a member of another organization.
    @discardableResult
    func bring(_ name: String, as role: MemberRole, to owner: SignedIn) async throws -> Belonging {
        let code = try await invite(name, as: role, by: owner)
        let principal = try await principal(try await logIn(name).accessToken)
        return try await identity.invitations.accept(code, by: principal, from: Self.origin)
    }

    /// Deletes what has served its time.
    @discardableResult
    func purge() async throws -> Int {
        var sum = 0
        for purge in identity.purges { sum += try await purge.run(database, clock.now) }
        return sum
    }

    /// Rows of every organization, past row level security.
    func rows<Value: Sendable & ColumnDecodable>(_ sql: SQL, as: Value.Type = Value.self) async throws -> [Value] {
        try await database.migrate { tx in try tx.values(sql, as: Value.self) }
    }

    func events(of organization: ID<OrganizationEntity>) async throws -> [String] {
        try await rows("SELECT type FROM events WHERE organization_id = \(organization) ORDER BY position")
    }
}

func withNode(
    on kind: TestDatabase.Kind,
    configuration: IdentityConfiguration? = nil,
    _ body: (Node) async throws -> Void
) async throws {
    try await withDatabase(on: kind, migrations: ProductSchema.migrations) { database in
        try await body(await Node(database: database, clock: TestClock(), configuration: configuration))
    }
}

/// What a call refuses with.
func problem(_ body: () async throws -> some Any) async throws -> Problem {
    do {
        _ = try await body()
    } catch let error as any ProblemConvertible {
        return error.problem
    }
    Issue.record("was not refused")
    return Problem(.internalError, "none", "Was not refused.")
}

func code(_ body: () async throws -> some Any) async throws -> String { try await problem(body).code }

/// What another subsystem would declare.
extension Permission {
    static let conversationsRead = Permission("conversations", "read")
    static let conversationsWrite = Permission("conversations", "write")
    static let contactsRead = Permission("contacts", "read")
    static let contactsWrite = Permission("contacts", "write")
    static let agentsRead = Permission("agents", "read")
    static let agentsWrite = Permission("agents", "write")
    static let auditRead = Permission("audit", "read")
    static let billingWrite = Permission("billing", "write")
}

let testGrants =
    IdentityModule.permissions + [
        PermissionGrant(.conversationsRead, to: .members), PermissionGrant(.conversationsWrite, to: .members),
        PermissionGrant(.contactsRead, to: .members), PermissionGrant(.contactsWrite, to: .members),
        PermissionGrant(.agentsRead, to: .members), PermissionGrant(.agentsWrite, to: .admins),
        PermissionGrant(.auditRead, to: .admins), PermissionGrant(.billingWrite, to: .owners),
    ]

let testRoles = RoleMatrix(testGrants)

let testLogger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
