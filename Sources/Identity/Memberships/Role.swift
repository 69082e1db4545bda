package import Kernel
import Storage

/// What somebody is in an organization.
package enum MemberRole: String, Sendable, CaseIterable, StoredEnumeration {
    case owner
    case admin
    case member
}

/// What each role may do, from what the subsystems declare.
package struct RoleMatrix: Sendable {
    /// Everything, in the order of the declarations.
    package let all: [Permission]
    package let owner: Set<Permission>
    package let admin: Set<Permission>
    package let member: Set<Permission>

    package init(_ grants: [PermissionGrant]) {
        all = grants.map(\.permission)
        owner = Set(all)
        admin = Set(grants.filter { $0.holders != .owners }.map(\.permission))
        member = Set(grants.filter { $0.holders == .members }.map(\.permission))
    }

    package func permissions(of role: MemberRole) -> Set<Permission> {
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
    let roles: RoleMatrix

    /// A person who holds a role, or none.
    init(of role: MemberRole?, _ roles: RoleMatrix) {
        self.init(permissions: role.map(roles.permissions(of:)) ?? [], isPerson: true, roles)
    }

    init(permissions: Set<Permission>, isPerson: Bool, endsAt: Timestamp? = nil, _ roles: RoleMatrix) {
        self.permissions = permissions
        self.isPerson = isPerson
        self.endsAt = endsAt
        self.roles = roles
    }

    func covers(_ role: MemberRole) -> Bool {
        (role != .owner || isPerson) && roles.permissions(of: role).isSubset(of: permissions)
    }

    func check(_ role: MemberRole) throws(MembershipError) {
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
        _ roles: RoleMatrix,
        _ tx: any Transaction
    ) throws {
        if let user = principal.actor.userID {
            self.init(of: try MembershipStore(tx: tx, scope: scope).role(of: user), roles)
        } else if let id = principal.actor.apiKeyID {
            let key = try APIKeyStore(tx: tx, scope: scope).find(id)
            let endsAt = key?.expiresAt
            let holds = key != nil && (endsAt.map { $0 > now } ?? true)
            self.init(permissions: holds ? key?.permissions ?? [] : [], isPerson: false, endsAt: endsAt, roles)
        } else {
            self.init(permissions: [], isPerson: false, roles)
        }
        guard permissions.contains(permission) else {
            throw Problem(.forbidden, "auth.forbidden", "This needs the permission \(permission).")
        }
    }
}
