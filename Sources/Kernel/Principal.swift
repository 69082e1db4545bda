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
