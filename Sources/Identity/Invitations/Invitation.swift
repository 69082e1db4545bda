package import Kernel

/// An offer of a membership to whoever holds its code and the address that it names.
package struct Invitation: Sendable {
    /// How long it can be taken.
    static let lifetime = Duration.seconds(7 * 86_400)

    package let id: ID<Invitation>
    /// In lower case.
    package let email: String
    package let role: MemberRole
    /// nil when a key made it, or somebody whose account is gone.
    package let invitedBy: ID<UserEntity>?
    package let createdAt: Timestamp
    package let expiresAt: Timestamp

    init(email: String, role: MemberRole, invitedBy: ID<UserEntity>?, at now: Timestamp) {
        id = ID()
        self.email = User.folded(email)
        self.role = role
        self.invitedBy = invitedBy
        createdAt = now
        expiresAt = now + Self.lifetime
    }
}

package struct NewInvitation: Sendable {
    package let email: String
    package let role: MemberRole

    package init(email: String, role: MemberRole) {
        self.email = email
        self.role = role
    }
}

/// What somebody tells who has no account and was invited.
package struct Joining: Sendable {
    package let code: Secret
    package let name: String
    package let password: Secret

    package init(code: Secret, name: String, password: Secret) {
        self.code = code
        self.name = name
        self.password = password
    }
}

/// What an invited person shows.
package struct InvitationCode: RandomCredential {
    static let prefix = "ki_"

    package let secret: Secret
    let hash: String

    init(wellFormed secret: Secret) {
        self.secret = secret
        hash = RandomToken.hash(secret)
    }
}

package enum InvitationError: ProblemConvertible {
    /// Unknown, expired, used, or for somebody else: it is not said which.
    case unknown

    package var problem: Problem {
        switch self {
        case .unknown: .notFound("invitation")
        }
    }
}
