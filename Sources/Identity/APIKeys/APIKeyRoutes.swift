package import Kernel
import Web

/// A key as the API shows it, after its creation without the key itself.
package struct APIKeyBody: ResponseBody {
    let key: APIKey
    let token: APIKeyToken?

    package init(_ key: APIKey) {
        self.key = key
        token = nil
    }

    init(_ key: APIKey, _ token: APIKeyToken) {
        self.key = key
        self.token = token
    }

    private static let fields: [Schema.Property] = [
        .required("id", .uuid),
        .required("name", .string(1...120)),
        .required("key_prefix", .string(1...20), "The beginning of the key.", example: "kv_live_8fK2"),
        .required("permissions", .array(of: .string(1...100)), "More may come than this description names."),
        .required("last_used_at", .nullable(.dateTime), "To the minute."),
        .required("expires_at", .nullable(.dateTime)),
        .required("created_by", .nullable(.uuid), "The user; null when another key created it."),
        .required("created_at", .dateTime),
    ]

    package static let schema = Schema.named("APIKey", .object(fields))
    static let createdSchema = Schema.named(
        "CreatedAPIKey",
        .object(fields + [.required("key", .string(1...200), "The key itself. It is shown this once.")])
    )

    package func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.value(key.id.description)
        json.key("name")
        json.value(key.name)
        json.key("key_prefix")
        json.value(key.prefix)
        json.key("permissions")
        json.beginArray()
        for name in key.permissions.names { json.value(name) }
        json.endArray()
        json.key("last_used_at")
        json.value(key.lastUsedAt?.description)
        json.key("expires_at")
        json.value(key.expiresAt?.description)
        json.key("created_by")
        json.value(key.createdBy?.description)
        json.key("created_at")
        json.value(key.createdAt.description)
        if let token {
            json.key("key")
            json.value(token.secret.exposed)
        }
        json.endObject()
    }
}

extension NewAPIKey {
    /// - Parameter permissions: Those that a key can have.
    static func schema(_ permissions: [Permission]) -> Schema {
        .named(
            "NewAPIKey",
            .object([
                .required("name", .string(1...120, [.singleLine, .notBlank]), "What it is for.", example: "Website"),
                .required(
                    "permissions",
                    .array(of: .choice(permissions.map(\.name)), count: 1...max(permissions.count, 1)),
                    "None that you do not hold yourself.",
                    example: ["conversations:read", "conversations:write"]
                ),
                .optional("expires_at", .nullable(.dateTime), "In the future; null: never."),
            ])
        )
    }

    init(_ body: JSON) {
        self.init(
            name: body["name"]?.string ?? "",
            permissions: Set(
                (body["permissions"]?.array ?? []).compactMap { $0.string.map(Permission.init(name:)) }
            ),
            expiresAt: body["expires_at"]?.string.flatMap { Timestamp($0) }
        )
    }
}

struct APIKeyRoutes: Sendable {
    let service: APIKeyService

    private static let changes = Schema.named(
        "APIKeyChanges",
        .object([.required("name", .string(1...120, [.singleLine, .notBlank]))])
    )

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/api-keys",
            tag: "API keys",
            [
                Endpoint.organization(
                    .get,
                    "",
                    "List API keys",
                    "Newest first.",
                    permission: .apiKeysRead,
                    query: .page,
                    responses: [.ok(.page(of: APIKeyBody.schema))],
                    use: list
                ),
                Endpoint.organization(
                    .post,
                    "",
                    "Create an API key",
                    "The answer is the only place where the key is shown.",
                    permission: .apiKeysWrite,
                    body: NewAPIKey.schema(service.roles.all),
                    responses: [.created(APIKeyBody.createdSchema)],
                    problems: [
                        ProblemKind(
                            .forbidden,
                            "api_key.beyond_authority",
                            "The key would have permissions that you lack, or outlive the key that makes it."
                        )
                    ],
                    use: create
                ),
                Endpoint.organization(
                    .get,
                    "/{id}",
                    "Read an API key",
                    permission: .apiKeysRead,
                    responses: [.ok(APIKeyBody.schema)],
                    problems: [.notFound("api key")],
                    use: show
                ),
                Endpoint.organization(
                    .patch,
                    "/{id}",
                    "Rename an API key",
                    permission: .apiKeysWrite,
                    body: Self.changes,
                    responses: [.ok(APIKeyBody.schema)],
                    problems: [.notFound("api key")],
                    use: rename
                ),
                Endpoint.organization(
                    .delete,
                    "/{id}",
                    "Delete an API key",
                    "It stops working within 10 seconds.",
                    permission: .apiKeysWrite,
                    responses: [.noContent],
                    problems: [.notFound("api key")],
                    use: delete
                ),
            ]
        )
    }

    private func list(_ call: OrganizationCall) async throws -> Response {
        .page(try await service.list(call.page, in: call.scope).map { APIKeyBody($0) })
    }

    private func create(_ call: OrganizationCall) async throws -> Response {
        let (key, token) = try await service.create(NewAPIKey(call.body), by: call.principal, in: call.scope)
        return .created(APIKeyBody(key, token), at: "/api/v1/api-keys/\(key.id)")
    }

    private func show(_ call: OrganizationCall) async throws -> Response {
        .ok(APIKeyBody(try await service.get(call.pathID("id", or: .notFound("api key")), in: call.scope)))
    }

    private func rename(_ call: OrganizationCall) async throws -> Response {
        let key = try await service.rename(
            call.pathID("id", or: .notFound("api key")),
            to: call.body["name"]?.string ?? "",
            in: call.scope
        )
        return .ok(APIKeyBody(key))
    }

    private func delete(_ call: OrganizationCall) async throws -> Response {
        try await service.delete(call.pathID("id", or: .notFound("api key")), in: call.scope)
        return .noContent
    }
}
