package import Kernel
import Storage

/// One thing that was said in a conversation.
///
/// Messages are never changed.
package struct Message: Sendable {
    package enum Direction: String, Sendable, CaseIterable, StoredEnumeration {
        case inbound
        case outbound
    }

    package enum Role: String, Sendable, CaseIterable, StoredEnumeration {
        case user
        case assistant
        case system

        /// What a contact says comes in, everything else goes out.
        package var direction: Direction { self == .user ? .inbound : .outbound }
    }

    /// The longest message in Unicode scalars.
    package static let maximumLength = 32_000

    package let id: ID<Message>
    package let conversationID: ID<ConversationEntity>
    package let direction: Direction
    package let role: Role
    package let content: String
    package let externalID: String?
    /// For answers: `citations`, `tokens`, `cost`, `model`, … (Agents says which).
    package let metadata: JSON
    package let createdAt: Timestamp

    package init(
        id: ID<Message> = ID(),
        conversationID: ID<ConversationEntity>,
        role: Role,
        content: String,
        externalID: String? = nil,
        metadata: JSON = [:],
        at now: Timestamp
    ) {
        self.id = id
        self.conversationID = conversationID
        direction = role.direction
        self.role = role
        self.content = content
        self.externalID = externalID
        self.metadata = metadata
        createdAt = now
    }
}

package struct NewMessage: Sendable {
    package let role: Message.Role
    package let content: String
    package let externalID: String?
    package let metadata: JSON

    package init(role: Message.Role = .user, content: String, externalID: String? = nil, metadata: JSON = [:]) {
        self.role = role
        self.content = content
        self.externalID = externalID
        self.metadata = metadata
    }
}

package enum MessageError: ProblemConvertible {
    case unknown(ID<Message>)
    case externalIDTaken(String)

    package var problem: Problem {
        switch self {
        case .unknown: .notFound("message")
        case .externalIDTaken:
            Problem(
                .conflict,
                "message.external_id_taken",
                "The conversation already has a message with this external_id.",
                errors: [FieldError(pointer: "/external_id", code: "taken", detail: "is in use")]
            )
        }
    }
}
