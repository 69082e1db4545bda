package import Kernel

/// An offer of a membership to whoever holds its code and the address that it names.
package struct Invitation: Sendable {
    /// How long it can be taken.
    static let lifetime = Duration.seconds(7 * 86_400)

    package let id: ID<Invitation>
    /// In lower case.
    package let email: String
    package let role: Role
    /// nil when a key made it, or somebody whose account is gone.
    package let invitedBy: ID<UserEntity>?
    package let createdAt: Timestamp
    package let expiresAt: Timestamp

    init(email: String, role: Role, invitedBy: ID<UserEntity>?, at now: Timestamp) {
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
    package let role: Role

    package init(email: String, role: Role) {
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

/// What an invited person shows: `ki_` and 43 letters and digits (256 bits).
package struct InvitationCode: Sendable {
    static let prefix = "ki_"
    private static let length = 43

    package let secret: Secret
    /// What is kept of it.
    let hash: String

    /// A new one.
    init() {
        secret = Secret(Self.prefix + RandomToken.characters(Self.length))
        hash = RandomToken.hash(secret)
    }

    /// One that came from outside; nil for what cannot be one.
    init?(_ secret: Secret) {
        let text = secret.exposed
        guard text.utf8.count == Self.prefix.utf8.count + Self.length, text.hasPrefix(Self.prefix),
            RandomToken.isCharacters(text.dropFirst(Self.prefix.count))
        else { return nil }
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
