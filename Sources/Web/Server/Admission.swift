import HTTPTypes
import Kernel

/// Who uses up a limit.
enum CallerKey: Hashable, Sendable {
    case actor(Actor)
    case organization(ID<OrganizationEntity>)
    case address(ClientAddress?)
}

/// Who may call, and how often.
struct Admission: Sendable {
    private let authenticator: Authenticator
    private let apiLimiter: RateLimiter<CallerKey>?
    private let organizationLimiter: RateLimiter<ID<OrganizationEntity>>?
    private let authenticationLimiter: RateLimiter<CallerKey>?
    private let failedAuthentications: FailedAuthentications?

    init(_ configuration: WebConfiguration, authenticator: Authenticator) {
        self.authenticator = authenticator
        apiLimiter = configuration.apiRate.map { RateLimiter($0.limit, per: $0.period) }
        organizationLimiter = configuration.organizationRate.map { RateLimiter($0.limit, per: $0.period) }
        authenticationLimiter = configuration.authenticationRate.map { RateLimiter($0.limit, per: $0.period) }
        failedAuthentications = configuration.failedAuthenticationRate.map { FailedAuthentications($0) }
    }

    /// Who calls.
    ///
    /// - Throws: A problem of status 401, or 429 when too many credentials from this address were not good.
    func authenticate(
        _ headers: HTTPFields,
        _ origin: RequestOrigin,
        _ client: ClientAddress?
    ) async throws -> Principal {
        guard let bearer = headers[.authorization].flatMap(bearerToken) else {
            throw Problem(.unauthorized, "auth.required", "Send a token or an API key as: Authorization: Bearer …")
        }
        guard let failedAuthentications, authenticator.isLookedUp(bearer) else {
            return try await authenticator.authenticate(bearer, origin)
        }
        let attempt = FailedAuthentications.CredentialAttempt(bearer, from: client?.rateLimitKey)
        let isKnown = failedAuthentications.knows(attempt)
        if !isKnown, let seconds = failedAuthentications.secondsToWait(attempt) {
            throw Self.rateLimited(retryAfter: seconds)
        }
        do {
            let principal = try await authenticator.authenticate(bearer, origin)
            if !isKnown { failedAuthentications.succeeded(attempt) }
            return principal
        } catch let error as any ProblemConvertible where error.problem.status == .unauthorized {
            failedAuthentications.failed(attempt)
            throw error
        }
    }

    /// Uses up the rate limits of a call.
    ///
    /// - Parameter rate: The limit that the answer's headers tell of.
    /// - Throws: A problem of status 429.
    func limit(
        _ endpoint: Endpoint,
        as caller: CallerKey,
        of organization: ID<OrganizationEntity>? = nil,
        _ client: ClientAddress?,
        _ rate: inout RateDecision?
    ) throws(Problem) {
        guard endpoint.rateLimit != .none else { return }
        if let decision = apiLimiter?.take(caller) { rate = decision }
        if let organization, rate?.isAllowed != false,
            let decision = organizationLimiter?.take(organization), !decision.isAllowed
        {
            rate = decision
        }
        if endpoint.rateLimit == .authentication, rate?.isAllowed != false,
            let decision = authenticationLimiter?.take(.address(client?.rateLimitKey))
        {
            rate = decision
        }
        if let rate, !rate.isAllowed {
            throw Self.rateLimited(retryAfter: rate.retryAfterSeconds)
        }
    }

    /// Whether a credential is still what it was when the stream began.
    func mayStillRead(
        _ principal: Principal,
        with bearer: Secret,
        _ permission: Permission?,
        _ origin: RequestOrigin
    ) async -> Bool {
        do {
            let current = try await authenticator.authenticate(bearer, origin)
            return current.actor == principal.actor && current.organization == principal.organization
                && permission.map(current.permissions.contains) != false
        } catch let error as any ProblemConvertible {
            // A database that cannot be reached says nothing about the credential; the lifetime bounds what it may cost.
            return error.problem.status != .unauthorized && error.problem.status != .forbidden
        } catch {
            return true
        }
    }

    private static func rateLimited(retryAfter seconds: Int) -> Problem {
        Problem(
            .tooManyRequests,
            "rate_limit.exceeded",
            "Too many requests. Try again later.",
            retryAfterSeconds: seconds
        )
    }
}
