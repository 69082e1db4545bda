import Storage

extension SubsystemSchema {
    static let events = SubsystemSchema(name: "Events", tables: [eventsTable, eventConsumers, setAsideEvents])

    private static let eventsTable = TenantTable(
        "The feed: facts in the order in which their transactions began to write.",
        TableShape(
            name: "events",
            columns: [
                .required("position", .serialKey), .required("transaction_number", .integer),
                .required("organization_id", .uuid), .required("id", .uuid), .required("type", .text),
                .required("resource", .text), .required("subject_id", .text), .required("actor_kind", .text),
                .optional("actor_id", .text), .required("data", .json), .optional("changes", .json),
                .optional("request_id", .text), .optional("ip_address", .inet), .optional("user_agent", .text),
                .createdAt,
            ],
            key: [],
            indexes: [
                .on("transaction_number", "position", name: "order"),
                .on("organization_id", "transaction_number", "position", name: "organization"), .on("created_at"),
            ]
        ),
        tenantColumn: "organization_id",
        TenantTable.Policies(select: ["feed"], insert: ["authentication"], delete: ["maintenance"])
    )

    private static let eventConsumers = SystemTable(
        meaning: "How far each consumer has read the feed.",
        shape: TableShape(
            name: "event_consumers",
            columns: [
                .required("name", .text), .required("transaction_number", .integer), .required("position", .integer),
                .updatedAt,
            ],
            key: ["name"]
        ),
        purpose: "feed"
    )

    private static let setAsideEvents = TenantTable(
        "set_aside_events",
        "Events that a consumer could not handle, while it went on with the others.",
        [
            .required("consumer", .text), .required("position", .integer), .required("transaction_number", .integer),
            .required("type", .text), .required("reason", .text), .createdAt,
        ],
        key: ["consumer", "position"],
        owned: .loose,
        indexes: [.on("created_at")],
        policies: .init(all: ["feed"], delete: ["maintenance"])
    )
}
