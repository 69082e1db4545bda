import Storage

extension SubsystemSchema {
    static let billingCatalogue = SubsystemSchema(name: "Billing: catalogue", tables: [plans])

    static let billing = SubsystemSchema(name: "Billing", tables: [subscriptions, usage, usageEntries])

    private static let plans = CatalogueTable(
        meaning: "What an organization can subscribe to.",
        shape: TableShape(
            name: "plans",
            columns: [
                .required("id", .text), .required("product_type", .text), .required("tier", .text),
                .required("billing_period", .text), .required("currency", .text, default: "'EUR'"),
                .required("price", .money), .required("is_active", .boolean), .required("limits", .json), .createdAt,
                .updatedAt,
            ],
            key: ["id"]
        )
    )

    private static let subscriptions = TenantTable(
        "subscriptions",
        "What an organization pays for; one each.",
        [
            .id, .required("plan_id", .text), .required("provider", .text),
            .optional("external_subscription_id", .text), .required("status", .text),
            .required("current_period_start", .timestamp), .required("current_period_end", .timestamp),
            .required("cancel_at_period_end", .boolean), .createdAt, .updatedAt,
        ],
        unique: [["organization_id"], ["provider", "external_subscription_id"]],
        references: [.shared("plan_id", to: "plans")],
        indexes: [.on("plan_id")]
    )

    private static let usage = TenantTable(
        "usage",
        "What was counted in a month.",
        [
            .id, .required("period_start", .timestamp), .required("period_end", .timestamp),
            .required("metrics", .json),
            .createdAt, .updatedAt,
        ],
        unique: [["organization_id", "period_start"]]
    )

    private static let usageEntries = TenantTable(
        "usage_entries",
        "What was counted and is not in the month's row yet.",
        [
            .id, .required("period_start", .timestamp), .required("metric", .text), .required("quantity", .integer),
            .createdAt,
        ],
        checks: [Check("quantity", "quantity >= 0")],
        indexes: [.on("organization_id", "period_start", name: "period")],
        policies: .init(select: ["billing"])
    )
}
