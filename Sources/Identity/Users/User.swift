package import Kernel
import Storage

/// A person with an account.
package struct User: Sendable {
    package let id: ID<UserEntity>
    /// The home organization.
    package let organizationID: ID<OrganizationEntity>
    /// In lower case.
    package let email: String
    package var name: String
    /// In the home organization.
    package let role: MemberRole
    package let emailVerifiedAt: Timestamp?
    package var image: String?
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    init(
        id: ID<UserEntity>,
        organizationID: ID<OrganizationEntity>,
        email: String,
        name: String,
        role: MemberRole,
        at now: Timestamp
    ) {
        self.id = id
        self.organizationID = organizationID
        self.email = Self.folded(email)
        self.name = name
        self.role = role
        emailVerifiedAt = nil
        image = nil
        createdAt = now
        updatedAt = now
    }

    mutating func touch(at now: Timestamp) { updatedAt = max(now, updatedAt + .milliseconds(1)) }

    /// The form in which addresses are kept and compared.
    static func folded(_ email: String) -> String { email.lowercased() }
}

package struct UserChanges: Sendable {
    package var name: String?
    /// `.some(nil)` takes the image away.
    package var image: String??

    package init(name: String? = nil, image: String?? = nil) {
        self.name = name
        self.image = image
    }
}

package enum UserError: ProblemConvertible {
    case unknown
    case emailTaken
    case wrongPassword
    /// The caller is an API key where only a person will do.
    case personRequired

    package var problem: Problem {
        switch self {
        case .unknown: .notFound("user")
        case .emailTaken:
            Problem(
                .conflict,
                "user.email_taken",
                "There is an account with this address. Log in instead.",
                errors: [FieldError(pointer: "/email", code: "taken", detail: "is in use")]
            )
        case .wrongPassword:
            Problem(
                .badRequest,
                "user.wrong_password",
                "The current password is another one.",
                errors: [FieldError(pointer: "/current_password", code: "wrong", detail: "is not the current password")]
            )
        case .personRequired:
            Problem(.forbidden, "auth.user_required", "Only a signed-in user can do this, not an API key.")
        }
    }
}

extension Principal {
    /// The person who calls; throws for API keys.
    var user: ID<UserEntity> {
        get throws(UserError) {
            guard let id = actor.userID else { throw .personRequired }
            return id
        }
    }

    var sessionID: ID<Session>? { session.flatMap { ID($0) } }
}
