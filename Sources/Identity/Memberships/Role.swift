package import Kernel
import Storage

/// What somebody is in an organization.
package enum Role: String, Sendable, CaseIterable, StoredEnumeration {
    case owner
    case admin
    case member
}

/// What each role may do: the whole of it, as data.
package enum RoleMatrix {
    package static let owner = Set(Permission.all)

    /// Everything but to end the organization and to spend its money.
    package static let admin = owner.subtracting([.organizationDelete, .billingWrite])

    /// Works with contacts and looks at the rest, but for keys, the audit log and the queue.
    package static let member: Set<Permission> = [
        .organizationRead, .membersRead, .channelsRead, .contactsRead, .contactsWrite, .conversationsRead,
        .conversationsWrite, .agentsRead, .knowledgeRead, .billingRead,
    ]

    package static func permissions(of role: Role) -> Set<Permission> {
        switch role {
        case .owner: owner
        case .admin: admin
        case .member: member
        }
    }
}

/// How far somebody may decide about the rights of others: nobody hands out, changes or takes away more than they hold.
struct Authority: Sendable {
    let permissions: Set<Permission>
    /// Owners are made and unmade by people only.
    let isPerson: Bool
    /// When it ends by itself: for keys that expire.
    var endsAt: Timestamp?

    func covers(_ role: Role) -> Bool {
        (role != .owner || isPerson) && RoleMatrix.permissions(of: role).isSubset(of: permissions)
    }

    func check(_ role: Role) throws(MembershipError) {
        guard covers(role) else { throw .beyondAuthority(role) }
    }
}

extension Authority {
    /// What somebody may decide, by their membership or their key as it is in this transaction.
    ///
    /// - Parameter permission: What the use case asks for at least. The caller held it when their credential was looked up,
    ///   which may be some seconds ago.
    init(
        of principal: Principal,
        needing permission: Permission,
        in scope: OrganizationScope,
        at now: Timestamp,
        _ tx: any Transaction
    ) throws {
        switch principal.actor {
        case .user(let user):
            let role = try MembershipStore(tx: tx, scope: scope).role(of: user)
            permissions = role.map(RoleMatrix.permissions(of:)) ?? []
            isPerson = true
        case .apiKey(let id):
            let key = try APIKeyStore(tx: tx, scope: scope).find(id)
            endsAt = key?.expiresAt
            permissions = if let key, endsAt.map({ $0 > now }) ?? true { key.permissions } else { [] }
            isPerson = false
        case .agent, .system:
            permissions = []
            isPerson = false
        }
        guard permissions.contains(permission) else {
            throw Problem(.forbidden, "auth.forbidden", "This needs the permission \(permission).")
        }
    }
}

extension Set<Permission> {
    /// The names in the order of the catalogue.
    var names: [String] { Permission.all.filter(contains).map(\.name) }
}
