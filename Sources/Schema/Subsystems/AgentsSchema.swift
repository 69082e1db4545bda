import Storage

extension SubsystemSchema {
    static let agents = SubsystemSchema(name: "Agents", tables: [aiAgents])

    private static let aiAgents = TenantTable(
        "ai_agents",
        "The bots that answer in conversations. One that is deleted keeps its row until nothing refers to it any more.",
        [
            .id, .required("name", .text), .required("instructions", .text),
            .optional("model", .text, default: "'gpt-4'"),
            .required("settings", .json), .required("is_active", .boolean), .optional("deleted_at", .timestamp),
            .createdAt,
            .updatedAt,
        ],
        checks: [.length(of: "name", 1...120)],
        indexes: [.on("organization_id", "created_at", "id")]
    )
}
