import Kernel
import Storage
import TestKit
import Testing
import Web

@testable import Identity

@Suite struct InvitationTests {
    private func refusalCode(_ body: () async throws -> some Any) async throws -> String {
        try await problem(body).code
    }

    @Test("an account takes an invitation to its address, once", arguments: TestDatabase.kinds)
    func accept(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            let eve = try await node.signUp("eve", organization: "Third")
            let invitations = node.identity.invitations
            let code = try await node.invite("BEN", as: .admin, by: ana)
            let (principal, _) = try await node.call(ben.accessToken)
            let (stranger, _) = try await node.call(eve.accessToken)
            func refusal(_ code: Secret, _ principal: Principal) async throws -> Problem {
                try await problem { try await invitations.accept(code, by: principal) }
            }
            let other = try await refusal(code, stranger)
            #expect(other.code == "invitation.not_found" && other.status == .notFound)
            #expect(try await refusal(InvitationCode().secret, principal) == other)
            #expect(try await refusal(Secret("nonsense"), principal) == other)

            let belonging = try await invitations.accept(code, by: principal, from: Node.origin)
            #expect(belonging.role == .admin && belonging.organization.id == ana.organization.id)
            #expect(try await refusal(code, principal) == other)
            let there = try await node.logIn("ben", to: ana.organization.id)
            #expect(there.role == .admin)
            // The home stays.
            #expect(try await node.logIn("ben").organization.id == ben.organization.id)
            #expect(
                try await node.events(of: ana.organization.id).suffix(4) == [
                    "invitation.created", "invitation.accepted", "member.added", "user.signed_in",
                ]
            )
            #expect(
                try await refusalCode { try await node.invite("ben", as: .member, by: ana) } == "member.exists"
            )
        }
    }

    @Test("an invitation ends after seven days, and is then deleted", arguments: TestDatabase.kinds)
    func expiry(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            let code = try await node.invite("ben", as: .member, by: ana)
            let second = try await node.invite("cora", as: .member, by: ana)
            let (principal, _) = try await node.call(ben.accessToken)
            let (_, scope) = try await node.call(ana.accessToken)
            let identity = node.identity
            node.clock.advance(by: .seconds(7 * 86_400))
            #expect(
                try await refusalCode { try await identity.invitations.accept(code, by: principal) }
                    == "invitation.not_found"
            )
            #expect(
                try await refusalCode {
                    try await identity.sessions.join(Joining(code: second, name: "Cora", password: Node.password))
                } == "invitation.not_found"
            )
            #expect(try await identity.invitations.list(PageRequest(), in: scope).items.isEmpty)
            #expect(try await node.rows("SELECT count(*) FROM invitations", as: Int.self) == [2])
            try await node.purge()
            #expect(try await node.rows("SELECT count(*) FROM invitations", as: Int.self) == [0])
        }
    }

    @Test("an invitation is worth what its maker may still give", arguments: TestDatabase.kinds)
    func demotedMaker(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            let dora = try await node.signUp("dora", organization: "Third")
            let (owner, scope) = try await node.call(ana.accessToken)
            let entry = try await node.invite("ben", as: .admin, by: ana)
            _ = try await node.identity.invitations.accept(entry, by: node.call(ben.accessToken).0)
            let admin = try await node.logIn("ben", to: ana.organization.id)

            let code = try await node.invite("dora", as: .admin, by: admin)
            let joining = try await node.invite("cora", as: .admin, by: admin)
            let (guest, _) = try await node.call(dora.accessToken)
            _ = try await node.identity.memberships.change(ben.user.id, to: .member, by: owner, in: scope)
            #expect(
                try await refusalCode { try await node.identity.invitations.accept(code, by: guest) }
                    == "invitation.not_found"
            )
            try await node.identity.memberships.remove(ben.user.id, by: owner, in: scope)
            #expect(
                try await refusalCode {
                    try await node.identity.sessions.join(
                        Joining(code: joining, name: "Cora", password: Node.password)
                    )
                } == "invitation.not_found"
            )
            let again = try await node.invite("dora", as: .admin, by: ana)
            #expect(try await node.identity.invitations.accept(again, by: guest).role == .admin)
        }
    }

    @Test("who has no account joins with the code, and has the organization as home", arguments: TestDatabase.kinds)
    func join(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let sessions = node.identity.sessions
            let code = try await node.invite("cora", as: .member, by: ana)
            let weak = try await problem {
                try await sessions.join(Joining(code: code, name: "Cora", password: Secret("CORA@example.com")))
            }
            #expect(weak.errors.map(\.pointer) == ["/password"])
            let cora = try await sessions.join(
                Joining(code: code, name: "Cora", password: Node.password),
                from: Node.origin
            )
            #expect(cora.user.email == "cora@example.com" && cora.user.organizationID == ana.organization.id)
            #expect(cora.role == .member && cora.organization.id == ana.organization.id)
            #expect(try await node.principal(cora.accessToken).permissions == testRoles.member)
            #expect(try await sessions.refresh(cora.refreshToken).user.id == cora.user.id)
            #expect(try await node.logIn("cora").organization.id == ana.organization.id)
            #expect(
                try await refusalCode {
                    try await sessions.join(Joining(code: code, name: "Cora", password: Node.password))
                } == "invitation.not_found"
            )

            _ = try await node.signUp("ben", organization: "Other")
            let taken = try await node.invite("ben", as: .member, by: ana)
            #expect(
                try await refusalCode {
                    try await sessions.join(Joining(code: taken, name: "Ben", password: Node.password))
                } == "user.email_taken"
            )
            // It can still be taken by the account.
            let principal = try await node.principal(try await node.logIn("ben").accessToken)
            #expect(try await node.identity.invitations.accept(taken, by: principal).role == .member)
        }
    }

    @Test("one code that is taken many times at once makes one account", arguments: TestDatabase.kinds)
    func race(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let code = try await node.invite("cora", as: .member, by: ana)
            let outcomes = await withTaskGroup(of: Bool.self) { group in
                for _ in 0..<4 {
                    group.addTask {
                        let new = Joining(code: code, name: "Cora", password: Node.password)
                        return (try? await node.identity.sessions.join(new)) != nil
                    }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(outcomes.count(where: \.self) == 1)
            #expect(try await node.rows("SELECT count(*) FROM users", as: Int.self) == [2])
        }
    }

    @Test("the latest invitation of an address counts; one that is taken back does not", arguments: TestDatabase.kinds)
    func replaced(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let ben = try await node.signUp("ben", organization: "Other")
            let (owner, scope) = try await node.call(ana.accessToken)
            let (principal, foreign) = try await node.call(ben.accessToken)
            let invitations = node.identity.invitations
            let first = try await node.invite("ben", as: .admin, by: ana)
            node.clock.advance(by: .seconds(1))
            let second = try await node.invite("ben", as: .member, by: ana)
            _ = try await node.invite("cora", as: .member, by: ana)
            let page = try await invitations.list(PageRequest(limit: 1), in: scope)
            let rest = try await invitations.list(PageRequest(limit: 1, after: page.next), in: scope)
            #expect(Set((page.items + rest.items).map(\.email)) == ["ben@example.com", "cora@example.com"])
            #expect(rest.next == nil)
            #expect(
                try await refusalCode { try await invitations.accept(first, by: principal) } == "invitation.not_found"
            )
            for invitation in page.items + rest.items {
                #expect(try await invitations.get(invitation.id, in: scope).email == invitation.email)
                #expect(
                    try await refusalCode { try await invitations.get(invitation.id, in: foreign) }
                        == "invitation.not_found"
                )
                #expect(
                    try await refusalCode { try await invitations.delete(invitation.id, by: principal, in: foreign) }
                        == "invitation.not_found"
                )
                try await invitations.delete(invitation.id, by: owner, in: scope)
            }
            #expect(
                try await refusalCode { try await invitations.accept(second, by: principal) }
                    == "invitation.not_found"
            )
            #expect(try await node.events(of: ana.organization.id).last == "invitation.deleted")
        }
    }

    @Test("nobody invites to more than they hold, or takes such an invitation back", arguments: TestDatabase.kinds)
    func authority(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let adam = try await node.add("adam", as: .admin, by: ana)
            let adams = try await node.logIn("adam")
            let (admin, scope) = try await node.call(adams.accessToken)
            let invitations = node.identity.invitations
            #expect(
                try await refusalCode { try await node.invite("x", as: .owner, by: adams) }
                    == "member.beyond_authority"
            )
            _ = try await node.invite("x", as: .owner, by: ana)
            let invitation = try #require(try await invitations.list(PageRequest(), in: scope).items.first)
            #expect(
                try await refusalCode { try await invitations.delete(invitation.id, by: admin, in: scope) }
                    == "member.beyond_authority"
            )
            // Nor by putting another in its place.
            #expect(
                try await refusalCode { try await node.invite("x", as: .member, by: adams) }
                    == "member.beyond_authority"
            )
            // What counts is the role at that moment, not the one when the credential was looked up.
            let (owner, ownScope) = try await node.call(ana.accessToken)
            _ = try await node.identity.memberships.change(adam.user.id, to: .member, by: owner, in: ownScope)
            let new = NewInvitation(email: "y@example.com", role: .member)
            #expect(
                try await refusalCode { try await invitations.invite(new, by: admin, in: scope) } == "auth.forbidden"
            )
        }
    }

    @Test("a suspended or deleted organization takes nobody in", arguments: TestDatabase.kinds)
    func status(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            let ana = try await node.signUp("ana")
            let code = try await node.invite("cora", as: .member, by: ana)
            for (status, deletedAt) in [("suspended", nil), ("deleted", node.clock.now)] {
                try await node.database.migrate { tx in
                    _ = try tx.execute("UPDATE organizations SET status = \(status), deleted_at = \(deletedAt)")
                }
                #expect(
                    try await refusalCode {
                        let new = Joining(code: code, name: "Cora", password: Node.password)
                        return try await node.identity.sessions.join(new)
                    } == "invitation.not_found"
                )
            }
        }
    }
}
