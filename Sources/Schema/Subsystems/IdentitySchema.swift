import Storage

extension SubsystemSchema {
    static let identity = SubsystemSchema(
        name: "Identity",
        tables: [
            organizations, users, memberships, invitations, apiKeys, sessions, refreshTokens,
        ]
    )

    private static let organizations = TenantTable(
        "The unit of tenancy: plan, users and data hang off it.",
        TableShape(
            name: "organizations",
            columns: [
                .id, .required("name", .text), .required("slug", .text), .optional("plan", .text),
                .required("status", .text, default: "'active'"), .required("settings", .json),
                .optional("deleted_at", .timestamp), .createdAt, .updatedAt,
            ],
            key: ["id"],
            unique: [["slug"]],
            checks: [
                .length(of: "name", 1...120), .length(of: "slug", 2...63),
                Check("deleted_at", "(status = 'deleted') = (deleted_at IS NOT NULL)"),
            ],
            references: [.shared("plan", to: "plans")],
            indexes: [.on("deleted_at", where: "deleted_at IS NOT NULL")]
        ),
        tenantColumn: "id",
        TenantTable.Policies(select: ["authentication", "feed", "maintenance"], update: ["maintenance"])
    )

    private static let users = TenantTable(
        "People with an account. A person may belong to several organizations: `memberships` is the truth about access, "
            + "`organization_id` and `role` are those of the home.",
        TableShape(
            name: "users",
            columns: [
                .id, .required("organization_id", .uuid), .required("email", .text), .required("name", .text),
                .optional("password_hash", .text), .required("role", .text), .optional("email_verified", .timestamp),
                .optional("image", .text), .createdAt, .updatedAt,
            ],
            key: ["id"],
            unique: [["email"]],
            checks: [.length(of: "email", 3...254)],
            references: [.shared("organization_id", to: "organizations")],
            indexes: [.on("organization_id")]
        ),
        tenantColumn: "organization_id",
        TenantTable.Policies(
            select: ["authentication"],
            update: ["authentication"],
            delete: ["authentication"],
            visibleIf: """
                EXISTS (SELECT 1 FROM memberships WHERE memberships.user_id = users.id AND memberships.organization_id
                    = (SELECT nullif(current_setting('kuvend.organization_id', true), '')::uuid))
                """
        )
    )

    private static let memberships = TenantTable(
        "memberships",
        "Who belongs to which organization, and as what.",
        [.required("user_id", .uuid), .required("role", .text), .createdAt, .updatedAt],
        key: ["user_id"],
        references: [.shared("user_id", to: "users")],
        indexes: [
            .on("user_id", "organization_id"), .on("organization_id", "created_at", "user_id", name: "created_at"),
        ],
        policies: .init(delete: ["authentication"])
    )

    private static let invitations = TenantTable(
        "invitations",
        "Who was asked to join.",
        [
            .id, .required("email", .text), .required("role", .text), .required("code_hash", .text),
            .optional("invited_by", .uuid), .createdAt, .required("expires_at", .timestamp),
        ],
        unique: [["organization_id", "email"], ["code_hash"]],
        checks: [.length(of: "email", 3...254)],
        references: [.shared("invited_by", to: "users", onDelete: .setNull)],
        indexes: [.on("organization_id", "created_at", "id"), .on("expires_at"), .on("invited_by")],
        policies: .init(select: ["authentication"], delete: ["maintenance"])
    )

    private static let apiKeys = TenantTable(
        "api_keys",
        "Access to the API for programs; of a key only its SHA-256 is kept.",
        [
            .id, .required("name", .text), .required("key_hash", .text), .required("key_prefix", .text),
            .required("permissions", .textArray), .optional("last_used_at", .timestamp),
            .optional("expires_at", .timestamp), .optional("created_by", .uuid), .createdAt,
        ],
        unique: [["key_hash"]],
        checks: [.length(of: "name", 1...120)],
        references: [.shared("created_by", to: "users", onDelete: .setNull)],
        indexes: [.on("organization_id", "created_at", "id"), .on("created_by")],
        policies: .init(select: ["authentication"], update: ["authentication"])
    )

    private static let sessions = TenantTable(
        "sessions",
        "Users signed in to an organization.",
        [
            .id, .required("user_id", .uuid), .required("family_id", .uuid), .optional("user_agent", .text),
            .optional("ip_address", .inet), .required("signed_in_at", .timestamp), .createdAt,
            .required("expires_at", .timestamp), .optional("revoked_at", .timestamp),
            .optional("revoked_reason", .text),
        ],
        references: [.shared("user_id", to: "users", onDelete: .cascade)],
        indexes: [.on("user_id", "family_id", name: "user_id"), .on("expires_at")],
        policies: .init(all: ["authentication"], delete: ["maintenance"])
    )

    private static let refreshTokens = TenantTable(
        "refresh_tokens",
        "What renews a session, once; only hashes are kept.",
        [
            .required("session_id", .uuid), .required("token_hash", .text), .optional("used_at", .timestamp),
            .optional("successor", .bytes), .createdAt, .required("expires_at", .timestamp),
        ],
        key: ["session_id", "token_hash"],
        owned: .byReference,
        unique: [["token_hash"]],
        references: [.own("session_id", to: "sessions", onDelete: .cascade)],
        indexes: [
            .on("organization_id", "session_id", where: "successor IS NOT NULL", name: "successor"), .on("expires_at"),
        ],
        policies: .init(all: ["authentication"], delete: ["maintenance"])
    )
}
