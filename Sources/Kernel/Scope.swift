/// Marks the ids of organizations, the unit of tenancy.
///
/// The entity itself lives in Identity.
package enum OrganizationEntity {}
/// Marks the ids of users.
package enum UserEntity {}
/// Marks the ids of API keys.
package enum APIKeyEntity {}
/// Marks the ids of agents.
package enum AgentEntity {}

/// A kind of actor, as events and the audit log name it: `user`.
///
/// Declared by the subsystem whose credentials or work make such actors.
package struct ActorKind: Sendable, Hashable {
    package let name: String
    /// Whether the id is that of a user: a person of the organization, who can be asked about it.
    package let isUser: Bool

    package init(_ name: String, isUser: Bool = false) {
        self.name = name
        self.isUser = isUser
    }
}

/// Who acts: the author that events and the audit log name.
package struct Actor: Sendable, Hashable {
    package let kind: ActorKind
    /// As text; nil where there is only one of the kind.
    package let id: String?

    package init(_ kind: ActorKind, id: String? = nil) {
        self.kind = kind
        self.id = id
    }

    /// The id, when the actor is of this kind.
    package func id<Entity>(of kind: ActorKind, as: ID<Entity>.Type = ID<Entity>.self) -> ID<Entity>? {
        self.kind == kind ? id.flatMap { ID<Entity>($0) } : nil
    }

    /// The product itself: a job, a schedule, a command of the administrator.
    package static let system = Actor(.system)
}

extension ActorKind {
    package static let system = ActorKind("system")
}

/// Where a request came from, kept for the audit log.
package struct RequestOrigin: Sendable, Hashable {
    package let requestID: String
    package let address: String?
    package let userAgent: String?

    package init(requestID: String, address: String?, userAgent: String?) {
        self.requestID = requestID
        self.address = address
        self.userAgent = userAgent
    }
}

/// The proof that somebody may act inside one organization.
///
/// Only authentication, a claimed job and a signed callback make one; everything in storage that belongs to an
/// organization asks for it. What the actor may do inside is the permission matrix's business (Identity).
package struct OrganizationScope: Sendable, Hashable {
    package let id: ID<OrganizationEntity>
    package let actor: Actor
    package let origin: RequestOrigin?
    /// The idempotency record that the first transaction of this request marks as applied.
    package let idempotency: IdempotencyClaim?

    private init(
        id: ID<OrganizationEntity>,
        actor: Actor,
        origin: RequestOrigin?,
        idempotency: IdempotencyClaim? = nil
    ) {
        self.id = id
        self.actor = actor
        self.origin = origin
        self.idempotency = idempotency
    }

    /// After a token or a key was checked, or for the organization that a sign-up is about to create.
    package static func authenticated(
        _ id: ID<OrganizationEntity>,
        as actor: Actor,
        from origin: RequestOrigin? = nil
    ) -> OrganizationScope {
        OrganizationScope(id: id, actor: actor, origin: origin)
    }

    /// For a job that the queue handed out.
    package static func job(of id: ID<OrganizationEntity>) -> OrganizationScope {
        OrganizationScope(id: id, actor: .system, origin: nil)
    }

    /// The same organization, acted in by somebody else: an agent that answers inside a job.
    package func acting(as actor: Actor) -> OrganizationScope {
        OrganizationScope(id: id, actor: actor, origin: origin, idempotency: idempotency)
    }

    package func claiming(_ claim: IdempotencyClaim) -> OrganizationScope {
        OrganizationScope(id: id, actor: actor, origin: origin, idempotency: claim)
    }
}

/// One use of an `Idempotency-Key`: whose key it is, and the token of the request that holds it now.
package struct IdempotencyClaim: Sendable, Hashable {
    package let principal: String
    package let key: String
    package let token: String

    package init(principal: String, key: String, token: String) {
        self.principal = principal
        self.key = key
        self.token = token
    }
}

/// Why the product looks at rows of more than one organization.
///
/// Row level security knows each purpose by its name and what it may see; there is no purpose that sees everything. Each is
/// declared by the subsystem that has it.
package struct SystemPurpose: Sendable, Hashable {
    package let name: String

    package init(_ name: String) { self.name = name }
}

/// What a transaction may see.
package enum DataScope: Sendable, Hashable {
    case organization(OrganizationScope)
    case system(SystemPurpose)
}
