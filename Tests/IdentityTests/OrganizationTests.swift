import Kernel
import Storage
import TestKit
import Testing

@testable import Identity
@testable import Schema

@Suite struct OrganizationTests {
    @Test("a user has several organizations; a credential acts in one", arguments: TestDatabase.kinds)
    func several(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let organizations = node.identity.organizations
            node.clock.advance(by: .seconds(1))
            let second = try await organizations.create(NewOrganization(name: "Second"), by: ana.user.id)
            let (_, scope) = try await node.call(ana.accessToken)
            let first = try await organizations.list(PageRequest(limit: 1), in: scope)
            let rest = try await organizations.list(PageRequest(limit: 1, after: first.next), in: scope)
            #expect(first.items.map(\.id) == [second.id] && rest.items.map(\.id) == [ana.organization.id])
            #expect(rest.next == nil)
            #expect(try await organizations.get(ana.organization.id, in: scope).name == "Kafe Tirana")
            #expect(try await code { try await organizations.get(second.id, in: scope) } == "organization.not_found")
            #expect(
                try await code { try await organizations.change(second.id, OrganizationChanges(name: "x"), in: scope) }
                    == "organization.not_found"
            )
            #expect(try await code { try await organizations.delete(second.id, in: scope) } == "organization.not_found")
            let key = OrganizationScope.authenticated(ana.organization.id, as: .apiKey(ID()))
            #expect(try await organizations.list(PageRequest(), in: key).items.map(\.id) == [ana.organization.id])
            #expect(try await node.events(of: second.id) == ["organization.created", "member.added"])
        }
    }

    @Test("a request that is made again finds the organization that it made", arguments: TestDatabase.kinds)
    func idempotent(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            let organizations = node.identity.organizations
            func create(
                _ name: String,
                key: String,
                slug: String? = nil,
                by owner: SignedIn
            ) async throws
                -> Organization
            {
                let (principal, scope) = try await node.call(owner.accessToken)
                let claim = IdempotencyClaim(
                    principal: "user:\(owner.user.id)",
                    key: key,
                    // Another one each time, as after a restart.
                    token: ID<IdempotencyClaim>().description
                )
                return try await organizations.create(
                    NewOrganization(name: name, slug: slug),
                    by: principal.user,
                    in: scope.claiming(claim)
                )
            }
            let first = try await create("Second", key: "a", by: ana)
            #expect(try await create("Second", key: "a", by: ana).id == first.id)
            #expect(try await create("Second", key: "b", by: ana).id != first.id)
            #expect(try await create("Second", key: "a", by: ben).id != first.id)
            #expect(try await create("Third", key: "a", by: ana).id != first.id)
            #expect(try await node.events(of: first.id) == ["organization.created", "member.added"])

            // Also when both are at work at the same time, whether the slug was asked for or not.
            for slug in [nil, "fifth"] {
                let ids = try await withThrowingTaskGroup(of: ID<OrganizationEntity>.self) { group in
                    for _ in 0..<4 {
                        group.addTask { try await create("Fourth", key: "c", slug: slug, by: ana).id }
                    }
                    return try await group.reduce(into: Set()) { $0.insert($1) }
                }
                #expect(ids.count == 1)
            }
            #expect(
                try await code { try await create("X", key: "d", slug: "fifth", by: ana) } == "organization.slug_taken"
            )
            #expect(try await node.rows("SELECT count(*) FROM organizations", as: Int.self) == [8])
        }
    }

    @Test("name, slug and settings change; the event says from what to what", arguments: TestDatabase.kinds)
    func change(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            let (_, scope) = try await node.call(ana.accessToken)
            let id = ana.organization.id
            let organizations = node.identity.organizations
            let changed = try await organizations.change(
                id,
                OrganizationChanges(name: "Kafe", slug: "kafe", settings: ["theme": "dark"]),
                in: scope
            )
            #expect(changed.name == "Kafe" && changed.slug == "kafe" && changed.updatedAt > ana.organization.updatedAt)
            #expect(try await organizations.get(id, in: scope).settings == ["theme": "dark"])
            let events: [JSON?] = try await node.rows("SELECT changes FROM events WHERE type = 'organization.updated'")
            #expect(events.first??["name"] == ["before": "Kafe Tirana", "after": "Kafe"])
            #expect(
                try await code {
                    try await organizations.change(id, OrganizationChanges(slug: ben.organization.slug), in: scope)
                } == "organization.slug_taken"
            )
            #expect(
                try await code { try await organizations.change(id, OrganizationChanges(slug: "api"), in: scope) }
                    == "request.invalid"
            )
            let same = try await organizations.change(id, OrganizationChanges(name: "Kafe"), in: scope)
            #expect(same.updatedAt == changed.updatedAt)
        }
    }

    @Test("deleting ends every session and key at once", arguments: TestDatabase.kinds)
    func delete(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let (principal, scope) = try await node.call(ana.accessToken)
            let (_, token) = try await node.identity.apiKeys.create(
                NewAPIKey(name: "k", permissions: [.contactsRead]),
                by: principal,
                in: scope
            )
            _ = try await node.principal(token.secret)
            try await node.identity.organizations.delete(ana.organization.id, in: scope)
            for secret in [ana.accessToken, token.secret] {
                #expect(try await code { try await node.principal(secret) } == "auth.invalid_token")
            }
            #expect(
                try await code { try await node.identity.sessions.refresh(ana.refreshToken) }
                    == "auth.invalid_refresh_token"
            )
            #expect(try await code { try await node.logIn("ana") } == "auth.invalid_credentials")
            #expect(
                try await code { try await node.identity.organizations.delete(ana.organization.id, in: scope) }
                    == "organization.not_found"
            )
            #expect(try await node.events(of: ana.organization.id).last == "organization.deleted")
        }
    }
}

@Suite struct PurgeTests {
    @Test("the list of tables misses none and is in an order that works", arguments: TestDatabase.kinds)
    func tables(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let tables: [String] =
                switch kind {
                case .sqlite:
                    try await node.rows(
                        """
                        SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
                        WHERE m.type = 'table' AND c.name = 'organization_id' AND m.name NOT GLOB '*_search*'
                        """
                    )
                case .postgres:
                    try await node.rows(
                        """
                        SELECT CAST(table_name AS text) FROM information_schema.columns
                        WHERE table_schema = 'public' AND column_name = 'organization_id'
                        """
                    )
                }
            #expect(Set(tables) == Set(ProductSchema.organizationTables))
            #expect(ProductSchema.organizationTables.count == tables.count)
        }
    }

    @Test("nothing is left of a purged organization and nothing is missing from another", arguments: TestDatabase.kinds)
    func purge(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            _ = try await node.add("cora", as: .member, by: ana)
            let dora = try await node.add("dora", as: .admin, by: ana)
            try await node.bring("dora", as: .member, to: ben)
            for signedIn in [ana, ben] { try await fill(signedIn.organization.id, by: signedIn.user.id, node) }
            let before = try await counts(of: ben.organization.id, node)
            #expect(before.allSatisfy { $0.value > 0 }, "\(before.filter { $0.value == 0 }.keys)")

            let (_, scope) = try await node.call(ana.accessToken)
            try await node.identity.organizations.delete(ana.organization.id, in: scope)
            node.clock.advance(by: .seconds(30 * 86_400 - 1))
            #expect(try await node.identity.organizationPurge.runOnce(logger: testLogger).isEmpty)
            node.clock.advance(by: .seconds(1))
            #expect(try await node.identity.organizationPurge.runOnce(logger: testLogger) == [ana.organization.id])

            #expect(try await counts(of: ana.organization.id, node).allSatisfy { $0.value == 0 })
            #expect(
                try await node.rows("SELECT id FROM organizations", as: ID<OrganizationEntity>.self)
                    == [ben.organization.id]
            )
            var after = try await counts(of: ben.organization.id, node)
            // Dora moved in.
            after["users"]? -= 1
            #expect(after == before)
            #expect(
                try await node.rows("SELECT email FROM users ORDER BY email", as: String.self) == [
                    "ben@example.com", "dora@example.com",
                ]
            )
            let home: [ID<OrganizationEntity>] = try await node.rows(
                "SELECT organization_id FROM users WHERE id = \(dora.user.id)"
            )
            #expect(home == [ben.organization.id])
            #expect(try await node.logIn("dora").organization.id == ben.organization.id)
            #expect(try await node.identity.organizationPurge.runOnce(logger: testLogger).isEmpty)
        }
    }

    @Test("those that cannot be purged do not hold up the others, however many they are", arguments: TestDatabase.kinds)
    func failures(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let now = node.clock.now
            let stuck = (0..<120).map { _ in ID<OrganizationEntity>() }
            let fine = ID<OrganizationEntity>()
            try await node.database.migrate { tx in
                for (index, id) in (stuck + [fine]).enumerated() {
                    try tx.run(
                        """
                        INSERT INTO organizations (id, name, slug, status, settings, deleted_at, created_at, updated_at)
                        VALUES (\(id), 'x', \(id.description), 'deleted', \(JSON.object([:])),
                            \(now + .milliseconds(index / 50)), \(now), \(now))
                        """
                    )
                }
                // A table that the list does not know refers to them.
                try tx.run("CREATE TABLE obstacles (id \(.uuid) NOT NULL REFERENCES organizations (id))")
                for id in stuck { try tx.run("INSERT INTO obstacles (id) VALUES (\(id))") }
            }
            node.clock.advance(by: .seconds(31 * 86_400))
            await #expect(throws: (any Error).self) {
                try await node.identity.organizationPurge.runOnce(logger: testLogger)
            }
            let left: [ID<OrganizationEntity>] = try await node.rows("SELECT id FROM organizations")
            #expect(Set(left) == Set(stuck))
        }
    }

    @Test("more rows than a batch holds are all deleted", arguments: TestDatabase.kinds)
    func batches(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let now = node.clock.now
            let (id, ids) = (ana.organization.id, (0..<1_203).map { _ in ID<Member>() })
            try await node.database.migrate { tx in
                for contact in ids {
                    try tx.run(
                        """
                        INSERT INTO contacts (organization_id, id, metadata, created_at, updated_at)
                        VALUES (\(id), \(contact), \(JSON.object([:])), \(now), \(now))
                        """
                    )
                }
            }
            let (_, scope) = try await node.call(ana.accessToken)
            try await node.identity.organizations.delete(id, in: scope)
            node.clock.advance(by: .seconds(31 * 86_400))
            #expect(try await node.identity.organizationPurge.runOnce(logger: testLogger) == [id])
            #expect(try await node.rows("SELECT count(*) FROM contacts", as: Int.self) == [0])
        }
    }

    private func counts(of id: ID<OrganizationEntity>, _ node: Node) async throws -> [String: Int] {
        var counts: [String: Int] = [:]
        for table in ProductSchema.organizationTables {
            counts[table] =
                try await node.rows(
                    "SELECT count(*) FROM \(SQL(trusted: table)) WHERE organization_id = \(id)",
                    as: Int.self
                ).first ?? -1
        }
        return counts
    }

    /// At least one row in every table, made from its declaration.
    private func fill(_ id: ID<OrganizationEntity>, by user: ID<UserEntity>, _ node: Node) async throws {
        let now = node.clock.now
        let there = try await counts(of: id, node)
        // One id for all rows, so that references lead somewhere.
        let row = ID<Node>()
        // What is referred to comes first.
        let tables = ProductSchema.organizationTables.reversed().filter { there[$0] == 0 }
        let shapes = tables.compactMap { name in
            (ProductSchema.tables.first { $0.name == name } as? TenantTable)?.shape
        }
        #expect(shapes.count == tables.count)
        try await node.database.migrate { tx in
            for shape in shapes {
                let columns = shape.columns.filter {
                    $0.isRequired && $0.defaultValue == nil && $0.name != "organization_id"
                        && !type(of: $0).contains("GENERATED")
                }
                let values = columns.map { value(of: $0, in: shape, row: row, user: user, now: now) }
                try tx.run(
                    """
                    INSERT INTO \(SQL(trusted: shape.name))
                        (organization_id, \(SQL(trusted: columns.map(\.name).joined(separator: ", "))))
                    VALUES (\(id), \(SQL.join(values, ", ")))
                    """
                )
            }
        }
    }

    /// As PostgreSQL calls it.
    private func type(of column: Column) -> String { ("\(column.type)" as SQL).rendered(for: .postgres).text }

    private func value(
        of column: Column,
        in shape: TableShape,
        row: ID<Node>,
        user: ID<UserEntity>,
        now: Timestamp
    ) -> SQL {
        switch shape.references.first(where: { $0.column == column.name })?.table {
        case "users"?: return "\(user)"
        case "plans"?: return "'chatbot_standard_monthly'"
        default: break
        }
        switch type(of: column).prefix(while: { $0 != " " && $0 != "(" }) {
        case "uuid": return "\(row)"
        case "timestamptz": return "\(now)"
        case "jsonb": return "\(JSON.object([:]))"
        case "BIGINT": return "1"
        case "BOOLEAN": return "\(false)"
        case "bytea": return "\(SQLValue.bytes([1]))"
        case "text[]": return "\(SQLValue.textArray([]))"
        default:
            // A state that is one of a few, else something that no other row has.
            let check = shape.checks.first { $0.condition.hasPrefix("\(column.name) IN ") }
            let first = check?.condition.split(separator: "'").dropFirst().first
            return "\(first.map(String.init) ?? row.description)"
        }
    }
}
