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
            #expect(principal.permissions == testRoles.owner && principal.session != nil)
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

    @Test("wrong passwords are counted by account and network, and from everywhere", arguments: TestDatabase.kinds)
    func attempts(on kind: TestDatabase.Kind) async throws {
        var configuration = IdentityConfiguration()
        configuration.passwordCost = PasswordCost(memoryKiB: 32, passes: 1)
        configuration.attempts = 3
        configuration.attemptsEverywhere = 8
        // So that nothing refills while the test runs.
        configuration.attemptPeriod = .seconds(1_000_000)
        try await withNode(on: kind, configuration: configuration) { node in
            _ = try await node.signUp("ana")
            func logIn(_ password: Secret, from address: String, as name: String = "ana") async throws -> SignedIn {
                try await node.identity.sessions.logIn(
                    email: "\(name)@example.com",
                    password: password,
                    from: RequestOrigin(requestID: "r", address: address, userAgent: nil)
                )
            }
            func refusal(_ address: String, _ password: Secret = Secret("not the password")) async throws -> Problem {
                try await problem { try await logIn(password, from: address) }
            }
            // The right one costs nothing.
            for _ in 0..<20 { _ = try await logIn(Node.password, from: "198.51.100.1") }
            for _ in 0..<3 { #expect(try await refusal("198.51.100.1").code == "auth.invalid_credentials") }
            let refused = try await refusal("198.51.100.77", Node.password)
            #expect(refused.status == .tooManyRequests && (refused.retryAfterSeconds ?? 0) > 0)
            // Who is elsewhere is not locked out by that, nor is another account.
            #expect(try await logIn(Node.password, from: "203.0.113.7").user.email == "ana@example.com")
            #expect(
                try await code { try await logIn(Node.password, from: "198.51.100.1", as: "ben") }
                    == "auth.invalid_credentials"
            )
            for number in 0..<5 {
                #expect(try await refusal("192.0.\(number).1").code == "auth.invalid_credentials")
            }
            #expect(try await refusal("203.0.113.7", Node.password).code == "auth.too_many_attempts")
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

    @Test("a session that ended elsewhere cannot be continued", arguments: TestDatabase.kinds)
    func switchingAfterTheEnd(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let second = try await node.identity.organizations.create(NewOrganization(name: "Second"), by: ana.user.id)
            let (principal, scope) = try await node.call(ana.accessToken)
            let sibling = await node.sibling()
            let remembered = try await sibling.principal(ana.accessToken)
            try await node.identity.sessions.logOut(principal, in: scope)
            // The other node still knows the session.
            #expect(try await sibling.principal(ana.accessToken).session == remembered.session)
            let refused = try await problem {
                try await sibling.identity.sessions.switchOrganization(to: second.id, by: remembered)
            }
            #expect(refused.code == "auth.invalid_token" && refused.status == .unauthorized)
            #expect(try await node.rows("SELECT count(*) FROM sessions", as: Int.self) == [1])
        }
    }

    @Test("a session is not continued where it is", arguments: TestDatabase.kinds)
    func switchingNowhere(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let principal = try await node.principal(ana.accessToken)
            let refused = try await problem {
                try await node.identity.sessions.switchOrganization(to: ana.organization.id, by: principal)
            }
            #expect(refused.code == "auth.same_organization" && refused.status == .conflict)
        }
    }

    enum Ending: CaseIterable { case logOut, reuse, password }

    @Test(
        "what was switched to ends with the sign-in that it goes back to",
        arguments: TestDatabase.kinds,
        Ending.allCases
    )
    func family(on kind: TestDatabase.Kind, _ ending: Ending) async throws {
        try await withNode(on: kind) { node in
            let sessions = node.identity.sessions
            let ana = try await node.signUp("ana")
            let other = try await node.logIn("ana")
            let second = try await node.identity.organizations.create(NewOrganization(name: "Second"), by: ana.user.id)
            let third = try await node.identity.organizations.create(NewOrganization(name: "Third"), by: ana.user.id)
            let there = try await sessions.switchOrganization(
                to: second.id,
                by: try await node.principal(ana.accessToken)
            )
            let further = try await sessions.switchOrganization(
                to: third.id,
                by: try await node.principal(there.accessToken)
            )
            let family = [ana, there, further]
            for signedIn in family + [other] { _ = try await node.principal(signedIn.accessToken) }
            switch ending {
            case .logOut:
                let (principal, scope) = try await node.call(there.accessToken)
                try await sessions.logOut(principal, in: scope)
            case .reuse:
                _ = try await sessions.refresh(ana.refreshToken)
                node.clock.advance(by: .seconds(11))
                #expect(try await code { try await sessions.refresh(ana.refreshToken) } == "auth.refresh_reused")
            case .password:
                let (principal, scope) = try await node.call(other.accessToken)
                try await node.identity.users.changePassword(
                    from: Node.password,
                    to: Secret("a new password"),
                    by: principal,
                    in: scope
                )
            }
            for signedIn in family {
                #expect(try await code { try await node.principal(signedIn.accessToken) } == "auth.invalid_token")
                #expect(
                    try await code { try await sessions.refresh(signedIn.refreshToken) } == "auth.invalid_refresh_token"
                )
            }
            #expect(try await node.principal(other.accessToken).actor == .user(ana.user.id))
        }
    }

    @Test("switching does not make a sign-in last longer", arguments: TestDatabase.kinds)
    func switchingAndExpiry(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let sessions = node.identity.sessions
            var ana = try await node.signUp("ana")
            let second = try await node.identity.organizations.create(NewOrganization(name: "Second"), by: ana.user.id)
            for _ in 0..<6 {
                node.clock.advance(by: .seconds(28 * 86_400))
                ana = try await sessions.refresh(ana.refreshToken)
            }
            // 168 of 180 days have passed.
            let there = try await sessions.switchOrganization(
                to: second.id,
                by: try await node.principal(ana.accessToken)
            )
            let next = try await sessions.refresh(there.refreshToken)
            node.clock.advance(by: .seconds(12 * 86_400 - 1))
            let last = try await sessions.refresh(next.refreshToken)
            node.clock.advance(by: .seconds(1))
            #expect(try await code { try await sessions.refresh(last.refreshToken) } == "auth.invalid_refresh_token")
            #expect(try await code { try await node.principal(last.accessToken) } == "auth.invalid_token")
        }
    }

    @Test("ended sessions are deleted thirty days later, with their tokens", arguments: TestDatabase.kinds)
    func purge(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            _ = try await node.signUp("ana")
            node.clock.advance(by: .seconds(20 * 86_400))
            _ = try await node.logIn("ana")
            node.clock.advance(by: .seconds(40 * 86_400 + 1))
            try await node.purge()
            #expect(try await node.rows("SELECT count(*) FROM sessions", as: Int.self) == [1])
            #expect(try await node.purge() == 0)

            // One that was ended goes thirty days after that.
            let (principal, scope) = try await node.call(try await node.logIn("ana").accessToken)
            try await node.identity.sessions.logOut(principal, in: scope)
            node.clock.advance(by: .seconds(30 * 86_400 + 1))
            try await node.purge()
            #expect(try await node.rows("SELECT count(*) FROM sessions", as: Int.self) == [0])
        }
    }

    @Test("of a session that goes on, the tokens that are past their end are deleted", arguments: TestDatabase.kinds)
    func tokenPurge(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            var ana = try await node.signUp("ana")
            for _ in 0..<3 {
                node.clock.advance(by: .seconds(20 * 86_400))
                ana = try await node.identity.sessions.refresh(ana.refreshToken)
            }
            #expect(try await node.rows("SELECT count(*) FROM refresh_tokens", as: Int.self) == [4])
            #expect(try await node.purge() == 2)
            #expect(try await node.identity.sessions.refresh(ana.refreshToken).user.id == ana.user.id)
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
            _ = try await node.principal(token.secret)
            try await node.identity.noteKeyUses()
            let code = try await node.invite("ben", as: .member, by: ana)
            let second = try await node.identity.organizations.create(NewOrganization(name: "Second"), by: ana.user.id)
            let there = try await node.identity.sessions.switchOrganization(to: second.id, by: principal)
            let joined = try await node.identity.sessions.join(
                Joining(
                    code: try await node.invite("cora", as: .member, by: ana),
                    name: "Cora",
                    password: Node.password
                )
            )
            let secrets = [
                Node.password, ana.accessToken, ana.refreshToken, next.accessToken, next.refreshToken, token.secret,
                code, there.accessToken, there.refreshToken, joined.accessToken, joined.refreshToken,
            ]
            let texts = try await everything(in: node, kind)
            // The test sees what is there.
            #expect(texts.contains { $0.contains("ana@example.com") })
            for table in ["organizations", "users", "sessions", "refresh_tokens", "api_keys", "invitations", "events"] {
                #expect(texts.contains { $0.hasPrefix("\(table).") }, "nothing of \(table)")
            }
            for secret in secrets {
                #expect(!texts.contains { $0.contains(secret.exposed) })
                // Nor what is left of it in another notation.
                let hexadecimal = secret.exposed.utf8.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }
                #expect(!texts.contains { $0.contains(hexadecimal.joined()) })
            }
            let events: [JSON] = try await node.rows("SELECT data FROM events")
            for text in events.map(\.text) {
                #expect(!text.contains("@") && !text.contains("kv_live_") && !text.contains("argon2"))
            }
        }
    }

    /// Every value of every column of every table as text, after `table.column: `.
    private func everything(in node: Node, _ kind: TestDatabase.Kind) async throws -> [String] {
        let columns: [String] =
            switch kind {
            case .sqlite:
                try await node.rows(
                    """
                    SELECT m.name || '.' || c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
                    WHERE m.type = 'table' AND m.name NOT GLOB '*_search*' AND m.name NOT GLOB 'sqlite_*'
                    """
                )
            case .postgres:
                try await node.rows(
                    """
                    SELECT CAST(table_name || '.' || column_name AS text) FROM information_schema.columns
                    WHERE table_schema = 'public'
                    """
                )
            }
        var texts: [String] = []
        for name in columns {
            let parts = name.split(separator: ".").map(String.init)
            let (table, column) = (SQL(trusted: parts[0]), SQL(trusted: parts[1]))
            let value: SQL =
                switch kind {
                // Bytes as digits, whatever they hold.
                case .sqlite: "CASE typeof(\(column)) WHEN 'blob' THEN lower(hex(\(column))) ELSE \(column) END"
                case .postgres: column
                }
            let values: [String] = try await node.rows(
                "SELECT CAST(\(value) AS text) FROM \(table) WHERE \(column) IS NOT NULL"
            )
            texts += values.map { "\(name): \($0)" }
        }
        return texts
    }
}
