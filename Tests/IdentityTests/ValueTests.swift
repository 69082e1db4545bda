import Events
import Jobs
import Kernel
import Testing
import Web

@testable import Identity

@Suite struct SlugTests {
    @Test(
        "a slug is made from a name",
        arguments: [
            ("Kafe Tirana", "kafe-tirana"), ("Çëlësi i Artë", "celesi-i-arte"), ("  A&B -- Co.  ", "a-b-co"),
            ("O'Neill’s", "oneills"), ("Straße 7", "strasse-7"), ("Cafe\u{301} Zu\u{308}rich", "cafe-zurich"),
            ("日本", "company"), ("", "company"), ("X", "x-org"), ("Admin", "admin-org"), ("Łódź Ærø", "lodz-aero"),
        ]
    )
    func made(from name: String, expected: String) {
        let slug = Slug.made(from: name)
        #expect(slug == expected)
        #expect(Schema.StringFormat.slug.matches(slug) && Slug.length.contains(slug.count) && !Slug.isReserved(slug))
    }

    @Test("a slug of a long name has room for its suffix")
    func long() {
        let name = String(repeating: "ab ", count: 40)
        for slug in [Slug.made(from: name), Slug.made(from: name, suffix: "x7k2p")] {
            #expect(Schema.StringFormat.slug.matches(slug) && Slug.length.contains(slug.count))
        }
        #expect(Slug.made(from: "Admin", suffix: "x7k2p") == "admin-x7k2p")
    }
}

@Suite struct RoleMatrixTests {
    @Test("owners hold everything, admins and members what is granted to them")
    func matrix() {
        #expect(testRoles.owner == Set(testRoles.all))
        #expect(testRoles.owner.subtracting(testRoles.admin) == [.organizationDelete, .billingWrite])
        #expect(
            testRoles.member == [
                .organizationRead, .membersRead, .conversationsRead, .conversationsWrite, .contactsRead, .contactsWrite,
                .agentsRead,
            ]
        )
    }

    @Test(
        "who may decide about whom",
        arguments: [
            (MemberRole.owner, true, [MemberRole.owner, .admin, .member]), (.admin, true, [.admin, .member]),
            (.member, true, [.member]), (.owner, false, [.admin, .member]), (.admin, false, [.admin, .member]),
        ]
    )
    func authority(role: MemberRole, isPerson: Bool, expected: [MemberRole]) {
        let authority = Authority(permissions: testRoles.permissions(of: role), isPerson: isPerson, testRoles)
        #expect(MemberRole.allCases.filter(authority.covers) == expected)
    }
}

@Suite struct PasswordTests {
    @Test("a hash is argon2id with the documented cost, salted, and recognizes its password")
    func hash() async throws {
        let hasher = PasswordHasher()
        let (first, second) = (try await hasher.hash(Node.password), try await hasher.hash(Node.password))
        #expect(first.hasPrefix("$argon2id$v=19$m=47104,t=1,p=1$"))
        #expect(first != second)
        #expect(try await hasher.verify(Node.password, against: first))
        #expect(try await !hasher.verify(Secret("mirë se erdhe 1913"), against: first))
        #expect(try await !hasher.verify(Node.password, against: nil))
    }

    @Test("a hash of the reference implementation's own tests is recognized, whatever its cost")
    func knownAnswer() async throws {
        let hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
        let hasher = PasswordHasher(threads: 1)
        #expect(try await hasher.verify(Secret("password"), against: hash))
        #expect(try await !hasher.verify(Secret("differentpassword"), against: hash))
    }

    @Test("the password of an unknown account is hashed as well")
    func decoy() async throws {
        let hasher = PasswordHasher(threads: 1)
        // Tens of milliseconds; an answer without a hash takes none.
        let time = try await ContinuousClock().measure { _ = try await hasher.verify(Node.password, against: nil) }
        #expect(time > .milliseconds(5))
    }

    @Test("when too many passwords wait, more are refused at once")
    func busy() async throws {
        let hasher = PasswordHasher(threads: 1, waiting: 2, cost: PasswordCost(memoryKiB: 47_104, passes: 6))
        let outcomes = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<12 {
                group.addTask {
                    do {
                        _ = try await hasher.hash(Node.password)
                        return true
                    } catch {
                        let problem = (error as? PasswordError)?.problem
                        #expect(problem?.code == "auth.busy" && problem?.status == .unavailable)
                        #expect(problem?.retryAfterSeconds != nil)
                        return false
                    }
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(outcomes.contains(true))
        #expect(outcomes.contains(false))
        // Room again.
        #expect(try await hasher.hash(Node.password).isEmpty == false)
    }

    @Test("those who log in find room while new passwords are refused")
    func room() async throws {
        let hasher = PasswordHasher(threads: 1, waiting: 4, cost: PasswordCost(memoryKiB: 47_104, passes: 6))
        let hash = try await hasher.hash(Node.password)
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<12 {
                group.addTask {
                    do {
                        _ = try await hasher.hash(Node.password)
                        return true
                    } catch {
                        return false
                    }
                }
            }
            // New passwords fill their half, and the thread is at work.
            while let isHashed = await group.next(), isHashed {}
            await withTaskGroup(of: Void.self) { logins in
                for _ in 0..<2 {
                    logins.addTask {
                        await #expect(throws: Never.self) { try await hasher.verify(Node.password, against: hash) }
                    }
                }
            }
        }
    }

    @Test("a token that is given back can be used again, and no more than that")
    func givingBack() {
        let limiter = RateLimiter<String>(2, per: .seconds(1_000_000))
        func isAllowed(_ key: String) -> Bool { limiter.take(key).isAllowed }
        #expect(isAllowed("a") && isAllowed("a"))
        let refused = limiter.take("a")
        #expect(!refused.isAllowed && refused.retryAfterSeconds > 0)
        limiter.giveBack("a")
        #expect(isAllowed("a") && !isAllowed("a"))
        for _ in 0..<10 { limiter.giveBack("b") }
        #expect(isAllowed("b") && isAllowed("b") && !isAllowed("b"))
        // Given back more often than taken, a bucket is full and not fuller.
        _ = limiter.take("c")
        for _ in 0..<10 { limiter.giveBack("c") }
        #expect(isAllowed("c") && isAllowed("c") && !isAllowed("c"))
        // A bucket without a bottom.
        let open = RateLimiter<String>(.max, per: .seconds(900))
        for _ in 0..<100 { #expect(open.take("a").isAllowed) }
    }

    @Test(
        "the network of an address",
        arguments: [
            ("203.0.113.7", "203.0.113"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1"), ("2001:db8::7", "2001:db8:0"),
            ("::1", "0:0:0"), ("2001::1:2", "2001:0:0"),
        ]
    )
    func networks(address: String, expected: String) {
        #expect(PasswordAttempts.network(of: address) == expected)
        #expect(PasswordAttempts.network(of: nil).isEmpty)
    }

    @Test("a hash that is none is an error, not a wrong password")
    func garbage() async throws {
        let hasher = PasswordHasher(threads: 1)
        await #expect(throws: PasswordError.self) { try await hasher.verify(Node.password, against: "$argon2id$x") }
    }

    @Test(
        "what a password must be",
        arguments: [
            ("123456789", "too_short"), ("1234567890", nil), ("ëëëëëëëëëë", nil),
            (String(repeating: "a", count: 128), nil),
            (String(repeating: "a", count: 129), "too_long"), ("Ana@Example.com", "not_allowed"), ("          ", nil),
        ] as [(String, String?)]
    )
    func rules(password: String, expected: String?) {
        let error = PasswordRules.error(in: Secret(password), email: "ana@example.com", at: "/password")
        #expect(error?.code == expected)
        #expect(error == nil || error?.pointer == "/password")
        #expect(error?.detail.contains(password) != true)
    }
}

@Suite struct AccessTokenTests {
    private let now = Timestamp(milliseconds: 1_800_000_000_123)
    private let user = ID<UserEntity>()
    private let organization = ID<OrganizationEntity>()
    private let session = ID<Session>()

    private func tokens(_ key: String = "key one") async -> AccessTokens {
        await AccessTokens(secretKey: Secret(key), times: SessionTimes())
    }

    @Test("a token is read back until it ends, give or take the leeway")
    func lifetime() async throws {
        let tokens = await tokens()
        // The order of the header's members may change from one to the next.
        for _ in 0..<20 {
            let token = try await tokens.sign(user, in: organization, session, at: now)
            let claims = try #require(await tokens.read(token, at: now))
            #expect(claims.user == user && claims.organization == organization && claims.session == session)
            #expect(await tokens.read(token, at: now + .seconds(904)) != nil)
            #expect(await tokens.read(token, at: now + .seconds(905)) == nil)
            #expect(await tokens.read(token, at: now - .seconds(4)) != nil)
            #expect(await tokens.read(token, at: now - .seconds(6)) == nil)
            #expect(!"\(token)".contains("ey"))
        }
    }

    @Test("another key's token is none")
    func otherKey() async throws {
        let token = try await tokens("key two").sign(user, in: organization, session, at: now)
        #expect(await tokens().read(token, at: now) == nil)
    }

    @Test("a changed token is none, wherever it was changed")
    func changed() async throws {
        let tokens = await tokens()
        let token = try await tokens.sign(user, in: organization, session, at: now).exposed
        let bytes = Array(token.utf8)
        for index in stride(from: 0, to: bytes.count, by: 7) {
            var other = bytes
            other[index] = other[index] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
            #expect(await tokens.read(Secret(String(decoding: other, as: UTF8.self)), at: now) == nil, "at \(index)")
        }
    }

    @Test("the header cannot choose the algorithm")
    func algorithms() async throws {
        let tokens = await tokens()
        let parts = try await tokens.sign(user, in: organization, session, at: now).exposed.split(separator: ".")
        let headers = [
            "eyJhbGciOiJub25lIn0", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0", "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9",
            "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9", "", "e30",
        ]
        for header in headers {
            for signature in [String(parts[2]), ""] {
                #expect(await tokens.read(Secret("\(header).\(parts[1]).\(signature)"), at: now) == nil)
            }
        }
    }

    @Test(
        "anything else is none",
        arguments: [
            "", ".", "..", "...", "a.b.c", "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9..",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.====.====", "ëëë.ëëë.ëëë", "\u{0}",
            String(repeating: "a", count: 100_000),
            String(repeating: ".", count: 1_000),
        ]
    )
    func garbage(text: String) async { #expect(await tokens().read(Secret(text), at: now) == nil) }
}

@Suite struct CredentialFormTests {
    @Test("a key is recognized, and no key with one wrong character is")
    func apiKey() throws {
        for _ in 0..<50 {
            let token = APIKeyToken()
            let text = token.secret.exposed
            #expect(text.hasPrefix("kv_live_") && text.count == 54)
            #expect(token.shown == text.prefix(12) && token.hash.count == 64)
            let read = try #require(APIKeyToken(Secret(text)))
            #expect(read.hash == token.hash)
        }
        let bytes = Array(APIKeyToken().secret.exposed.utf8)
        for index in bytes.indices {
            var other = bytes
            other[index] = other[index] == UInt8(ascii: "x") ? UInt8(ascii: "y") : UInt8(ascii: "x")
            #expect(APIKeyToken(Secret(String(decoding: other, as: UTF8.self))) == nil, "at \(index)")
        }
        for text in [
            "", "kv_live_", "kv_live_" + String(repeating: "0", count: 46),
            "kv_live_" + String(repeating: "ë", count: 23),
        ] {
            #expect(APIKeyToken(Secret(text)) == nil)
        }
    }

    @Test("a refresh token is recognized")
    func refreshToken() throws {
        let token = RefreshToken()
        #expect(RefreshToken(token.secret)?.hash == token.hash)
        #expect(RefreshToken(Secret(token.secret.exposed + "a")) == nil)
        #expect(RefreshToken(Secret("kr_" + String(repeating: "-", count: 43))) == nil)
        #expect(RefreshToken().hash != token.hash)
    }
}

@Suite struct ExpiringCacheTests {
    private let start = Timestamp(milliseconds: 1_800_000_000_000)

    private func ask(
        _ cache: ExpiringCache<Int, String>,
        _ key: Int,
        at now: Timestamp
    ) -> ExpiringCache<Int, String>.Ticket? {
        if case .ask(let ticket) = cache.look(for: key, at: now) { ticket } else { nil }
    }

    private func keep(_ cache: ExpiringCache<Int, String>, _ key: Int, _ value: String) throws {
        let ticket = try #require(ask(cache, key, at: start))
        cache.keep(value, for: key, renewAt: start + .seconds(8), until: start + .seconds(10), ticket)
    }

    @Test("one caller renews an answer while the others still use it; then it ends")
    func renewal() throws {
        let cache = ExpiringCache<Int, String>(capacity: 10)
        try keep(cache, 1, "a")
        #expect(ask(cache, 1, at: start + .seconds(7)) == nil)
        #expect(ask(cache, 1, at: start + .seconds(8)) != nil)
        #expect(ask(cache, 1, at: start + .seconds(8)) == nil)
        #expect(ask(cache, 1, at: start + .seconds(10)) != nil)
        #expect(ask(cache, 1, at: start + .seconds(10)) != nil)
    }

    @Test("an answer that was asked for before a removal is not kept")
    func removal() throws {
        let cache = ExpiringCache<Int, String>(capacity: 10)
        let ticket = try #require(ask(cache, 1, at: start))
        cache.remove(2)
        cache.keep("stale", for: 1, renewAt: start + .seconds(8), until: start + .seconds(10), ticket)
        #expect(ask(cache, 1, at: start) != nil)
        try keep(cache, 1, "a")
        try keep(cache, 2, "b")
        cache.removeAll { $0 == "a" }
        #expect(ask(cache, 1, at: start) != nil)
        #expect(ask(cache, 2, at: start) == nil)
    }

    @Test("memory is bounded and what is used stays")
    func capacity() throws {
        let cache = ExpiringCache<Int, String>(capacity: 10)
        try keep(cache, 0, "used")
        for key in 1...1_000 {
            try keep(cache, key, "\(key)")
            #expect(ask(cache, 0, at: start) == nil)
            #expect(cache.count <= 10)
        }
    }
}

@Suite struct BelongingTests {
    private let home = Organization(id: ID(), name: "Home", slug: "home-1", at: Timestamp(milliseconds: 0))
    private let other = Organization(id: ID(), name: "Other", slug: "other-1", at: Timestamp(milliseconds: 0))

    private func belonging(_ organization: Organization, _ status: Organization.Status = .active) -> Belonging {
        Belonging(
            role: .member,
            joinedAt: Timestamp(milliseconds: 0),
            organization: Belonging.OrganizationOutline(
                id: organization.id,
                name: organization.name,
                slug: organization.slug,
                status: status
            )
        )
    }

    @Test("where a login leads")
    func choice() throws {
        let both = [belonging(other), belonging(home)]
        #expect(try Belonging.choose(nil, home: home.id, of: both).organization.id == home.id)
        #expect(try Belonging.choose(other.id, home: home.id, of: both).organization.id == other.id)
        #expect(try Belonging.choose(nil, home: home.id, of: [belonging(other)]).organization.id == other.id)
        #expect(throws: OrganizationError.self) { try Belonging.choose(ID(), home: home.id, of: both) }
        #expect(throws: SessionError.invalidCredentials) { try Belonging.choose(nil, home: home.id, of: []) }
        for requested in [nil, home.id] {
            #expect(throws: OrganizationError.self) {
                try Belonging.choose(requested, home: home.id, of: [belonging(home, .suspended), belonging(other)])
            }
        }
    }
}

@Suite struct DeclarationTests {
    @Test("every event is declared once and its example fits")
    func events() throws { _ = try EventCatalogue(IdentityModule.events) }

    @Test("no event has a place for an address, a password or a token")
    func eventsHoldNoSecrets() {
        for type in IdentityModule.events {
            let names = (type.example.object?.keys ?? []) + [type.summary]
            #expect(!names.contains { ["email", "password", "token", "key_hash", "key"].contains($0) })
        }
    }
}
