/// One right: a resource and what may be done with it, `conversations:write`.
///
/// Each subsystem declares its own beside what they protect. Roles and API keys hold sets of them; a name that is read from
/// a row and that this node does not know is kept and shown, and allows nothing here.
package struct Permission: Sendable, Hashable, CustomStringConvertible {
    package let name: String

    package init(_ resource: String, _ action: String) { name = "\(resource):\(action)" }

    /// A name that comes from a row or from outside.
    package init(name: String) { self.name = name }

    package var description: String { name }
}

/// A permission as its subsystem declares it: with those who hold it by their role.
package struct PermissionGrant: Sendable, Hashable {
    /// Who holds it; the owners of an organization always do.
    package enum Holders: Sendable, Hashable {
        case owners
        case admins
        case members
    }

    package let permission: Permission
    package let holders: Holders

    package init(_ permission: Permission, to holders: Holders) {
        self.permission = permission
        self.holders = holders
    }
}

extension Set<Permission> {
    /// In alphabetical order.
    package var names: [String] { map(\.name).sorted() }
}
