package import Kernel

/// A user signed in to one organization, from one place.
package struct Session: Sendable {
    package let id: ID<Session>
    package let userID: ID<UserEntity>
    /// The session of the sign-in that this one goes back to: itself, or the first of those that were switched from.
    ///
    /// They end together.
    package let family: ID<Session>
    package let userAgent: String?
    package let address: String?
    /// When the first session of the family began, from which the longest lifetime counts.
    package let signedInAt: Timestamp
    package let createdAt: Timestamp
    package let expiresAt: Timestamp

    /// - Parameter other: The session that was switched from; nil for a sign-in.
    init(
        _ id: ID<Session> = ID(),
        userID: ID<UserEntity>,
        continuing other: LiveSession? = nil,
        from origin: RequestOrigin?,
        at now: Timestamp,
        _ times: SessionTimes
    ) {
        self.id = id
        self.userID = userID
        family = other?.family ?? id
        userAgent = origin?.userAgent.map { String($0.prefix(512)) }
        address = origin?.address
        signedInAt = other?.signedInAt ?? now
        createdAt = now
        expiresAt = times.end(ofSessionFrom: signedInAt, refreshedAt: now)
    }
}

/// How long what a session hands out is good for.
package struct SessionTimes: Sendable, Hashable {
    /// Of an access token.
    package var access = Duration.seconds(15 * 60)
    /// Of a session that is not refreshed.
    package var idle = Duration.seconds(30 * 86_400)
    /// Of a session, however often it is refreshed.
    package var longest = Duration.seconds(180 * 86_400)
    /// For how long after its use a refresh token receives its successor again.
    package var replay = Duration.seconds(10)
    /// For how long a session or key that was looked up is used without another look.
    package var check = Duration.seconds(10)
    /// How far the clocks of nodes may be apart.
    package var leeway = Duration.seconds(5)

    package init() {}

    /// When a session ends that is refreshed now.
    func end(ofSessionFrom signedInAt: Timestamp, refreshedAt now: Timestamp) -> Timestamp {
        min(now + idle, signedInAt + longest)
    }
}

package struct SignUp: Sendable {
    package let email: String
    package let password: Secret
    package let name: String
    package let organization: NewOrganization

    package init(email: String, password: Secret, name: String, organization: NewOrganization) {
        self.email = email
        self.password = password
        self.name = name
        self.organization = organization
    }
}

/// What somebody receives who has signed in.
package struct SignedIn: Sendable {
    package let accessToken: Secret
    package let expiresIn: Duration
    package let refreshToken: Secret
    package let user: User
    package let organization: Organization
    package let role: MemberRole
}

package enum SessionError: ProblemConvertible, Equatable {
    /// The address or the password, it is not said which; or nothing is left to sign in to.
    case invalidCredentials
    case tooManyAttempts(retryAfterSeconds: Int)
    /// The session of the caller's token has ended since it was looked up.
    case ended
    /// The caller acts in that organization already.
    case sameOrganization
    case invalidRefreshToken
    /// A refresh token came back long after its use, so its session was ended.
    case refreshReused

    package var problem: Problem {
        switch self {
        case .invalidCredentials:
            Problem(.unauthorized, "auth.invalid_credentials", "The e-mail address or the password is wrong.")
        case .tooManyAttempts(let seconds):
            Problem(
                .tooManyRequests,
                "auth.too_many_attempts",
                "Too many attempts for this account. Try again later.",
                retryAfterSeconds: seconds
            )
        case .ended:
            Problem(.unauthorized, "auth.invalid_token", "The token or key is unknown or has ended.")
        case .sameOrganization:
            Problem(.conflict, "auth.same_organization", "The token acts in this organization already.")
        case .invalidRefreshToken:
            Problem(
                .unauthorized,
                "auth.invalid_refresh_token",
                "The refresh token is unknown or has ended. Log in again."
            )
        case .refreshReused:
            Problem(
                .unauthorized,
                "auth.refresh_reused",
                "The refresh token was used before, so the session was ended for safety. Log in again."
            )
        }
    }
}
