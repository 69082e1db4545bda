import Kernel
import Storage
import Web

struct AuditLogBody: WritableBody {
    let log: AuditLog

    /// - Parameter actorKinds: Those that are known; others may come.
    static func schema(_ actorKinds: [ActorKind]) -> Schema {
        let known = actorKinds.map { "`\($0.name)`" }.joined(separator: ", ")
        return .named("AuditLog", .object(members("One of \(known); more may come.")))
    }

    private static func members(_ actorTypes: String) -> [Schema.Property] {
        [
            .required("id", .uuid),
            .required("user_id", .nullable(.uuid)),
            .required("actor_type", .string(1...100), actorTypes, example: "user"),
            .required("actor_id", .nullable(.string(1...100))),
            .required("action", .string(1...100), example: "agent.updated"),
            .required("resource_type", .string(1...100), example: "ai_agent"),
            .required("resource_id", .string(1...100)),
            .required("changes", .nullable(.anyObject(maxBytes: 1_048_576)), "By field: `before` and `after`."),
            .required("ip_address", .nullable(.string(1...100))),
            .required("user_agent", .nullable(.string(0...1_000))),
            .required("request_id", .nullable(.string(1...100))),
            .required("created_at", .dateTime),
        ]
    }

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.value(log.id.description)
        json.key("user_id")
        json.value(log.userID?.description)
        json.key("actor_type")
        json.value(log.actorKind)
        json.key("actor_id")
        json.value(log.actorID)
        json.key("action")
        json.value(log.action)
        json.key("resource_type")
        json.value(log.resourceType)
        json.key("resource_id")
        json.value(log.resourceID)
        json.key("changes")
        json.value(log.changes ?? .null)
        json.key("ip_address")
        json.value(log.address?.text)
        json.key("user_agent")
        json.value(log.userAgent)
        json.key("request_id")
        json.value(log.requestID)
        json.key("created_at")
        json.value(log.createdAt.description)
        json.endObject()
    }
}

struct AuditLogRoutes: Sendable {
    let service: AuditLogService
    let actorKinds: [ActorKind]

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/audit-logs",
            tag: "Audit",
            [
                Endpoint.organization(
                    .get,
                    "",
                    "List audit logs",
                    "Newest first.",
                    permission: .auditRead,
                    query: .page + [
                        .optional("action", .string(1...100, .singleLine)),
                        .optional("resource_type", .string(1...100, .singleLine)),
                        .optional("resource_id", .string(1...100, .singleLine)),
                        .optional("user_id", .uuid),
                    ],
                    responses: [.ok(.page(of: AuditLogBody.schema(actorKinds)))],
                    use: list
                )
            ]
        )
    }

    private func list(_ call: OrganizationCall) async throws -> Response {
        var filter = AuditLogFilter()
        filter.action = call.query("action")?.string
        filter.resourceType = call.query("resource_type")?.string
        filter.resourceID = call.query("resource_id")?.string
        filter.userID = call.query("user_id")
        return .page(try await service.list(filter, call.page, in: call.scope).map(AuditLogBody.init))
    }
}
