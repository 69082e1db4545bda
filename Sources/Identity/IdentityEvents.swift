package import Events
import Kernel

/// The events of Identity.
///
/// They name people by their id only.
package enum IdentityEvents {
    package static let all = [
        organizationCreated, organizationUpdated, organizationSuspended, organizationResumed, organizationDeleted,
        userCreated, userUpdated, userDeleted,
        userSignedIn,
        userSignedOut, userPasswordChanged, userSessionRevoked, memberAdded, memberUpdated, memberRemoved,
        invitationCreated, invitationDeleted, invitationAccepted,
        apiKeyCreated,
        apiKeyUpdated, apiKeyDeleted,
    ]

    private static let id = "01970c3e-5b00-7000-8000-000000000001"
    private static let otherID = "01970c3e-5b00-7000-8000-000000000002"

    private static func resource(_ more: [Schema.Property] = []) -> Schema {
        .object([.required("id", .uuid)] + more)
    }

    package static let organizationCreated = organization("created", "An organization was created.")
    package static let organizationUpdated = organization("updated", "An organization was changed.")
    package static let organizationSuspended = organization(
        "suspended",
        "The administrator suspended an organization: nobody can act in it."
    )
    package static let organizationResumed = organization("resumed", "The administrator lifted a suspension.")
    package static let organizationDeleted = organization(
        "deleted",
        "An organization was deleted; its rows are purged after the grace period."
    )

    package static let userCreated = user("created", "An account was created.")
    package static let userUpdated = user("updated", "An account was changed.")
    package static let userDeleted = user("deleted", "An account was deleted: it belonged to no organization any more.")
    package static let userPasswordChanged = user(
        "password_changed",
        "A user changed their password and their other sessions ended, or the administrator reset it and all did."
    )
    package static let userSignedIn = session("signed_in", "A user signed in.")
    package static let userSignedOut = session("signed_out", "A user signed out.")
    package static let userSessionRevoked = session(
        "session_revoked",
        "A session was ended because one of its refresh tokens was used twice."
    )

    package static let memberAdded = member("added", "Somebody became a member.")
    package static let memberUpdated = member("updated", "The role of a member was changed.")
    package static let memberRemoved = member("removed", "Somebody is no member any more.")

    package static let invitationCreated = invitation("created", "Somebody was invited.")
    package static let invitationDeleted = invitation("deleted", "An invitation was taken back.")
    package static let invitationAccepted = invitation("accepted", "An invitation was taken.")

    package static let apiKeyCreated = apiKey("created", "An API key was created.")
    package static let apiKeyUpdated = apiKey("updated", "An API key was renamed.")
    package static let apiKeyDeleted = apiKey("deleted", "An API key was deleted.")

    private static func organization(_ fact: String, _ summary: String) -> EventType {
        EventType(
            "organization.\(fact)",
            resource: "organization",
            summary,
            data: resource([.required("name", .string(1...120)), .required("slug", .slug)]),
            example: ["id": .string(id), "name": "Kafe Tirana", "slug": "kafe-tirana"]
        )
    }

    private static func user(_ fact: String, _ summary: String) -> EventType {
        EventType("user.\(fact)", resource: "user", summary, data: resource(), example: ["id": .string(id)])
    }

    private static func session(_ fact: String, _ summary: String) -> EventType {
        EventType(
            "user.\(fact)",
            resource: "user",
            summary,
            data: resource([.required("session_id", .uuid)]),
            example: ["id": .string(id), "session_id": .string(otherID)]
        )
    }

    private static func member(_ fact: String, _ summary: String) -> EventType {
        EventType(
            "member.\(fact)",
            resource: "member",
            summary,
            data: resource([.required("role", .choice(of: MemberRole.self))]),
            example: ["id": .string(id), "role": "admin"]
        )
    }

    private static func invitation(_ fact: String, _ summary: String) -> EventType {
        EventType(
            "invitation.\(fact)",
            resource: "invitation",
            summary,
            data: resource([.required("role", .choice(of: MemberRole.self))]),
            example: ["id": .string(id), "role": "member"]
        )
    }

    private static func apiKey(_ fact: String, _ summary: String) -> EventType {
        EventType(
            "api_key.\(fact)",
            resource: "api_key",
            summary,
            data: resource([
                .required("name", .string(1...120)),
                .required("permissions", .array(of: .string(1...100))),
            ]),
            example: ["id": .string(id), "name": "Website", "permissions": ["conversations:write"]]
        )
    }
}

extension Event {
    static func organization(_ type: EventType, _ organization: Organization, _ changes: JSON? = nil) -> Event {
        Event(
            type,
            subject: organization.id.description,
            data: [
                "id": .string(organization.id.description), "name": .string(organization.name),
                "slug": .string(organization.slug),
            ],
            changes: changes
        )
    }

    static func user(_ type: EventType, _ id: ID<UserEntity>, _ changes: JSON? = nil) -> Event {
        Event(type, subject: id.description, data: ["id": .string(id.description)], changes: changes)
    }

    static func session(_ type: EventType, _ session: ID<Session>, of user: ID<UserEntity>) -> Event {
        Event(
            type,
            subject: user.description,
            data: ["id": .string(user.description), "session_id": .string(session.description)]
        )
    }

    static func member(_ type: EventType, _ user: ID<UserEntity>, _ role: MemberRole, _ changes: JSON? = nil) -> Event {
        Event(
            type,
            subject: user.description,
            data: ["id": .string(user.description), "role": .string(role.rawValue)],
            changes: changes
        )
    }

    static func invitation(_ type: EventType, _ invitation: Invitation) -> Event {
        Event(
            type,
            subject: invitation.id.description,
            data: ["id": .string(invitation.id.description), "role": .string(invitation.role.rawValue)]
        )
    }

    static func apiKey(_ type: EventType, _ key: APIKey, _ changes: JSON? = nil) -> Event {
        Event(
            type,
            subject: key.id.description,
            data: [
                "id": .string(key.id.description), "name": .string(key.name),
                "permissions": .array(key.permissions.names.map(JSON.string)),
            ],
            changes: changes
        )
    }
}
