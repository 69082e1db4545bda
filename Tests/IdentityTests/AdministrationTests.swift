import Kernel
import Storage
import TestKit
import Testing

@testable import Identity

@Suite struct AdministrationTests {
    private func service(_ node: Node) -> AdministrationService {
        AdministrationService(
            database: node.database,
            passwordCost: PasswordCost(memoryKiB: 32, passes: 1),
            now: { node.clock.now }
        )
    }

    @Test("a password that is reset is the only one, and no session is left", arguments: TestDatabase.kinds)
    func resetPassword(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            let password = try await service(node).resetPassword(of: "ANA@example.com")
            #expect(password.exposed.count == 20)
            #expect(try await code { try await node.logIn("ana") } == "auth.invalid_credentials")
            let again = try await node.identity.sessions.logIn(email: "ana@example.com", password: password)
            #expect(again.user.id == ana.user.id)
            #expect(try await code { try await node.principal(ana.accessToken) } == "auth.invalid_token")
            #expect(
                try await code { try await node.identity.sessions.refresh(ana.refreshToken) }
                    == "auth.invalid_refresh_token"
            )
            #expect(try await node.principal(ben.accessToken).actor == .user(ben.user.id))
            let actors: [String] = try await node.rows(
                "SELECT actor_kind FROM events WHERE type = 'user.password_changed'"
            )
            #expect(actors == ["system"])

            let chosen = Secret("a password of her own")
            #expect(try await service(node).resetPassword(of: "ana@example.com", to: chosen) == chosen)
            _ = try await node.identity.sessions.logIn(email: "ana@example.com", password: chosen)
            #expect(
                try await code { try await service(node).resetPassword(of: "ana@example.com", to: Secret("short")) }
                    == "request.invalid"
            )
            #expect(try await code { try await service(node).resetPassword(of: "x@example.com") } == "user.not_found")
        }
    }

    @Test("an organization is suspended and resumed", arguments: TestDatabase.kinds)
    func suspend(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            let slug = ana.organization.slug
            _ = try await node.principal(ana.accessToken)
            #expect(try await service(node).suspend(slug))
            #expect(try await service(node).suspend(slug) == false)
            #expect(try await code { try await node.logIn("ana") } == "organization.suspended")
            node.clock.advance(by: .seconds(10))
            #expect(try await code { try await node.principal(ana.accessToken) } == "organization.suspended")
            #expect(try await node.principal(ben.accessToken).organization == ben.organization.id)
            #expect(try await service(node).resume(slug))
            #expect(try await service(node).resume(slug) == false)
            node.clock.advance(by: .seconds(10))
            #expect(try await node.principal(ana.accessToken).organization == ana.organization.id)
            #expect(
                try await node.events(of: ana.organization.id).suffix(2) == [
                    "organization.suspended", "organization.resumed",
                ]
            )
            #expect(try await code { try await service(node).suspend("nowhere") } == "organization.not_found")
        }
    }
}
