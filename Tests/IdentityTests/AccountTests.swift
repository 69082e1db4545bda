import Kernel
import Storage
import TestKit
import Testing
import Web

@testable import Identity

@Suite struct AccountTests {
    @Test("me tells who calls, where and what for", arguments: TestDatabase.kinds)
    func me(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let second = try await node.identity.organizations.create(NewOrganization(name: "Second"), by: ana.user.id)
            let (principal, scope) = try await node.call(ana.accessToken)
            let me = try await node.identity.users.me(principal, in: scope)
            guard case .user(let user, let role) = me.caller else { return #expect(Bool(false)) }
            #expect(user.id == ana.user.id && role == .owner)
            #expect(me.organization.id == ana.organization.id && me.permissions == testRoles.owner)
            #expect(Set(me.belongings.map(\.organization.id)) == [ana.organization.id, second.id])

            let (key, token) = try await node.identity.apiKeys.create(
                NewAPIKey(name: "k", permissions: [.contactsRead]),
                by: principal,
                in: scope
            )
            let (keyPrincipal, keyScope) = try await node.call(token.secret)
            let its = try await node.identity.users.me(keyPrincipal, in: keyScope)
            guard case .apiKey(let found) = its.caller else { return #expect(Bool(false)) }
            #expect(found.id == key.id && its.permissions == [.contactsRead] && its.belongings.isEmpty)
            // Of its organization it is shown what it may read.
            func shown(_ me: Me) throws -> [String] {
                var json = JSONWriter()
                MeBody(me).write(to: &json)
                return try JSON(parsing: json.bytes)["organization"]?.object?.keys ?? []
            }
            #expect(try shown(its) == ["id", "name", "slug"])
            #expect(try shown(me).contains("settings"))
        }
    }

    @Test(
        "a user changes their name and picture, from whichever organization they act in",
        arguments: TestDatabase.kinds
    )
    func change(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            try await node.bring("ana", as: .member, to: ben)
            let (principal, scope) = try await node.call(
                try await node.logIn("ana", to: ben.organization.id).accessToken
            )
            let changed = try await node.identity.users.change(
                UserChanges(name: "Ana K.", image: .some("https://example.com/a.png")),
                by: principal,
                in: scope
            )
            #expect(changed.name == "Ana K." && changed.image == "https://example.com/a.png")
            #expect(try await node.events(of: ana.organization.id).last == "user.updated")
            let cleared = try await node.identity.users.change(UserChanges(image: .some(nil)), by: principal, in: scope)
            #expect(cleared.image == nil && cleared.name == "Ana K.")
            let changes: [JSON?] = try await node.rows("SELECT changes FROM events WHERE type = 'user.updated'")
            #expect(changes.allSatisfy { $0?.text.contains("Ana") == false })
        }
    }

    @Test("a new password ends all other sessions", arguments: TestDatabase.kinds)
    func password(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let other = try await node.logIn("ana")
            _ = try await node.principal(other.accessToken)
            let (principal, scope) = try await node.call(ana.accessToken)
            let users = node.identity.users
            let wrong = try await problem {
                try await users.changePassword(
                    from: Secret("not the password"),
                    to: Secret("a new password"),
                    by: principal,
                    in: scope
                )
            }
            #expect(wrong.code == "user.wrong_password" && wrong.errors.map(\.pointer) == ["/current_password"])
            let short = try await problem {
                try await users.changePassword(from: Node.password, to: Secret("short"), by: principal, in: scope)
            }
            #expect(short.errors.map(\.pointer) == ["/new_password"])
            try await users.changePassword(from: Node.password, to: Secret("a new password"), by: principal, in: scope)
            #expect(try await node.principal(ana.accessToken).actor == .user(ana.user.id))
            #expect(try await code { try await node.principal(other.accessToken) } == "auth.invalid_token")
            #expect(
                try await code { try await node.identity.sessions.refresh(other.refreshToken) }
                    == "auth.invalid_refresh_token"
            )
            #expect(try await code { try await node.logIn("ana") } == "auth.invalid_credentials")
            let again = try await node.identity.sessions.logIn(
                email: "ana@example.com",
                password: Secret("a new password")
            )
            #expect(again.user.id == ana.user.id)
            #expect(try await node.events(of: ana.organization.id).contains("user.password_changed"))
        }
    }

    @Test("what only a person can do, a key cannot", arguments: TestDatabase.kinds)
    func keysAreNoPersons(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let (owner, ownScope) = try await node.call(ana.accessToken)
            let (_, token) = try await node.identity.apiKeys.create(
                NewAPIKey(name: "k", permissions: testRoles.owner),
                by: owner,
                in: ownScope
            )
            let (key, scope) = try await node.call(token.secret)
            let identity = node.identity
            #expect(try await code { try await identity.sessions.logOut(key, in: scope) } == "auth.user_required")
            #expect(
                try await code { try await identity.users.change(UserChanges(name: "x"), by: key, in: scope) }
                    == "auth.user_required"
            )
            #expect(
                try await code { try await identity.sessions.switchOrganization(to: ana.organization.id, by: key) }
                    == "auth.user_required"
            )
            // It may do all that an owner may, but make owners.
            #expect(
                try await code {
                    try await identity.memberships.add(
                        NewMember(email: "ben@example.com", name: "Ben", role: .owner, password: Node.password),
                        by: key,
                        in: scope
                    )
                } == "member.beyond_authority"
            )
        }
    }
}

@Suite struct AnswerTests {
    private func misfits<Body: ResponseBody>(_ body: Body, _ schema: Schema = Body.schema) throws -> [FieldError] {
        var json = JSONWriter()
        body.write(to: &json)
        return schema.validate(try JSON(parsing: json.bytes), as: .response)
    }

    @Test("what is answered fits what is declared", arguments: TestDatabase.kinds)
    func bodies(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let (principal, scope) = try await node.call(ana.accessToken)
            let (key, token) = try await node.identity.apiKeys.create(
                NewAPIKey(name: "k", permissions: testRoles.owner, expiresAt: node.clock.now + .seconds(60)),
                by: principal,
                in: scope
            )
            let (keyPrincipal, keyScope) = try await node.call(token.secret)
            let users = node.identity.users
            #expect(try misfits(SignedInBody(ana)).isEmpty)
            #expect(try misfits(OrganizationBody(ana.organization)).isEmpty)
            #expect(try misfits(UserBody(ana.user)).isEmpty)
            #expect(try misfits(APIKeyBody(key)).isEmpty)
            #expect(try misfits(APIKeyBody(key, token), APIKeyBody.createdSchema).isEmpty)
            #expect(try misfits(MemberBody(try await node.identity.memberships.get(ana.user.id, in: scope))).isEmpty)
            #expect(try misfits(MeBody(try await users.me(principal, in: scope))).isEmpty)
            #expect(try misfits(MeBody(try await users.me(keyPrincipal, in: keyScope))).isEmpty)
        }
    }
}

@Suite struct MembershipTests {
    @Test("a user belongs to a hundred organizations at most", arguments: TestDatabase.kinds)
    func tooMany(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            let organizations = node.identity.organizations
            for number in 1..<100 {
                _ = try await organizations.create(NewOrganization(name: "Number \(number)"), by: ana.user.id)
            }
            let refused = try await problem {
                try await organizations.create(NewOrganization(name: "One more"), by: ana.user.id)
            }
            #expect(refused.code == "organization.too_many" && refused.status == .conflict)
            #expect(try await code { try await node.bring("ana", as: .member, to: ben) } == "organization.too_many")
            // One that was deleted does not count.
            let (principal, scope) = try await node.call(ana.accessToken)
            #expect(try await node.identity.users.me(principal, in: scope).belongings.count == 100)
            try await organizations.delete(ana.organization.id, in: scope)
            #expect(try await node.bring("ana", as: .member, to: ben).organization.id == ben.organization.id)
        }
    }

    @Test("members are added with new accounts; who has one is not taken in unasked", arguments: TestDatabase.kinds)
    func add(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            let (_, scope) = try await node.call(ana.accessToken)
            let memberships = node.identity.memberships

            let cora = try await node.add("cora", as: .member, by: ana)
            #expect(cora.user.organizationID == ana.organization.id && cora.membership.role == .member)
            #expect(try await node.principal(try await node.logIn("cora").accessToken).permissions == testRoles.member)

            let refused = try await problem { try await node.add("BEN", as: .member, by: ana) }
            #expect(refused.code == "member.account_exists" && refused.status == .conflict)
            #expect(try await code { try await node.logIn("ben", to: ana.organization.id) } == "organization.not_found")
            #expect(try await code { try await node.add("cora", as: .member, by: ana) } == "member.exists")

            try await node.bring("ben", as: .admin, to: ana)
            let first = try await memberships.list(PageRequest(limit: 2), in: scope)
            let rest = try await memberships.list(PageRequest(limit: 2, after: first.next), in: scope)
            #expect(Set((first.items + rest.items).map(\.user.name)) == ["ana", "cora", "ben"] && rest.next == nil)
            let foreign = OrganizationScope.authenticated(ben.organization.id, as: .user(ben.user.id))
            #expect(try await code { try await memberships.get(cora.user.id, in: foreign) } == "member.not_found")
        }
    }

    @Test("an organization makes a bounded number of accounts in an hour", arguments: TestDatabase.kinds)
    func tooManyAccounts(on kind: TestDatabase.Kind) async throws {
        var configuration = IdentityConfiguration()
        configuration.passwordCost = PasswordCost(memoryKiB: 32, passes: 1)
        configuration.newAccounts = 2
        try await withNode(on: kind, configuration: configuration) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            for name in ["cora", "dora"] { _ = try await node.add(name, as: .member, by: ana) }
            let refused = try await problem { try await node.add("emma", as: .member, by: ana) }
            #expect(refused.code == "member.too_many_accounts" && (refused.retryAfterSeconds ?? 0) > 0)
            #expect(try await node.add("emma", as: .member, by: ben).user.name == "emma")
        }
    }

    @Test("no password is hashed for those who may not add members", arguments: TestDatabase.kinds)
    func authorityBeforeHashing(on kind: TestDatabase.Kind) async throws {
        var configuration = IdentityConfiguration()
        configuration.passwordCost = PasswordCost(memoryKiB: 32, passes: 1)
        configuration.newAccounts = 1
        try await withNode(on: kind, configuration: configuration) { node in
            let ana = try await node.signUp("ana")
            let (owner, scope) = try await node.call(ana.accessToken)
            let (_, token) = try await node.identity.apiKeys.create(
                NewAPIKey(name: "k", permissions: [.membersWrite]),
                by: owner,
                in: scope
            )
            let (key, keyScope) = try await node.call(token.secret)
            // A password that would be refused is not even looked at, and no account is counted.
            for _ in 0..<3 {
                #expect(
                    try await code {
                        try await node.identity.memberships.add(
                            NewMember(email: "x@example.com", name: "X", role: .member, password: Secret("short")),
                            by: key,
                            in: keyScope
                        )
                    } == "member.beyond_authority"
                )
            }
            #expect(try await node.add("ben", as: .member, by: ana).user.name == "ben")
        }
    }

    @Test("the same person added twice at the same time is added once", arguments: TestDatabase.kinds)
    func concurrentAdd(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let outcomes = try await withThrowingTaskGroup(of: String.self) { group in
                for _ in 0..<4 {
                    group.addTask {
                        do {
                            _ = try await node.add("cora", as: .member, by: ana)
                            return "added"
                        } catch let error as any ProblemConvertible {
                            return error.problem.code
                        }
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(outcomes.filter { $0 == "added" }.count == 1)
            #expect(outcomes.filter { $0 == "member.exists" }.count == 3)
        }
    }

    @Test("a changed role counts at once", arguments: TestDatabase.kinds)
    func change(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let cora = try await node.add("cora", as: .member, by: ana)
            let session = try await node.logIn("cora")
            #expect(try await node.principal(session.accessToken).permissions == testRoles.member)
            let (principal, scope) = try await node.call(ana.accessToken)
            let changed = try await node.identity.memberships.change(cora.user.id, to: .admin, by: principal, in: scope)
            #expect(changed.membership.role == .admin && changed.membership.updatedAt > cora.membership.updatedAt)
            #expect(try await node.principal(session.accessToken).permissions == testRoles.admin)
            #expect(
                try await node.rows("SELECT role FROM users WHERE id = \(cora.user.id)", as: String.self) == ["admin"]
            )
            #expect(try await node.events(of: ana.organization.id).last == "member.updated")
            await #expect(throws: Problem.self) {
                try await node.identity.memberships.change(cora.user.id, to: .member, by: principal, in: scope) { _ in
                    throw Problem(.preconditionFailed, "request.precondition_failed", "")
                }
            }
        }
    }

    @Test("nobody hands out, changes or takes away more than they hold", arguments: TestDatabase.kinds)
    func authority(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let adam = try await node.add("adam", as: .admin, by: ana)
            let cora = try await node.add("cora", as: .member, by: ana)
            let memberships = node.identity.memberships
            let (admin, scope) = try await node.call(try await node.logIn("adam").accessToken)
            #expect(
                try await code { try await memberships.change(cora.user.id, to: .owner, by: admin, in: scope) }
                    == "member.beyond_authority"
            )
            #expect(
                try await code { try await memberships.change(ana.user.id, to: .member, by: admin, in: scope) }
                    == "member.beyond_authority"
            )
            #expect(
                try await code { try await memberships.remove(ana.user.id, by: admin, in: scope) }
                    == "member.beyond_authority"
            )
            #expect(
                try await code { try await memberships.change(adam.user.id, to: .owner, by: admin, in: scope) }
                    == "member.beyond_authority"
            )
            #expect(
                try await memberships.change(cora.user.id, to: .admin, by: admin, in: scope).membership.role == .admin
            )

            // A key that may manage members but do nothing else can make nobody who may.
            let (owner, ownScope) = try await node.call(ana.accessToken)
            let (_, token) = try await node.identity.apiKeys.create(
                NewAPIKey(name: "k", permissions: [.membersRead, .membersWrite]),
                by: owner,
                in: ownScope
            )
            let (key, keyScope) = try await node.call(token.secret)
            for role in MemberRole.allCases {
                #expect(
                    try await code {
                        try await memberships.add(
                            NewMember(email: "x@example.com", name: "X", role: role, password: Node.password),
                            by: key,
                            in: keyScope
                        )
                    } == "member.beyond_authority"
                )
            }
            #expect(try await node.rows("SELECT count(*) FROM users", as: Int.self) == [3])
        }
    }

    @Test("the last owner can be neither demoted nor removed", arguments: TestDatabase.kinds)
    func lastOwner(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            // Ana belongs elsewhere too, so she has somewhere to go.
            _ = try await node.identity.organizations.create(NewOrganization(name: "Second"), by: ana.user.id)
            let (principal, scope) = try await node.call(ana.accessToken)
            let memberships = node.identity.memberships
            #expect(
                try await code { try await memberships.change(ana.user.id, to: .admin, by: principal, in: scope) }
                    == "member.last_owner"
            )
            #expect(
                try await code { try await memberships.remove(ana.user.id, by: principal, in: scope) }
                    == "member.last_owner"
            )
            let homes: [ID<OrganizationEntity>] = try await node.rows("SELECT organization_id FROM users")
            #expect(homes == [ana.organization.id])
            let ben = try await node.add("ben", as: .owner, by: ana)
            #expect(
                try await memberships.change(ana.user.id, to: .admin, by: principal, in: scope).membership.role
                    == .admin
            )
            let (benPrincipal, benScope) = try await node.call(try await node.logIn("ben").accessToken)
            #expect(
                try await code { try await memberships.remove(ben.user.id, by: benPrincipal, in: benScope) }
                    == "member.last_owner"
            )
        }
    }

    @Test("two owners who demote each other at the same time leave one owner", arguments: TestDatabase.kinds)
    func ownerRace(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.add("ben", as: .owner, by: ana)
            let first = try await node.call(ana.accessToken)
            let second = try await node.call(try await node.logIn("ben").accessToken)
            let memberships = node.identity.memberships
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    _ = try? await memberships.change(ben.user.id, to: .member, by: first.principal, in: first.scope)
                }
                group.addTask {
                    _ = try? await memberships.change(ana.user.id, to: .member, by: second.principal, in: second.scope)
                }
            }
            #expect(
                try await node.rows("SELECT count(*) FROM memberships WHERE role = 'owner'", as: Int.self) == [1]
            )
        }
    }

    @Test("leaving ends the sessions there; the account goes with the last membership", arguments: TestDatabase.kinds)
    func remove(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            let cora = try await node.add("cora", as: .admin, by: ana)
            try await node.bring("cora", as: .member, to: ben)
            let here = try await node.logIn("cora")
            let there = try await node.logIn("cora", to: ben.organization.id)
            let (coras, corasScope) = try await node.call(here.accessToken)
            let (key, _) = try await node.identity.apiKeys.create(
                NewAPIKey(name: "k", permissions: [.contactsRead]),
                by: coras,
                in: corasScope
            )

            let (owner, scope) = try await node.call(ana.accessToken)
            try await node.identity.memberships.remove(cora.user.id, by: owner, in: scope)
            #expect(try await code { try await node.principal(here.accessToken) } == "auth.invalid_token")
            #expect(
                try await code { try await node.identity.sessions.refresh(here.refreshToken) }
                    == "auth.invalid_refresh_token"
            )
            #expect(try await node.principal(there.accessToken).organization == ben.organization.id)
            #expect(try await node.logIn("cora").organization.id == ben.organization.id)
            #expect(
                try await code { try await node.identity.memberships.remove(cora.user.id, by: owner, in: scope) }
                    == "member.not_found"
            )

            let (other, otherScope) = try await node.call(ben.accessToken)
            try await node.identity.memberships.remove(cora.user.id, by: other, in: otherScope)
            #expect(try await code { try await node.principal(there.accessToken) } == "auth.invalid_token")
            #expect(try await code { try await node.logIn("cora") } == "auth.invalid_credentials")
            #expect(try await node.rows("SELECT count(*) FROM users", as: Int.self) == [2])
            #expect(try await node.events(of: ben.organization.id).suffix(2) == ["member.removed", "user.deleted"])
            // What she made stays, without her.
            #expect(try await node.identity.apiKeys.get(key.id, in: scope).createdBy == nil)
            // The address is free again.
            #expect(try await node.signUp("cora", organization: "Cora's").role == .owner)
        }
    }

    @Test("members leave by themselves, but for the last owner", arguments: TestDatabase.kinds)
    func leave(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            try await node.bring("ben", as: .admin, to: ana)
            let memberships = node.identity.memberships
            let here = try await node.logIn("ben", to: ana.organization.id)
            let (principal, scope) = try await node.call(ben.accessToken)
            let home = ben.organization.id
            #expect(try await code { try await memberships.leave(home, by: principal) } == "member.last_owner")
            #expect(try await code { try await memberships.leave(ID(), by: principal) } == "organization.not_found")
            // From one organization out of the other.
            try await memberships.leave(ana.organization.id, by: principal, from: Node.origin)
            #expect(try await code { try await node.principal(here.accessToken) } == "auth.invalid_token")
            #expect(
                try await code { try await memberships.leave(ana.organization.id, by: principal) }
                    == "organization.not_found"
            )
            #expect(try await node.events(of: ana.organization.id).last == "member.removed")
            #expect(try await node.principal(ben.accessToken).organization == home)

            // Out of the home: another organization becomes it.
            let cora = try await node.add("cora", as: .member, by: ana)
            try await node.bring("cora", as: .member, to: ben)
            let (coras, _) = try await node.call(try await node.logIn("cora").accessToken)
            try await memberships.leave(ana.organization.id, by: coras)
            #expect(try await node.logIn("cora").organization.id == home)
            // Out of the last one: the account goes too.
            try await memberships.leave(home, by: coras)
            #expect(try await code { try await node.logIn("cora") } == "auth.invalid_credentials")
            #expect(try await node.rows("SELECT id FROM users WHERE id = \(cora.user.id)", as: String.self).isEmpty)

            let (_, token) = try await node.identity.apiKeys.create(
                NewAPIKey(name: "k", permissions: [.contactsRead]),
                by: principal,
                in: scope
            )
            let (key, _) = try await node.call(token.secret)
            #expect(try await code { try await memberships.leave(home, by: key) } == "organization.not_found")
        }
    }

    @Test("somebody who leaves while they accept elsewhere ends up in one of two states", arguments: TestDatabase.kinds)
    func leaveRace(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            let cora = try await node.add("cora", as: .member, by: ana)
            let code = try await node.invite("cora", as: .member, by: ben)
            let principal = try await node.principal(try await node.logIn("cora").accessToken)
            let identity = node.identity
            await withTaskGroup(of: Void.self) { group in
                group.addTask { _ = try? await identity.invitations.accept(code, by: principal) }
                group.addTask { try? await identity.memberships.leave(ana.organization.id, by: principal) }
            }
            let homes: [ID<OrganizationEntity>] = try await node.rows(
                "SELECT organization_id FROM users WHERE id = \(cora.user.id)"
            )
            let memberships: [ID<OrganizationEntity>] = try await node.rows(
                "SELECT organization_id FROM memberships WHERE user_id = \(cora.user.id)"
            )
            // An account has a home that it belongs to, or is gone.
            #expect(homes.allSatisfy(memberships.contains) && homes.isEmpty == memberships.isEmpty)
        }
    }
}

@Suite struct APIKeyTests {
    @Test("a key authenticates with its permissions and can do no more than its creator", arguments: TestDatabase.kinds)
    func create(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            _ = try await node.add("adam", as: .admin, by: ana)
            let keys = node.identity.apiKeys
            let (admin, scope) = try await node.call(try await node.logIn("adam").accessToken)
            let refused = try await problem {
                try await keys.create(NewAPIKey(name: "k", permissions: [.billingWrite]), by: admin, in: scope)
            }
            #expect(refused.code == "api_key.beyond_authority" && refused.errors.map(\.pointer) == ["/permissions"])
            let (key, token) = try await keys.create(
                NewAPIKey(name: "k", permissions: [.conversationsRead, .conversationsWrite]),
                by: admin,
                in: scope
            )
            let principal = try await node.principal(token.secret)
            #expect(principal.actor == .apiKey(key.id) && principal.organization == ana.organization.id)
            #expect(principal.permissions == [.conversationsRead, .conversationsWrite] && principal.session == nil)
            let stored = try await keys.get(key.id, in: scope)
            #expect(stored.prefix == token.secret.exposed.prefix(12) && stored.permissions == key.permissions)
            #expect(try await keys.list(PageRequest(), in: scope).items.map(\.id) == [key.id])
            #expect(try await keys.rename(key.id, to: "website", in: scope).name == "website")
            #expect(
                try await node.events(of: ana.organization.id).suffix(2) == ["api_key.created", "api_key.updated"]
            )
        }
    }

    @Test("what a creator may give is read when the key is made", arguments: TestDatabase.kinds)
    func demoted(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let adam = try await node.add("adam", as: .admin, by: ana)
            let keys = node.identity.apiKeys
            // Another node remembers the admin.
            let sibling = await node.sibling()
            let session = try await node.logIn("adam")
            let (admin, scope) = try await sibling.call(session.accessToken)
            let (owner, ownScope) = try await node.call(ana.accessToken)
            _ = try await node.identity.memberships.change(adam.user.id, to: .member, by: owner, in: ownScope)
            let remembered = try await sibling.principal(session.accessToken)
            #expect(remembered.permissions == testRoles.admin)
            for permission in [Permission.contactsRead, .agentsWrite] {
                let refused = try await code {
                    try await sibling.identity.apiKeys.create(
                        NewAPIKey(name: "k", permissions: [permission]),
                        by: admin,
                        in: scope
                    )
                }
                #expect(refused == "auth.forbidden")
            }

            // The same holds for a key that was deleted.
            let (key, token) = try await keys.create(
                NewAPIKey(name: "k", permissions: testRoles.admin),
                by: owner,
                in: ownScope
            )
            let (caller, keyScope) = try await sibling.call(token.secret)
            try await keys.delete(key.id, in: ownScope)
            #expect(
                try await code {
                    try await sibling.identity.apiKeys.create(
                        NewAPIKey(name: "k", permissions: [.contactsRead]),
                        by: caller,
                        in: keyScope
                    )
                } == "auth.forbidden"
            )
            #expect(try await node.rows("SELECT count(*) FROM api_keys", as: Int.self) == [0])
        }
    }

    @Test("a key makes keys of its own permissions and of its own life", arguments: TestDatabase.kinds)
    func children(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let (owner, ownScope) = try await node.call(ana.accessToken)
            let keys = node.identity.apiKeys
            let end = node.clock.now + .seconds(3_600)
            let (_, token) = try await keys.create(
                NewAPIKey(name: "k", permissions: [.apiKeysWrite, .contactsRead], expiresAt: end),
                by: owner,
                in: ownScope
            )
            let (key, scope) = try await node.call(token.secret)
            func make(_ permissions: Set<Permission>, until expiresAt: Timestamp?) async throws -> APIKey {
                try await keys.create(
                    NewAPIKey(name: "child", permissions: permissions, expiresAt: expiresAt),
                    by: key,
                    in: scope
                ).key
            }
            for later in [nil, end + .milliseconds(1)] {
                let refused = try await problem { try await make([.contactsRead], until: later) }
                #expect(refused.code == "api_key.beyond_authority" && refused.errors.map(\.pointer) == ["/expires_at"])
            }
            let refused = try await problem { try await make([.contactsWrite], until: end) }
            #expect(refused.code == "api_key.beyond_authority" && refused.errors.map(\.pointer) == ["/permissions"])
            let child = try await make([.contactsRead], until: end)
            #expect(child.expiresAt == end && child.createdBy == nil)
        }
    }

    @Test("unknown, mistyped and foreign keys are refused alike", arguments: TestDatabase.kinds)
    func unknown(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            let unknown = APIKeyToken().secret
            for secret in [
                unknown, unknown, Secret("kv_live_x"), Secret("kv_live_" + String(repeating: "a", count: 9_000)),
            ] {
                #expect(try await code { try await node.principal(secret) } == "auth.invalid_token")
            }
            let (principal, scope) = try await node.call(ana.accessToken)
            let (key, _) = try await node.identity.apiKeys.create(
                NewAPIKey(name: "k", permissions: [.contactsRead]),
                by: principal,
                in: scope
            )
            let foreign = OrganizationScope.authenticated(ben.organization.id, as: .user(ben.user.id))
            let keys = node.identity.apiKeys
            #expect(try await code { try await keys.get(key.id, in: foreign) } == "api_key.not_found")
            #expect(try await code { try await keys.delete(key.id, in: foreign) } == "api_key.not_found")
        }
    }

    @Test(
        "a deleted key stops here at once and elsewhere within ten seconds; an expired one on time",
        arguments: TestDatabase.kinds
    )
    func ending(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let (principal, scope) = try await node.call(ana.accessToken)
            let keys = node.identity.apiKeys
            let sibling = await node.sibling()
            let (key, token) = try await keys.create(
                NewAPIKey(name: "k", permissions: [.contactsRead]),
                by: principal,
                in: scope
            )
            _ = try await node.principal(token.secret)
            _ = try await sibling.principal(token.secret)
            try await keys.delete(key.id, in: scope)
            #expect(try await code { try await node.principal(token.secret) } == "auth.invalid_token")
            _ = try await sibling.principal(token.secret)
            node.clock.advance(by: .seconds(10))
            #expect(try await code { try await sibling.principal(token.secret) } == "auth.invalid_token")

            #expect(
                try await code {
                    try await keys.create(
                        NewAPIKey(name: "k", permissions: [.contactsRead], expiresAt: node.clock.now),
                        by: principal,
                        in: scope
                    )
                } == "request.invalid"
            )
            let (_, short) = try await keys.create(
                NewAPIKey(name: "k", permissions: [.contactsRead], expiresAt: node.clock.now + .seconds(5)),
                by: principal,
                in: scope
            )
            _ = try await node.principal(short.secret)
            node.clock.advance(by: .seconds(5))
            #expect(try await code { try await node.principal(short.secret) } == "auth.invalid_token")
        }
    }

    @Test("the last use is written down outside of requests", arguments: TestDatabase.kinds)
    func usage(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let (principal, scope) = try await node.call(ana.accessToken)
            let (key, token) = try await node.identity.apiKeys.create(
                NewAPIKey(name: "k", permissions: [.contactsRead]),
                by: principal,
                in: scope
            )
            _ = try await node.principal(token.secret)
            node.clock.advance(by: .seconds(3))
            _ = try await node.principal(token.secret)
            #expect(try await node.identity.apiKeys.get(key.id, in: scope).lastUsedAt == nil)
            try await node.identity.noteKeyUses()
            #expect(try await node.identity.apiKeys.get(key.id, in: scope).lastUsedAt == node.clock.now)
            try await node.identity.noteKeyUses()
        }
    }
}
