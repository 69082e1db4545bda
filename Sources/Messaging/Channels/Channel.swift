package import Kernel
import Storage

/// Where contacts write or call.
package struct Channel: Noun {
    package enum Kind: String, Sendable, CaseIterable, StoredEnumeration, FieldValue {
        case widget
        case whatsapp
        case voice
        case api
    }

    package let id: ID<Channel>
    package var name: String
    package var kind: Kind
    package var settings: JSON
    /// The agent that answers here; without one the organization's oldest active agent does.
    package var agentID: ID<AgentEntity>?
    /// Whether a contact may have only one open conversation here.
    package var singleConversation: Bool
    package var isActive: Bool
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    /// One of which nothing is said yet.
    package init(at now: Timestamp) {
        id = ID()
        name = ""
        kind = .api
        settings = [:]
        singleConversation = false
        isActive = true
        createdAt = now
        updatedAt = now
    }

    package static let fields = FieldList<Channel>(
        "Channel",
        [
            .shown("id", \.id, .uuid),
            .editable(
                "name",
                \.name,
                .string(1...120),
                accepts: .string(1...120, [.singleLine, .notBlank]),
                isRequired: true,
                audit: .shown,
                "What your people call it.",
                example: "Website"
            ),
            .fixed("type", \.kind, .choice(of: Kind.self), isRequired: true),
            .editable("settings", \.settings, .anyObject(), audit: .redacted, editing: "Replaces the settings."),
            .editable(
                "ai_agent_id",
                \.agentID,
                .nullable(.uuid),
                audit: .shown,
                "The agent that answers; null: the first active one.",
                editing: "null takes the agent away."
            ),
            .editable(
                "single_conversation",
                \.singleConversation,
                .boolean,
                audit: .shown,
                "Whether a contact may have only one open conversation here.",
                editing: "Holds for conversations that begin from now on."
            ),
            .editable("is_active", \.isActive, .boolean, audit: .shown),
            .shown("created_at", \.createdAt, .dateTime),
            .shown("updated_at", \.updatedAt, .dateTime),
        ]
    )
}

package enum ChannelError: ProblemConvertible {
    case unknown(ID<Channel>)
    case unknownAgent
    case inUse

    package var problem: Problem {
        switch self {
        case .unknown: .notFound("channel")
        case .unknownAgent: .notFound("agent")
        case .inUse:
            Problem(
                .conflict,
                "channel.in_use",
                "The channel has conversations. Switch it off instead: set is_active to false."
            )
        }
    }
}
