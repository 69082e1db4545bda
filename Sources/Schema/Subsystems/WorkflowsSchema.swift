import Storage

extension SubsystemSchema {
    static let workflows = SubsystemSchema(name: "Workflows", tables: [workflowsTable, workflowRuns])

    private static let workflowsTable = TenantTable(
        "workflows",
        "Automations: steps, and what starts them.",
        [
            .id, .required("name", .text), .optional("description", .text), .required("definition", .json),
            .required("triggers", .json), .required("is_active", .boolean), .createdAt, .updatedAt,
        ],
        indexes: [.on("organization_id", "created_at", "id")]
    )

    private static let workflowRuns = TenantTable(
        "workflow_runs",
        "Executions of workflows.",
        [
            .id, .required("workflow_id", .uuid), .required("status", .text), .optional("input_data", .json),
            .optional("output_data", .json), .optional("error_message", .text), .required("started_at", .timestamp),
            .optional("completed_at", .timestamp),
        ],
        owned: .byReference,
        references: [.own("workflow_id", to: "workflows", onDelete: .cascade)],
        indexes: [.on("organization_id", "workflow_id", "started_at", "id", name: "started_at")]
    )
}
