package import Kernel

extension ActorKind {
    package static let user = ActorKind("user", isUser: true)
    package static let apiKey = ActorKind("api_key")
}

extension Actor {
    package static func user(_ id: ID<UserEntity>) -> Actor { Actor(.user, id: id.description) }
    package static func apiKey(_ id: ID<APIKeyEntity>) -> Actor { Actor(.apiKey, id: id.description) }

    /// nil when somebody else than a user acts.
    var userID: ID<UserEntity>? { id(of: .user) }
    var apiKeyID: ID<APIKeyEntity>? { id(of: .apiKey) }
}

extension SystemPurpose {
    /// Finds the account, key or session that a credential names.
    package static let authentication = SystemPurpose("authentication")
}

extension Permission {
    package static let organizationRead = Permission("organization", "read")
    package static let organizationWrite = Permission("organization", "write")
    package static let organizationDelete = Permission("organization", "delete")
    package static let membersRead = Permission("members", "read")
    package static let membersWrite = Permission("members", "write")
    package static let apiKeysRead = Permission("api_keys", "read")
    package static let apiKeysWrite = Permission("api_keys", "write")
}
