package import Kernel

/// Access to the API for a program.
package struct APIKey: Sendable {
    package let id: ID<APIKeyEntity>
    package var name: String
    /// The first characters of the key, so that people recognize it.
    package let prefix: String
    package let permissions: Set<Permission>
    /// To the minute.
    package let lastUsedAt: Timestamp?
    package let expiresAt: Timestamp?
    package let createdBy: ID<UserEntity>?
    package let createdAt: Timestamp
}

package struct NewAPIKey: Sendable {
    package let name: String
    package let permissions: Set<Permission>
    package let expiresAt: Timestamp?

    package init(name: String, permissions: Set<Permission>, expiresAt: Timestamp? = nil) {
        self.name = name
        self.permissions = permissions
        self.expiresAt = expiresAt
    }
}

package enum APIKeyError: ProblemConvertible {
    case unknown
    case expiresInThePast
    /// Permissions that the creator does not hold.
    case beyondAuthority([String])
    /// The creator is a key that ends before.
    case outlivesCreator(Timestamp)

    package var problem: Problem {
        switch self {
        case .unknown: .notFound("api key")
        case .expiresInThePast:
            .invalid([FieldError(pointer: "/expires_at", code: "out_of_range", detail: "must be in the future")])
        case .beyondAuthority(let names):
            Problem(
                .forbidden,
                "api_key.beyond_authority",
                "A key cannot do more than you: \(names.joined(separator: ", ")).",
                errors: [
                    FieldError(pointer: "/permissions", code: "not_allowed", detail: "holds permissions that you lack")
                ]
            )
        case .outlivesCreator(let end):
            Problem(
                .forbidden,
                "api_key.beyond_authority",
                "A key cannot make one that lives longer than itself.",
                errors: [
                    FieldError(pointer: "/expires_at", code: "out_of_range", detail: "must not be after \(end)")
                ]
            )
        }
    }
}
