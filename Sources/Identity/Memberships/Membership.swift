package import Kernel

/// A user's place in an organization: the truth about access.
package struct Membership: Sendable {
    package let userID: ID<UserEntity>
    package var role: MemberRole
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    init(userID: ID<UserEntity>, role: MemberRole, at now: Timestamp) {
        self.userID = userID
        self.role = role
        createdAt = now
        updatedAt = now
    }

    mutating func touch(at now: Timestamp) { updatedAt = max(now, updatedAt + .milliseconds(1)) }
}

/// A member as the organization sees them.
package struct Member: Sendable {
    package internal(set) var membership: Membership
    package let user: User
}

/// One of the organizations that a user belongs to, in short.
package struct Belonging: Sendable {
    package struct OrganizationOutline: Sendable {
        package let id: ID<OrganizationEntity>
        package let name: String
        package let slug: String
        package let status: Organization.Status
    }

    /// The most that one user belongs to.
    static let limit = 100

    package let role: MemberRole
    package let joinedAt: Timestamp
    package let organization: OrganizationOutline
}

/// Where a user acts: one organization in full, and their role there.
struct ActingMember: Sendable {
    let role: MemberRole
    let organization: Organization
}

package struct NewMember: Sendable {
    package let email: String
    package let name: String
    package let role: MemberRole
    /// Their first password.
    package let password: Secret

    package init(email: String, name: String, role: MemberRole, password: Secret) {
        self.email = email
        self.name = name
        self.role = role
        self.password = password
    }
}

package enum MembershipError: ProblemConvertible, Equatable {
    case unknown
    case alreadyMember
    case lastOwner
    case beyondAuthority(MemberRole)
    /// The address has an account, whose owner has to agree.
    case accountExists
    /// An organization made too many accounts for others.
    case tooManyAccounts(retryAfterSeconds: Int)
    /// The account changed between two transactions; the caller tries again.
    case movedMeanwhile

    package var problem: Problem {
        switch self {
        case .unknown: .notFound("member")
        case .alreadyMember:
            Problem(
                .conflict,
                "member.exists",
                "They are a member already.",
                errors: [FieldError(pointer: "/email", code: "taken", detail: "belongs to a member")]
            )
        case .lastOwner:
            Problem(
                .conflict,
                "member.last_owner",
                "An organization keeps at least one owner. Make somebody else an owner first."
            )
        case .beyondAuthority(let role):
            Problem(
                .forbidden,
                "member.beyond_authority",
                "Only those who may do everything that the role \(role.rawValue) may can decide about it."
            )
        case .accountExists:
            Problem(
                .conflict,
                "member.account_exists",
                "There is an account with this address. Invite it instead.",
                errors: [FieldError(pointer: "/email", code: "taken", detail: "has an account")]
            )
        case .tooManyAccounts(let seconds):
            Problem(
                .tooManyRequests,
                "member.too_many_accounts",
                "Too many accounts were made in a short time. Try again later, or send invitations.",
                retryAfterSeconds: seconds
            )
        case .movedMeanwhile:
            Problem(
                .conflict,
                "member.changed",
                "The account was changed at the same time. Try again.",
                retryAfterSeconds: 1
            )
        }
    }
}

extension Belonging {
    /// The organization that a login leads to.
    ///
    /// - Parameters:
    ///   - requested: What the caller asked for; nil for the home.
    ///   - home: The home; when nobody can act there any more, the organization that was joined first.
    ///   - all: Those that were not deleted, in the order in which they were joined.
    static func choose(
        _ requested: ID<OrganizationEntity>?,
        home: ID<OrganizationEntity>,
        of all: [Belonging]
    ) throws -> Belonging {
        if let requested {
            guard let chosen = all.first(where: { $0.organization.id == requested }) else {
                throw OrganizationError.unknown
            }
            guard chosen.organization.status == .active else { throw OrganizationError.suspended }
            return chosen
        }
        let active = all.filter { $0.organization.status == .active }
        if let chosen = active.first(where: { $0.organization.id == home }) { return chosen }
        guard all.first(where: { $0.organization.id == home }) == nil else { throw OrganizationError.suspended }
        if let chosen = active.first { return chosen }
        throw all.isEmpty ? SessionError.invalidCredentials : OrganizationError.suspended
    }
}
