import Storage

extension SubsystemSchema {
    static let jobs = SubsystemSchema(name: "Jobs", tables: [jobsTable, jobSchedules])

    private static let jobsTable = TenantTable(
        "jobs",
        "Work to be done, at work, or given up. Work of the product itself has the organization zero.",
        [
            .id, .required("lane", .text), .required("kind", .text), .required("payload", .json),
            .required("state", .text), .required("run_at", .timestamp), .required("attempt", .integer),
            .required("max_attempts", .integer), .optional("token", .uuid), .optional("lease_expires_at", .timestamp),
            .optional("deadline_at", .timestamp), .optional("timeout_ms", .integer), .optional("unique_key", .text),
            .optional("last_error", .text), .createdAt, .updatedAt,
        ],
        owned: .loose,
        checks: [
            Check("lease", "(state = 'running') = (token IS NOT NULL)"),
            Check("lease_expires_at", "(state = 'running') = (lease_expires_at IS NOT NULL)"),
        ],
        indexes: [
            .on("lane", "organization_id", "run_at", "id", where: "state = 'ready'", name: "ready"),
            .on("lane", "run_at", where: "state = 'ready'", name: "run_at"),
            .on("lease_expires_at", where: "state = 'running'", name: "lease"),
            .on("organization_id", "updated_at", "id", where: "state = 'quarantined'", name: "quarantined"),
            .on("lane", where: "state = 'quarantined'", name: "quarantined_lane"),
            .on("updated_at", where: "state = 'quarantined'", name: "quarantined_at"),
            .unique(
                "organization_id",
                "kind",
                "unique_key",
                where: "unique_key IS NOT NULL AND state <> 'quarantined'"
            ),
        ],
        policies: .init(all: ["queue"], insert: ["feed"]),
        more: [
            RowSecurity.postgres(
                "ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)"
            )
        ]
    )

    private static let jobSchedules = SystemTable(
        meaning: "When work that repeats is due next.",
        shape: TableShape(
            name: "job_schedules",
            columns: [
                .required("name", .text), .required("next_run_at", .timestamp), .optional("last_run_at", .timestamp),
            ],
            key: ["name"]
        ),
        purpose: "queue"
    )
}
