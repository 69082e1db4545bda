import Storage

extension SubsystemSchema {
    static let webhooks = SubsystemSchema(name: "Webhooks", tables: [webhookSubscriptions])

    private static let webhookSubscriptions = TenantTable(
        "webhook_subscriptions",
        "Where events are sent to.",
        [
            .id, .required("url", .text), .required("events", .textArray), .required("secret", .bytes),
            .required("is_active", .boolean), .createdAt, .updatedAt,
        ],
        indexes: [.on("organization_id", "created_at", "id")]
    )
}
