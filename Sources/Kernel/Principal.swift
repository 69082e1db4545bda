/// One right: a resource and what may be done with it, `conversations:write`.
///
/// Roles and API keys hold sets of them.
package struct Permission: Sendable, Hashable, CustomStringConvertible {
    package let name: String

    private init(_ resource: String, _ action: String) { name = "\(resource):\(action)" }

    package var description: String { name }

    package static let organizationRead = Permission("organization", "read")
    package static let organizationWrite = Permission("organization", "write")
    package static let organizationDelete = Permission("organization", "delete")
    package static let membersRead = Permission("members", "read")
    package static let membersWrite = Permission("members", "write")
    package static let apiKeysRead = Permission("api_keys", "read")
    package static let apiKeysWrite = Permission("api_keys", "write")
    package static let channelsRead = Permission("channels", "read")
    package static let channelsWrite = Permission("channels", "write")
    package static let contactsRead = Permission("contacts", "read")
    package static let contactsWrite = Permission("contacts", "write")
    package static let conversationsRead = Permission("conversations", "read")
    package static let conversationsWrite = Permission("conversations", "write")
    package static let agentsRead = Permission("agents", "read")
    package static let agentsWrite = Permission("agents", "write")
    package static let knowledgeRead = Permission("knowledge", "read")
    package static let knowledgeWrite = Permission("knowledge", "write")
    package static let billingRead = Permission("billing", "read")
    package static let billingWrite = Permission("billing", "write")
    package static let auditRead = Permission("audit", "read")
    package static let jobsRead = Permission("jobs", "read")
    package static let jobsWrite = Permission("jobs", "write")

    package static let all: [Permission] = [
        organizationRead, organizationWrite, organizationDelete, membersRead, membersWrite, apiKeysRead, apiKeysWrite,
        channelsRead, channelsWrite, contactsRead, contactsWrite, conversationsRead, conversationsWrite, agentsRead,
        agentsWrite, knowledgeRead, knowledgeWrite, billingRead, billingWrite, auditRead, jobsRead, jobsWrite,
    ]

    /// The permission of a name that came from outside.
    package init?(name: String) {
        guard let permission = Self.all.first(where: { $0.name == name }) else { return nil }
        self = permission
    }
}

/// Who a checked credential belongs to, and what it allows, inside exactly one organization.
package struct Principal: Sendable {
    package let actor: Actor
    package let organization: ID<OrganizationEntity>
    package let permissions: Set<Permission>
    /// For access tokens: the session that the token belongs to.
    package let session: String?

    package init(
        actor: Actor,
        organization: ID<OrganizationEntity>,
        permissions: Set<Permission>,
        session: String? = nil
    ) {
        self.actor = actor
        self.organization = organization
        self.permissions = permissions
        self.session = session
    }
}
