import Storage

extension SubsystemSchema {
    static let audit = SubsystemSchema(name: "Audit", tables: [auditLogs])

    private static let auditLogs = TenantTable(
        "audit_logs",
        "Who did what, when and from where.",
        [
            .id, .optional("user_id", .uuid), .required("actor_kind", .text), .optional("actor_id", .text),
            .required("action", .text), .required("resource_type", .text), .required("resource_id", .text),
            .optional("changes", .json), .optional("ip_address", .inet), .optional("user_agent", .text),
            .optional("request_id", .text), .createdAt,
        ],
        indexes: [
            .on("organization_id", "created_at", "id"),
            .on("organization_id", "resource_type", "resource_id", "created_at", "id", name: "resource"),
        ],
        policies: .init(insert: ["feed"])
    )
}
