package import Kernel
package import Storage

/// Marks the ids of conversations.
package enum ConversationEntity {}

extension Signal {
    /// A conversation's stream grew.
    package static func conversation(_ id: ID<ConversationEntity>) -> Signal { Signal("c:\(id)") }
}

/// What was said between a contact and an organization on one channel.
package struct Conversation: Sendable {
    package enum Status: String, Sendable, CaseIterable, StoredEnumeration {
        case active
        case closed
        case archived
    }

    /// Who answers the contact.
    package enum Handler: String, Sendable, CaseIterable, StoredEnumeration {
        case agent
        case human
    }

    package let id: ID<ConversationEntity>
    package let contactID: ID<Contact>
    package let channelID: ID<Channel>
    package var agentID: ID<AgentEntity>?
    package var status: Status
    package var handler: Handler
    /// How often it was edited, from 1; messages and answers do not count.
    package var version: Int64
    /// What clients see of its ``Answering``, of which only ``HeldConversation`` makes it.
    package internal(set) var reply: Answering.Summary
    /// The sequence of the newest entry of the stream.
    package var lastSequence: Int64
    /// Whether the contact may have no other open conversation on the channel.
    package let exclusive: Bool
    package let externalID: String?
    package var metadata: JSON
    package var lastMessageAt: Timestamp?
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    package init(
        id: ID<ConversationEntity>,
        contactID: ID<Contact>,
        channelID: ID<Channel>,
        agentID: ID<AgentEntity>?,
        exclusive: Bool,
        externalID: String?,
        metadata: JSON,
        at now: Timestamp
    ) {
        self.id = id
        self.contactID = contactID
        self.channelID = channelID
        self.agentID = agentID
        status = .active
        handler = .agent
        version = 1
        reply = Answering.Summary()
        lastSequence = 0
        self.exclusive = exclusive
        self.externalID = externalID
        self.metadata = metadata
        lastMessageAt = nil
        createdAt = now
        updatedAt = now
    }

    package var isOpen: Bool { status == .active }

    /// Whether an agent answers what the contact says.
    package var isAnsweredByAgent: Bool { isOpen && handler == .agent }

    /// Moves to another status.
    ///
    /// An archived conversation stays archived; a closed one may be opened again.
    package mutating func move(to next: Status, at now: Timestamp) throws(ConversationError) {
        guard status != next else { return }
        guard status != .archived else { throw .archived(id) }
        status = next
        touch(at: now)
    }

    /// Gives the conversation to people, or back to the agent.
    package mutating func hand(to next: Handler, at now: Timestamp) throws(ConversationError) {
        guard handler != next else { return }
        guard isOpen else { throw .notActive(id, status) }
        handler = next
        touch(at: now)
    }

    /// The time of the next message: later than that of the one before, whatever the clocks of the nodes say, so that
    /// the order of times is the order in which messages were stored.
    package func nextMessageTime(_ now: Timestamp) -> Timestamp {
        lastMessageAt.map { max(now, $0 + .milliseconds(1)) } ?? now
    }

    /// Takes the next place in the stream.
    package mutating func advance() -> Int64 {
        lastSequence &+= 1
        return lastSequence
    }

    /// Marks an edit, of however many fields: whoever edits what they saw before is refused.
    package mutating func raiseVersion(from old: Conversation) { version = old.version &+ 1 }

    /// Marks a change, so that no two versions of the row have the same time.
    package mutating func touch(at now: Timestamp) { updatedAt = max(now, updatedAt + .milliseconds(1)) }
}

package enum ConversationError: ProblemConvertible {
    case unknown(ID<ConversationEntity>)
    case notActive(ID<ConversationEntity>, Conversation.Status)
    case archived(ID<ConversationEntity>)
    case alreadyOpen
    case externalIDTaken(String)
    case unknownContact
    case unknownChannel
    case inactiveChannel(String)
    case unknownAgent

    package var problem: Problem {
        switch self {
        case .unknown:
            .notFound("conversation")
        case .notActive(let id, let status):
            Problem(.conflict, "conversation.not_active", "Conversation \(id) is \(status.rawValue).")
        case .archived(let id):
            Problem(.conflict, "conversation.archived", "Conversation \(id) is archived and stays so.")
        case .alreadyOpen:
            Problem(
                .conflict,
                "conversation.already_open",
                "The contact already has an open conversation on this channel."
            )
        case .externalIDTaken:
            Problem(
                .conflict,
                "conversation.external_id_taken",
                "Another conversation on this channel has this external_id.",
                errors: [FieldError(pointer: "/external_id", code: "taken", detail: "is in use")]
            )
        case .unknownContact: .notFound("contact")
        case .unknownChannel: .notFound("channel")
        case .inactiveChannel(let name):
            Problem(.conflict, "channel.inactive", "Channel \(name) is switched off.")
        case .unknownAgent: .notFound("agent")
        }
    }
}
