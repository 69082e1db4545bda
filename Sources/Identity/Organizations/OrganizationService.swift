import Crypto
import Events
package import Kernel
import Storage

package struct OrganizationService: Sendable {
    let database: any Database
    let credentials: CredentialCheck
    let now: @Sendable () -> Timestamp

    /// Creates an organization that belongs to a user.
    ///
    /// - Parameter request: Where the caller acts. When it carries the claim of an `Idempotency-Key`, the same request made
    ///   again finds the organization that it made before.
    package func create(
        _ new: NewOrganization,
        by user: ID<UserEntity>,
        in request: OrganizationScope? = nil,
        from origin: RequestOrigin? = nil
    ) async throws -> Organization {
        try Slug.check(new.slug, at: "/slug")
        let now = now()
        var repeated = request.flatMap { Self.id(of: new, requestedIn: $0) }
        if let known = repeated {
            let scope = OrganizationScope.authenticated(known, as: .user(user), from: origin)
            if let made = try await made(by: user, in: scope) {
                guard made.status == .deleted else { return made }
                // The key is an old one, and what it made is gone.
                repeated = nil
            }
        }
        let isRepeated = repeated != nil
        let id = repeated ?? ID<OrganizationEntity>()
        let scope = OrganizationScope.authenticated(id, as: .user(user), from: origin)
        try await database.read(for: .authentication) { tx in try MembershipStore.checkRoom(for: user, in: tx) }
        do {
            return try await Self.withSlug(new) { slug in
                let organization = Organization(id: id, name: new.name, slug: slug, at: now)
                try await database.write(scope) { tx in
                    try Self.insert(organization, ownedBy: user, in: scope, tx, at: now)
                }
                return organization
            }
        } catch OrganizationError.slugTaken where isRepeated {
            // By this very request, which was sent twice at a time, or by somebody else.
            guard let made = try await made(by: user, in: scope) else { throw OrganizationError.slugTaken }
            return made
        } catch OrganizationError.exists {
            guard let made = try await made(by: user, in: scope) else { throw OrganizationError.unknown }
            return made
        }
    }

    /// The organization of a scope, if a user belongs to it.
    private func made(by user: ID<UserEntity>, in scope: OrganizationScope) async throws -> Organization? {
        try await database.read(scope) { tx in
            guard try MembershipStore(tx: tx, scope: scope).role(of: user) != nil else { return nil }
            return try OrganizationStore(tx: tx, scope: scope).find()
        }
    }

    /// The id of the organization that a request with an `Idempotency-Key` makes: always the same for the same request.
    ///
    /// The new rows belong to an organization that is not the caller's, so their transaction cannot mark the key as used.
    /// This is what keeps them from being made twice.
    ///
    /// - Returns: A version 8 UUID (RFC 9562 §5.8); nil without a key.
    private static func id(
        of new: NewOrganization,
        requestedIn scope: OrganizationScope
    ) -> ID<OrganizationEntity>? {
        guard let claim = scope.idempotency else { return nil }
        let request: JSON = [
            "organization", .string(scope.id.description), .string(claim.principal), .string(claim.key),
            .string(new.name), .text(new.slug),
        ]
        let digest = SHA256.hash(data: request.bytes)
        func number(_ bytes: some Sequence<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
        return ID(
            high: number(digest.prefix(8)) & 0xFFFF_FFFF_FFFF_0FFF | 0x8000,
            low: number(digest.dropFirst(8).prefix(8)) & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
        )
    }

    /// Inserts an organization and its first member.
    static func insert(
        _ organization: Organization,
        ownedBy user: ID<UserEntity>,
        in scope: OrganizationScope,
        _ tx: any Transaction,
        at now: Timestamp,
        _ insertUser: () throws -> Void = {}
    ) throws {
        try OrganizationStore(tx: tx, scope: scope).insert(organization)
        try insertUser()
        try MembershipStore(tx: tx, scope: scope).insert(Membership(userID: user, role: .owner, at: now))
        try tx.record(.organization(IdentityEvents.organizationCreated, organization), in: scope, now: now)
        try tx.record(.member(IdentityEvents.memberAdded, user, .owner), in: scope, now: now)
    }

    /// Finds a slug that is free by trying: the one that was asked for, or those made from the name.
    static func withSlug<Value>(
        _ new: NewOrganization,
        _ body: (_ slug: String) async throws -> Value
    ) async throws -> Value {
        if let slug = new.slug { return try await body(slug) }
        var suffix: String?
        for _ in 0..<5 {
            do {
                return try await body(Slug.made(from: new.name, suffix: suffix))
            } catch OrganizationError.slugTaken {
                suffix = Slug.randomSuffix()
            }
        }
        throw OrganizationError.slugTaken
    }

    package func get(_ id: ID<OrganizationEntity>, in scope: OrganizationScope) async throws -> Organization {
        guard id == scope.id else { throw OrganizationError.unknown }
        return try await database.read(scope) { tx in try OrganizationStore(tx: tx, scope: scope).get() }
    }

    /// Those that a user belongs to; for an API key just its own.
    package func list(_ page: PageRequest, in scope: OrganizationScope) async throws -> Page<Organization> {
        guard let user = scope.actor.userID else {
            guard page.after == nil else { return Page(items: [], next: nil) }
            return Page(items: [try await get(scope.id, in: scope)], next: nil)
        }
        return try await database.read(for: .authentication) { tx in try OrganizationStore.list(of: user, page, in: tx)
        }
    }

    package func change(
        _ id: ID<OrganizationEntity>,
        _ changes: OrganizationChanges,
        in scope: OrganizationScope,
        check: @escaping @Sendable (Timestamp) throws -> Void = { _ in }
    ) async throws -> Organization {
        guard id == scope.id else { throw OrganizationError.unknown }
        let now = now()
        return try await database.write(scope) { tx in
            let organizations = OrganizationStore(tx: tx, scope: scope)
            let old = try organizations.get()
            try check(old.updatedAt)
            var organization = old
            if let name = changes.name { organization.name = name }
            if let slug = changes.slug, slug != old.slug {
                try Slug.check(slug, at: "/slug")
                organization.slug = slug
            }
            if let settings = changes.settings { organization.settings = settings }
            let changes = JSON.changes([
                .of("name", .string(old.name), .string(organization.name)),
                .of("slug", .string(old.slug), .string(organization.slug)),
                .redacted("settings", old.settings, organization.settings),
            ])
            guard let changes else { return old }
            organization.touch(at: now)
            try organizations.save(organization)
            try tx.record(
                .organization(IdentityEvents.organizationUpdated, organization, changes),
                in: scope,
                now: now
            )
            return organization
        }
    }

    /// Ends an organization: its sessions and keys stop working, its rows wait for the purge.
    package func delete(_ id: ID<OrganizationEntity>, in scope: OrganizationScope) async throws {
        guard id == scope.id else { throw OrganizationError.unknown }
        let now = now()
        try await database.write(scope) { tx in
            let organizations = OrganizationStore(tx: tx, scope: scope)
            var organization = try organizations.get()
            organization.delete(at: now)
            try organizations.save(organization)
            try tx.record(.organization(IdentityEvents.organizationDeleted, organization), in: scope, now: now)
        }
        credentials.forget(organization: scope.id)
    }
}
