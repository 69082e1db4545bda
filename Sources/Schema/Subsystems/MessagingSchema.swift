import Storage

extension SubsystemSchema {
    static let messaging = SubsystemSchema(
        name: "Messaging",
        tables: [channels, contacts, conversations, answerings, messages, conversationEvents]
    )

    private static let channels = TenantTable(
        "channels",
        "Where contacts write or call.",
        [
            .id, .required("name", .text), .required("type", .text), .required("settings", .json),
            .optional("ai_agent_id", .uuid), .required("single_conversation", .boolean),
            .required("is_active", .boolean), .createdAt, .updatedAt,
        ],
        checks: [.length(of: "name", 1...120)],
        references: [.own("ai_agent_id", to: "ai_agents")],
        indexes: [
            .on("organization_id", "created_at", "id"),
            .on("organization_id", "ai_agent_id", where: "ai_agent_id IS NOT NULL"),
        ]
    )

    private static let contacts = TenantTable(
        "contacts",
        "The customers of an organization.",
        [
            .id, .optional("email", .text), .optional("phone", .text), .optional("name", .text),
            .optional("external_id", .text), .required("metadata", .json), .createdAt, .updatedAt,
        ],
        indexes: [
            .unique("organization_id", "external_id", where: "external_id IS NOT NULL"),
            .on("organization_id", "created_at", "id"), .on("organization_id", "email"),
            .on("organization_id", "phone"),
        ]
    )

    private static let conversations = TenantTable(
        "conversations",
        "What was said between a contact and an organization on one channel.",
        [
            .id, .required("contact_id", .uuid), .required("channel_id", .uuid), .optional("ai_agent_id", .uuid),
            .required("status", .text), .required("handled_by", .text), .required("version", .integer, default: "1"),
            .required("reply_state", .text), .optional("reply_error", .text),
            .required("last_sequence", .integer), .required("exclusive", .boolean), .optional("external_id", .text),
            .required("metadata", .json), .optional("last_message_at", .timestamp), .createdAt, .updatedAt,
        ],
        references: [
            .own("contact_id", to: "contacts"), .own("channel_id", to: "channels"),
            .own("ai_agent_id", to: "ai_agents"),
        ],
        indexes: [
            .unique("organization_id", "channel_id", "contact_id", where: "exclusive AND status = 'active'"),
            .unique("organization_id", "channel_id", "external_id", where: "external_id IS NOT NULL"),
            .on("organization_id", "created_at", "id"),
            .on("organization_id", "status", "created_at", "id", name: "status"),
            .on("organization_id", "handled_by", "created_at", "id", name: "handled_by"),
            .on("organization_id", "channel_id", "created_at", "id", name: "channel"),
            .on("organization_id", "contact_id", "created_at", "id", name: "contact"),
            .on("organization_id", "ai_agent_id", where: "ai_agent_id IS NOT NULL"),
        ]
    )

    private static let answerings = TenantTable(
        "answerings",
        "How far the agent's answer in a conversation is; without a row nothing was asked yet.",
        [
            .required("conversation_id", .uuid), .required("epoch", .integer), .required("state", .text),
            .optional("error", .text), .optional("question_id", .uuid), .optional("started_at", .timestamp),
        ],
        key: ["conversation_id"],
        owned: .byReference,
        references: [.own("conversation_id", to: "conversations", onDelete: .cascade)]
    )

    private static let messages = TenantTable(
        "messages",
        "One thing that was said; never changed.",
        [
            .id, .required("conversation_id", .uuid), .required("direction", .text), .required("role", .text),
            .required("content", .text), .optional("external_id", .text), .required("metadata", .json), .createdAt,
        ],
        owned: .byReference,
        checks: [.oneOf("direction", ["inbound", "outbound"])],
        references: [.own("conversation_id", to: "conversations")],
        indexes: [
            .on("organization_id", "conversation_id", "created_at", "id", name: "created_at"),
            .unique("organization_id", "conversation_id", "external_id", where: "external_id IS NOT NULL"),
        ],
        fullText: "content"
    )

    private static let conversationEvents = TenantTable(
        "conversation_events",
        "The live stream of a conversation, kept for a day.",
        [
            .required("conversation_id", .uuid), .required("sequence", .integer), .required("type", .text),
            .optional("message_id", .uuid), .required("data", .json), .createdAt,
        ],
        key: ["conversation_id", "sequence"],
        owned: .byReference,
        references: [.own("conversation_id", to: "conversations", onDelete: .cascade)],
        indexes: [.on("created_at")],
        policies: .init(delete: ["maintenance"])
    )
}
