package import Kernel
import Storage

/// Where contacts write or call.
package struct Channel: Sendable {
    package enum Kind: String, Sendable, CaseIterable, StoredEnumeration {
        case widget
        case whatsapp
        case voice
        case api
    }

    package let id: ID<Channel>
    package var name: String
    package let kind: Kind
    package var settings: JSON
    /// The agent that answers here; without one the organization's oldest active agent does.
    package var agentID: ID<AgentEntity>?
    /// Whether a contact may have only one open conversation here.
    package var singleConversation: Bool
    package var isActive: Bool
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    mutating func touch(at now: Timestamp) { updatedAt = max(now, updatedAt + .milliseconds(1)) }
}

package struct NewChannel: Sendable {
    package let name: String
    package let kind: Channel.Kind
    package var settings: JSON = [:]
    package var agentID: ID<AgentEntity>?
    package var singleConversation = false
    package var isActive = true

    package init(name: String, kind: Channel.Kind) {
        self.name = name
        self.kind = kind
    }
}

package struct ChannelChanges: Sendable {
    package var name: String?
    package var settings: JSON?
    /// `.some(nil)` takes the agent away.
    package var agentID: ID<AgentEntity>??
    package var singleConversation: Bool?
    package var isActive: Bool?
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
