import Events
package import Kernel
package import Storage

/// What the administrator of an installation does from a shell, as nobody inside an organization may.
package struct AdministrationService: Sendable {
    private let database: any Database
    private let passwords: PasswordHasher
    private let now: @Sendable () -> Timestamp

    package init(
        database: any Database,
        passwordCost: PasswordCost = .standard,
        now: @escaping @Sendable () -> Timestamp = { .now() }
    ) {
        self.database = database
        passwords = PasswordHasher(threads: 1, cost: passwordCost)
        self.now = now
    }

    /// Gives an account another password and ends all its sessions.
    ///
    /// - Parameter password: nil for a random one.
    /// - Returns: The password.
    @discardableResult
    package func resetPassword(of email: String, to password: Secret? = nil) async throws -> Secret {
        let user = try await database.read(for: .authentication) { tx in try UserStore.find(email: email, in: tx) }
        guard let user else { throw UserError.unknown }
        // 119 bits, without characters that a shell or a reader might take for something else.
        let password = password ?? Secret(RandomToken.characters(20))
        try PasswordRules.check(password, email: user.email, at: "/password")
        let hash = try await passwords.hash(password)
        let now = now()
        try await database.write(for: .authentication) { tx in
            guard let user = try UserStore.find(user.id, in: tx) else { throw UserError.unknown }
            try UserStore.setPassword(of: user.id, to: hash, at: now, in: tx)
            try SessionStore.revokeAll(of: user.id, but: nil, because: SessionStore.passwordReset, at: now, tx)
            try tx.record(
                .user(IdentityEvents.userPasswordChanged, user.id),
                in: .job(of: user.organizationID),
                now: now
            )
        }
        return password
    }

    /// Lets nobody act in an organization until it is resumed.
    ///
    /// Nodes that run notice within `SessionTimes.check`.
    ///
    /// - Returns: Whether it was active.
    @discardableResult
    package func suspend(_ slug: String) async throws -> Bool {
        try await change(slug, to: .suspended, IdentityEvents.organizationSuspended) { $0.suspend(at: $1) }
    }

    /// - Returns: Whether it was suspended.
    @discardableResult
    package func resume(_ slug: String) async throws -> Bool {
        try await change(slug, to: .active, IdentityEvents.organizationResumed) { $0.resume(at: $1) }
    }

    private func change(
        _ slug: String,
        to status: Organization.Status,
        _ event: EventType,
        _ change: @escaping @Sendable (inout Organization, Timestamp) -> Void
    ) async throws -> Bool {
        let id = try await database.read(for: .authentication) { tx in try OrganizationStore.id(ofSlug: slug, in: tx) }
        guard let id else { throw OrganizationError.unknown }
        let scope = OrganizationScope.job(of: id)
        let now = now()
        return try await database.write(scope) { tx in
            let organizations = OrganizationStore(tx: tx, scope: scope)
            var organization = try organizations.get()
            guard organization.status != status else { return false }
            change(&organization, now)
            try organizations.save(organization)
            try tx.record(.organization(event, organization), in: scope, now: now)
            return true
        }
    }
}
