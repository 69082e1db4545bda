package import Events
package import Jobs
package import Kernel
package import Logging
package import ServiceLifecycle
package import Storage
import Vault
package import Web

/// What can be set about Identity.
package struct IdentityConfiguration: Sendable {
    package var times = SessionTimes()
    package var passwordCost = PasswordCost.standard
    /// How many passwords are hashed at a time, 46 MiB each.
    package var passwordThreads = 2
    /// How many more may wait.
    package var passwordsWaiting = 64
    /// How many accounts an organization may make for others in `newAccountPeriod`.
    package var newAccounts = 60
    package var newAccountPeriod = Duration.seconds(3_600)
    /// How many wrong passwords of one account are allowed from one network in `attemptPeriod`, and from everywhere.
    package var attempts = 10
    package var attemptsEverywhere = 100
    package var attemptPeriod = Duration.seconds(15 * 60)
    /// How long a deleted organization's rows are kept.
    package var purgeGrace = Duration.seconds(30 * 86_400)

    package init() {}
}

/// The face of Identity.
package struct IdentityModule: Sendable {
    package let sessions: SessionService
    package let users: UserService
    package let organizations: OrganizationService
    package let memberships: MembershipService
    package let invitations: InvitationService
    package let apiKeys: APIKeyService
    package let organizationPurge: OrganizationPurge
    /// What each role may do.
    package let roles: RoleMatrix
    private let credentials: CredentialCheck
    private let usage: APIKeyUsage
    private let logger: Logger

    /// - Parameters:
    ///   - secretKey: The server's own; the keys for tokens are derived from it.
    ///   - organizationTables: Every table with rows of organizations, those that refer to others first
    ///     (`ProductSchema.organizationTables`).
    ///   - permissions: Those of all subsystems.
    package init(
        database: any Database,
        secretKey: Secret,
        organizationTables: [String],
        permissions: [PermissionGrant],
        configuration: IdentityConfiguration = IdentityConfiguration(),
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp
    ) async {
        let times = configuration.times
        roles = RoleMatrix(permissions)
        let tokens = await AccessTokens(secretKey: secretKey, times: times)
        let passwords = PasswordHasher(
            threads: configuration.passwordThreads,
            waiting: configuration.passwordsWaiting,
            cost: configuration.passwordCost
        )
        usage = APIKeyUsage(database: database)
        self.logger = logger
        credentials = CredentialCheck(
            database: database,
            tokens: tokens,
            usage: usage,
            times: times,
            roles: roles,
            now: now
        )
        sessions = SessionService(
            database: database,
            passwords: passwords,
            tokens: tokens,
            credentials: credentials,
            roles: roles,
            box: SecretBox(secretKey: secretKey, purpose: "refresh tokens"),
            attempts: PasswordAttempts(
                near: RateLimiter(configuration.attempts, per: configuration.attemptPeriod),
                everywhere: RateLimiter(configuration.attemptsEverywhere, per: configuration.attemptPeriod)
            ),
            times: times,
            now: now
        )
        users = UserService(
            database: database,
            passwords: passwords,
            sessions: sessions,
            credentials: credentials,
            roles: roles,
            now: now
        )
        organizations = OrganizationService(database: database, credentials: credentials, now: now)
        memberships = MembershipService(
            database: database,
            passwords: passwords,
            credentials: credentials,
            newAccounts: RateLimiter(configuration.newAccounts, per: configuration.newAccountPeriod),
            roles: roles,
            now: now
        )
        invitations = InvitationService(database: database, roles: roles, now: now)
        apiKeys = APIKeyService(database: database, credentials: credentials, roles: roles, now: now)
        organizationPurge = OrganizationPurge(
            database: database.erasing,
            tables: organizationTables,
            grace: configuration.purgeGrace,
            now: now
        )
    }

    package var endpoints: [Endpoint] {
        [
            SessionRoutes(service: sessions).endpoints, UserRoutes(service: users).endpoints,
            OrganizationRoutes(service: organizations).endpoints, MembershipRoutes(service: memberships).endpoints,
            APIKeyRoutes(service: apiKeys).endpoints,
        ].flatMap(\.self) + InvitationRoutes(service: invitations).endpoints
            + OwnMembershipRoutes(service: memberships).endpoints
    }

    /// What Web asks for each authenticated request.
    package var authenticator: Authenticator {
        let credentials = credentials
        return Authenticator(isLookedUp: { $0.exposed.hasPrefix(APIKeyToken.prefix) }) { bearer, _ in
            try await credentials.authenticate(bearer)
        }
    }

    package static var events: [EventType] { IdentityEvents.all }

    package var schedules: [Schedule] {
        [Schedule("organization.purge", every: .seconds(86_400), PurgeOrganizationsJob())]
    }

    package var purges: [Purge] { [Session.purge, RefreshToken.purge, Invitation.purge] }

    package static var permissions: [PermissionGrant] {
        [
            PermissionGrant(.organizationRead, to: .members), PermissionGrant(.organizationWrite, to: .admins),
            PermissionGrant(.organizationDelete, to: .owners), PermissionGrant(.membersRead, to: .members),
            PermissionGrant(.membersWrite, to: .admins), PermissionGrant(.apiKeysRead, to: .admins),
            PermissionGrant(.apiKeysWrite, to: .admins),
        ]
    }

    package static var actorKinds: [ActorKind] { [.user, .apiKey] }

    package static var purposes: [SystemPurpose] { [.authentication] }

    package func register(in registry: inout JobRegistry) {
        let organizationPurge = organizationPurge
        registry.handle(PurgeOrganizationsJob.self) { _, context in
            try await organizationPurge.runOnce(logger: context.logger)
        }
    }

    /// Writes down when API keys were used, once; `run` repeats it.
    package func noteKeyUses() async throws { try await usage.runOnce() }

    package var services: [any Service] { [APIKeyUsageService(usage: usage, logger: logger)] }
}

/// Writes down when API keys were used, every minute until the node stops and a last time then.
private struct APIKeyUsageService: Service {
    let usage: APIKeyUsage
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                try? await Task.sleep(for: APIKeyUsage.interval)
                do {
                    // Shielded from cancellation, which the last round comes after.
                    try await Task { try await usage.runOnce() }.value
                } catch {
                    logger.warning(
                        "uses of API keys not written down",
                        metadata: ["error.type": .string(String(reflecting: type(of: error)))]
                    )
                }
            }
        }
    }
}
