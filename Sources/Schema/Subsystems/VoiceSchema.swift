import Storage

extension SubsystemSchema {
    static let voice = SubsystemSchema(name: "Voice", tables: [callSessions, callTurns, callTranscripts])

    private static let callSessions = TenantTable(
        "call_sessions",
        "Calls that came in or went out.",
        [
            .id, .optional("contact_id", .uuid), .optional("external_call_id", .text), .required("direction", .text),
            .required("status", .text), .optional("duration_seconds", .integer), .optional("recording_url", .text),
            .required("metadata", .json), .required("started_at", .timestamp), .optional("ended_at", .timestamp),
        ],
        checks: [.oneOf("direction", ["inbound", "outbound"])],
        references: [.own("contact_id", to: "contacts")],
        indexes: [
            .unique("organization_id", "external_call_id", where: "external_call_id IS NOT NULL"),
            .on("organization_id", "contact_id"), .on("organization_id", "started_at", "id"),
        ]
    )

    private static let callTurns = TenantTable(
        "call_turns",
        "What was said in a call, turn by turn.",
        [
            .id, .required("call_session_id", .uuid), .required("speaker", .text), .required("text", .text),
            .optional("audio_url", .text), .optional("duration_seconds", .double), .createdAt,
        ],
        owned: .byReference,
        references: [.own("call_session_id", to: "call_sessions", onDelete: .cascade)],
        indexes: [.on("organization_id", "call_session_id", "created_at", "id", name: "created_at")]
    )

    private static let callTranscripts = TenantTable(
        "call_transcripts",
        "The whole text of a call; one each.",
        [
            .id, .required("call_session_id", .uuid), .required("full_text", .text), .optional("language", .text),
            .optional("confidence_score", .decimal), .createdAt,
        ],
        owned: .byReference,
        unique: [["organization_id", "call_session_id"]],
        references: [.own("call_session_id", to: "call_sessions", onDelete: .cascade)]
    )
}
