import Storage

extension SubsystemSchema {
    static let web = SubsystemSchema(name: "Web", tables: [idempotencyKeys])

    private static let idempotencyKeys = TenantTable(
        "idempotency_keys",
        "What requests with an `Idempotency-Key` were answered.",
        [
            .required("principal", .text), .required("key", .text), .required("token", .text),
            .required("request_hash", .text), .required("state", .text), .optional("response_status", .integer),
            .optional("response_headers", .json), .optional("response_body", .bytes), .createdAt,
            .required("lease_expires_at", .timestamp), .required("expires_at", .timestamp),
        ],
        key: ["principal", "key"],
        // A claim that was taken over is written as a state that this refuses, so that its transaction cannot commit.
        checks: [.oneOf("state", ["claimed", "applied", "done"])],
        indexes: [.on("expires_at")],
        policies: .init(delete: ["maintenance"])
    )
}
