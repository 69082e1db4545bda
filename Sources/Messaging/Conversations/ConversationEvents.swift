package import Events
import Kernel

/// What the event feed says about this subsystem.
package enum MessagingEvents {
    package static let all: [EventType] = [
        conversationCreated, conversationUpdated, conversationClosed, messageCreated, channelCreated, channelUpdated,
        channelDeleted, contactCreated, contactUpdated, contactDeleted, replyFailed,
    ]

    private static let id = "0193a5f2-7a30-7c3b-8d2e-5b0c6f0a9e11"

    private static func resource(_ more: [Schema.Property] = []) -> Schema { .object([.required("id", .uuid)] + more) }

    package static let conversationCreated = EventType(
        "conversation.created",
        resource: "conversation",
        "A contact began a conversation.",
        data: resource([
            .required("contact_id", .uuid), .required("channel_id", .uuid),
            .required("status", .choice(of: Conversation.Status.self)),
        ]),
        example: [
            "id": .string(id), "contact_id": .string(id), "channel_id": .string(id), "status": "active",
        ]
    )
    package static let conversationUpdated = EventType(
        "conversation.updated",
        resource: "conversation",
        "A conversation was changed or changed hands.",
        data: resource([
            .required("status", .choice(of: Conversation.Status.self)),
            .required("handled_by", .choice(of: Conversation.Handler.self)),
        ]),
        example: ["id": .string(id), "status": "active", "handled_by": "human"]
    )
    package static let conversationClosed = EventType(
        "conversation.closed",
        resource: "conversation",
        "A conversation was closed.",
        data: resource(),
        example: ["id": .string(id)]
    )
    package static let messageCreated = EventType(
        "message.created",
        resource: "message",
        "A message came in or went out.",
        data: resource([
            .required("conversation_id", .uuid), .required("direction", .choice(of: Message.Direction.self)),
            .required("role", .choice(of: Message.Role.self)),
        ]),
        example: ["id": .string(id), "conversation_id": .string(id), "direction": "inbound", "role": "user"]
    )
    package static let replyFailed = EventType(
        "reply.failed",
        resource: "conversation",
        "A contact will not be answered unless a person acts: all attempts failed, or no agent is active.",
        data: .object([.required("conversation_id", .uuid), .required("reason", .string(0...2_000))]),
        example: ["conversation_id": .string(id), "reason": "the model provider did not answer in time"]
    )
    package static let channelCreated = named("channel", "created", "A channel was created.")
    package static let channelUpdated = named("channel", "updated", "A channel was changed.")
    package static let channelDeleted = named("channel", "deleted", "A channel was deleted.")
    package static let contactCreated = bare("contact", "created", "A contact was created.")
    package static let contactUpdated = bare("contact", "updated", "A contact was changed.")
    package static let contactDeleted = bare("contact", "deleted", "A contact was deleted.")

    private static func named(_ resource: String, _ fact: String, _ summary: String) -> EventType {
        EventType(
            "\(resource).\(fact)",
            resource: resource,
            summary,
            data: self.resource([.required("name", .string(1...120))]),
            example: ["id": .string(id), "name": "Website"]
        )
    }

    private static func bare(_ resource: String, _ fact: String, _ summary: String) -> EventType {
        EventType(
            "\(resource).\(fact)",
            resource: resource,
            summary,
            data: self.resource(),
            example: ["id": .string(id)]
        )
    }
}

extension Event {
    static func conversationCreated(_ conversation: Conversation) -> Event {
        Event(
            MessagingEvents.conversationCreated,
            subject: conversation.id.description,
            data: [
                "id": .string(conversation.id.description), "contact_id": .string(conversation.contactID.description),
                "channel_id": .string(conversation.channelID.description),
                "status": .string(conversation.status.rawValue),
            ]
        )
    }

    static func conversationUpdated(_ conversation: Conversation, from old: Conversation) -> Event {
        Event(
            MessagingEvents.conversationUpdated,
            subject: conversation.id.description,
            data: [
                "id": .string(conversation.id.description), "status": .string(conversation.status.rawValue),
                "handled_by": .string(conversation.handler.rawValue),
            ],
            changes: JSON.changes([
                .of("status", .string(old.status.rawValue), .string(conversation.status.rawValue)),
                .of("handled_by", .string(old.handler.rawValue), .string(conversation.handler.rawValue)),
                .redacted("metadata", old.metadata, conversation.metadata),
            ])
        )
    }

    static func conversationClosed(_ conversation: Conversation) -> Event {
        Event(
            MessagingEvents.conversationClosed,
            subject: conversation.id.description,
            data: ["id": .string(conversation.id.description)]
        )
    }

    static func replyFailed(_ conversation: ID<ConversationEntity>, _ reason: String) -> Event {
        Event(
            MessagingEvents.replyFailed,
            subject: conversation.description,
            data: ["conversation_id": .string(conversation.description), "reason": .string(reason)]
        )
    }

    package static func messageCreated(_ message: Message) -> Event {
        Event(
            MessagingEvents.messageCreated,
            subject: message.id.description,
            data: [
                "id": .string(message.id.description), "conversation_id": .string(message.conversationID.description),
                "direction": .string(message.direction.rawValue), "role": .string(message.role.rawValue),
            ]
        )
    }
}
