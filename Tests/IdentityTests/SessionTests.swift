import Kernel
import Storage
import TestKit
import Testing

@testable import Identity

@Suite struct SessionTests {
    @Test("signing up creates an organization, its owner and a session, and tells it", arguments: TestDatabase.kinds)
    func signUp(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("Ana", organization: "Çëlësi i Artë")
            #expect(ana.user.email == "ana@example.com" && ana.user.role == .owner)
            #expect(ana.organization.slug == "celesi-i-arte" && ana.organization.status == .active)
            #expect(ana.user.organizationID == ana.organization.id)
            #expect(ana.expiresIn == .seconds(900))
            let principal = try await node.principal(ana.accessToken)
            #expect(principal.actor == .user(ana.user.id) && principal.organization == ana.organization.id)
            #expect(principal.permissions == RoleMatrix.owner && principal.session != nil)
            let events = try await node.events(of: ana.organization.id)
            #expect(Set(events) == ["user.created", "organization.created", "member.added"] && events.count == 3)
            let hashes: [String] = try await node.rows("SELECT password_hash FROM users")
            #expect(hashes.allSatisfy { $0.hasPrefix("$argon2id$") })
        }
    }

    @Test("a taken address is told and leaves nothing behind", arguments: TestDatabase.kinds)
    func takenEmail(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            _ = try await node.signUp("ana")
            #expect(try await code { try await node.signUp("ANA", organization: "Another") } == "user.email_taken")
            #expect(try await node.rows("SELECT count(*) FROM organizations", as: Int.self) == [1])
            #expect(try await node.rows("SELECT count(*) FROM sessions", as: Int.self) == [1])
        }
    }

    @Test("organizations of one name get slugs of their own, also at the same time", arguments: TestDatabase.kinds)
    func sameName(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let slugs = try await withThrowingTaskGroup(of: String.self) { group in
                for number in 0..<5 { group.addTask { try await node.signUp("user\(number)").organization.slug } }
                return try await group.reduce(into: Set()) { $0.insert($1) }
            }
            #expect(slugs.count == 5 && slugs.contains("kafe-tirana"))
            #expect(slugs.allSatisfy { $0.hasPrefix("kafe-tirana") })
        }
    }

    @Test("a slug that was asked for is refused when taken or reserved", arguments: TestDatabase.kinds)
    func slugs(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            func signUp(_ name: String, _ slug: String) async throws -> SignedIn {
                try await node.identity.sessions.signUp(
                    SignUp(
                        email: "\(name)@example.com",
                        password: Node.password,
                        name: name,
                        organization: NewOrganization(name: "X", slug: slug)
                    )
                )
            }
            #expect(try await signUp("ana", "kafe").organization.slug == "kafe")
            #expect(try await code { try await signUp("ben", "kafe") } == "organization.slug_taken")
            let refused = try await problem { try await signUp("ben", "admin") }
            #expect(refused.errors.map(\.pointer) == ["/organization_slug"])
            #expect(try await node.rows("SELECT count(*) FROM users", as: Int.self) == [1])
        }
    }

    @Test("a bad password is told by field", arguments: TestDatabase.kinds)
    func badPassword(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let refused = try await problem {
                try await node.identity.sessions.signUp(
                    SignUp(
                        email: "ana@example.com",
                        password: Secret("ANA@example.com"),
                        name: "Ana",
                        organization: NewOrganization(name: "X")
                    )
                )
            }
            #expect(refused.status == .badRequest && refused.errors.map(\.pointer) == ["/password"])
        }
    }

    @Test(
        "logging in takes the address in any case; a wrong password and an unknown address look alike",
        arguments: TestDatabase.kinds
    )
    func logIn(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let again = try await node.logIn("ANA")
            #expect(
                again.user.id == ana.user.id && again.organization.id == ana.organization.id && again.role == .owner
            )
            #expect(try await node.principal(again.accessToken).session != node.principal(ana.accessToken).session)
            let wrong = try await problem {
                try await node.identity.sessions.logIn(email: "ana@example.com", password: Secret("not the password"))
            }
            let unknown = try await problem { try await node.logIn("nobody") }
            #expect(wrong == unknown && wrong.code == "auth.invalid_credentials" && wrong.status == .unauthorized)
            #expect(try await code { try await node.logIn("ana", to: ID()) } == "organization.not_found")
            #expect(try await node.events(of: ana.organization.id).last == "user.signed_in")
        }
    }

    @Test("attempts at one account are counted, right or wrong", arguments: TestDatabase.kinds)
    func attempts(on kind: TestDatabase.Kind) async throws {
        var configuration = IdentityConfiguration()
        configuration.passwordCost = PasswordCost(memoryKiB: 32, passes: 1)
        try await withNode(on: kind, configuration: configuration) { node in
            _ = try await node.signUp("ana")
            for _ in 0..<10 { _ = try? await node.logIn("ana") }
            let refused = try await problem { try await node.logIn("Ana") }
            #expect(refused.status == .tooManyRequests && (refused.retryAfterSeconds ?? 0) > 0)
            #expect(try await code { try await node.logIn("ben") } == "auth.invalid_credentials")
        }
    }

    @Test(
        "a suspended organization lets nobody in, a deleted one is as if it were not there",
        arguments: TestDatabase.kinds
    )
    func status(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            func set(_ status: String, _ deletedAt: Timestamp?) async throws {
                try await node.database.migrate { tx in
                    _ = try tx.execute("UPDATE organizations SET status = \(status), deleted_at = \(deletedAt)")
                }
                node.clock.advance(by: .seconds(10))
            }
            _ = try await node.principal(ana.accessToken)
            try await set("suspended", nil)
            #expect(try await code { try await node.logIn("ana") } == "organization.suspended")
            #expect(try await code { try await node.principal(ana.accessToken) } == "organization.suspended")
            #expect(
                try await code { try await node.identity.sessions.refresh(ana.refreshToken) }
                    == "organization.suspended"
            )
            try await set("deleted", node.clock.now)
            #expect(try await code { try await node.logIn("ana") } == "auth.invalid_credentials")
            #expect(try await code { try await node.principal(ana.accessToken) } == "auth.invalid_token")
            #expect(
                try await code { try await node.identity.sessions.refresh(ana.refreshToken) }
                    == "auth.invalid_refresh_token"
            )
            try await set("active", nil)
            #expect(try await node.principal(ana.accessToken).actor == .user(ana.user.id))
        }
    }

    // MARK: Refreshing

    @Test(
        "a refresh token is exchanged once; within the window it receives the same successor",
        arguments: TestDatabase.kinds
    )
    func rotation(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let sessions = node.identity.sessions
            let ana = try await node.signUp("ana")
            let second = try await sessions.refresh(ana.refreshToken)
            #expect(second.refreshToken != ana.refreshToken && second.user.id == ana.user.id)
            #expect(try await node.principal(second.accessToken).session == node.principal(ana.accessToken).session)
            node.clock.advance(by: .seconds(10))
            let replayed = try await node.sibling().identity.sessions.refresh(ana.refreshToken)
            #expect(replayed.refreshToken == second.refreshToken)
            let third = try await sessions.refresh(second.refreshToken)
            #expect(third.refreshToken != second.refreshToken)
            let sealed: [Int] = try await node.rows("SELECT count(*) FROM refresh_tokens WHERE successor IS NOT NULL")
            #expect(sealed == [1])
        }
    }

    @Test("the same token at the same time leads to one successor", arguments: TestDatabase.kinds)
    func concurrentRefresh(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let successors = try await withThrowingTaskGroup(of: Secret.self) { group in
                for _ in 0..<6 {
                    group.addTask { try await node.identity.sessions.refresh(ana.refreshToken).refreshToken }
                }
                return try await group.reduce(into: Set()) { $0.insert($1) }
            }
            #expect(successors.count == 1)
        }
    }

    @Test("a token that comes back later ends the session, for its successor too", arguments: TestDatabase.kinds)
    func reuse(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let sessions = node.identity.sessions
            let ana = try await node.signUp("ana")
            let second = try await sessions.refresh(ana.refreshToken)
            _ = try await node.principal(second.accessToken)
            node.clock.advance(by: .milliseconds(10_001))
            #expect(try await code { try await sessions.refresh(ana.refreshToken) } == "auth.refresh_reused")
            #expect(try await code { try await sessions.refresh(second.refreshToken) } == "auth.invalid_refresh_token")
            #expect(try await code { try await node.principal(second.accessToken) } == "auth.invalid_token")
            #expect(try await node.events(of: ana.organization.id).last == "user.session_revoked")
            // Other sessions go on.
            #expect(try await node.logIn("ana").user.id == ana.user.id)
        }
    }

    @Test("a session ends 30 days after its last refresh and 180 days after its start", arguments: TestDatabase.kinds)
    func expiry(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let sessions = node.identity.sessions
            let idle = try await node.signUp("ana")
            var busy = try await node.logIn("ana")
            node.clock.advance(by: .seconds(30 * 86_400 - 1))
            busy = try await sessions.refresh(busy.refreshToken)
            node.clock.advance(by: .seconds(1))
            #expect(try await code { try await sessions.refresh(idle.refreshToken) } == "auth.invalid_refresh_token")
            for _ in 0..<5 {
                node.clock.advance(by: .seconds(29 * 86_400))
                busy = try await sessions.refresh(busy.refreshToken)
            }
            node.clock.advance(by: .seconds(10 * 86_400))
            #expect(try await code { try await sessions.refresh(busy.refreshToken) } == "auth.invalid_refresh_token")
        }
    }

    @Test("what is no refresh token is refused", arguments: TestDatabase.kinds)
    func unknownRefreshTokens(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            for secret in [
                Secret(""), Secret("kr_x"), RefreshToken().secret, Secret(String(repeating: "k", count: 5_000)),
            ] {
                let refused = try await code { try await node.identity.sessions.refresh(secret) }
                #expect(refused == "auth.invalid_refresh_token")
            }
        }
    }

    // MARK: Ending

    @Test("logging out ends the session here at once and elsewhere within ten seconds", arguments: TestDatabase.kinds)
    func logOut(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let other = try await node.logIn("ana")
            let sibling = await node.sibling()
            _ = try await sibling.principal(ana.accessToken)
            let (principal, scope) = try await node.call(ana.accessToken)
            try await node.identity.sessions.logOut(principal, in: scope)
            #expect(try await code { try await node.principal(ana.accessToken) } == "auth.invalid_token")
            _ = try await sibling.principal(ana.accessToken)
            node.clock.advance(by: .seconds(10))
            #expect(try await code { try await sibling.principal(ana.accessToken) } == "auth.invalid_token")
            #expect(
                try await code { try await node.identity.sessions.refresh(ana.refreshToken) }
                    == "auth.invalid_refresh_token"
            )
            #expect(try await node.principal(other.accessToken).actor == .user(ana.user.id))
            #expect(try await node.events(of: ana.organization.id).last == "user.signed_out")
        }
    }

    @Test("an access token ends by itself, also when it was seen before", arguments: TestDatabase.kinds)
    func accessExpiry(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            _ = try await node.principal(ana.accessToken)
            node.clock.advance(by: .seconds(904))
            _ = try await node.principal(ana.accessToken)
            node.clock.advance(by: .seconds(1))
            #expect(try await code { try await node.principal(ana.accessToken) } == "auth.invalid_token")
        }
    }

    @Test("switching leads into another organization of the user and nowhere else", arguments: TestDatabase.kinds)
    func switching(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            let second = try await node.identity.organizations.create(NewOrganization(name: "Second"), by: ana.user.id)
            let principal = try await node.principal(ana.accessToken)
            let there = try await node.identity.sessions.switchOrganization(to: second.id, by: principal)
            #expect(try await node.principal(there.accessToken).organization == second.id)
            #expect(try await node.principal(ana.accessToken).organization == ana.organization.id)
            #expect(
                try await code {
                    try await node.identity.sessions.switchOrganization(to: ben.organization.id, by: principal)
                } == "organization.not_found"
            )
            #expect(try await node.logIn("ana", to: second.id).organization.id == second.id)
        }
    }

    @Test("ended sessions are deleted thirty days later, with their tokens", arguments: TestDatabase.kinds)
    func purge(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            _ = try await node.signUp("ana")
            node.clock.advance(by: .seconds(20 * 86_400))
            _ = try await node.logIn("ana")
            node.clock.advance(by: .seconds(40 * 86_400 + 1))
            #expect(try await node.identity.sessionPurge.runOnce() == 1)
            #expect(try await node.identity.sessionPurge.runOnce() == 0)
            #expect(try await node.rows("SELECT count(*) FROM refresh_tokens", as: Int.self) == [1])
        }
    }

    @Test("no secret is stored in the clear", arguments: TestDatabase.kinds)
    func secrets(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let next = try await node.identity.sessions.refresh(ana.refreshToken)
            let (principal, scope) = try await node.call(next.accessToken)
            let (_, token) = try await node.identity.apiKeys.create(
                NewAPIKey(name: "k", permissions: [.contactsRead]),
                by: principal,
                in: scope
            )
            let hashes: [String] = try await node.rows(
                "SELECT token_hash FROM refresh_tokens UNION SELECT key_hash FROM api_keys"
            )
            let secrets = [ana.refreshToken, next.refreshToken, token.secret].map(\.exposed)
            #expect(hashes.count == 3 && hashes.allSatisfy { $0.count == 64 && !secrets.contains($0) })
            let events: [JSON] = try await node.rows("SELECT data FROM events")
            for text in events.map(\.text) {
                #expect(!text.contains("@") && !text.contains("kv_live_") && !text.contains("argon2"))
            }
        }
    }
}
