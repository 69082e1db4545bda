import Kernel
import Storage
import Web

/// A channel as the API shows it.
struct ChannelBody: ResponseBody {
    let channel: Channel

    init(_ channel: Channel) { self.channel = channel }

    static let schema = Schema.named(
        "Channel",
        .object([
            .required("id", .uuid),
            .required("name", .string(1...120)),
            .required("type", .choice(of: Channel.Kind.self)),
            .required("settings", .anyObject()),
            .required("ai_agent_id", .nullable(.uuid)),
            .required("single_conversation", .boolean),
            .required("is_active", .boolean),
            .required("created_at", .dateTime),
            .required("updated_at", .dateTime),
        ])
    )

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.value(channel.id.description)
        json.key("name")
        json.value(channel.name)
        json.key("type")
        json.value(channel.kind.rawValue)
        json.key("settings")
        json.value(channel.settings)
        json.key("ai_agent_id")
        json.value(channel.agentID?.description)
        json.key("single_conversation")
        json.value(channel.singleConversation)
        json.key("is_active")
        json.value(channel.isActive)
        json.key("created_at")
        json.value(channel.createdAt.description)
        json.key("updated_at")
        json.value(channel.updatedAt.description)
        json.endObject()
    }
}

extension NewChannel {
    static let schema = Schema.named(
        "NewChannel",
        .object([
            .required(
                "name",
                .string(1...120, [.singleLine, .notBlank]),
                "What your people call it.",
                example: "Website"
            ),
            .required("type", .choice(of: Channel.Kind.self)),
            .optional("settings", .anyObject()),
            .optional("ai_agent_id", .nullable(.uuid), "The agent that answers; null: the first active one."),
            .optional(
                "single_conversation",
                .boolean,
                "Whether a contact may have only one open conversation here.",
                default: false
            ),
            .optional("is_active", .boolean, default: true),
        ])
    )

    init(_ body: JSON) {
        self.init(
            name: body["name"]?.string ?? "",
            kind: body["type"]?.string.flatMap(Channel.Kind.init) ?? .api
        )
        settings = body["settings"] ?? [:]
        agentID = body["ai_agent_id"]?.string.flatMap { ID($0) }
        singleConversation = body["single_conversation"]?.bool ?? false
        isActive = body["is_active"]?.bool ?? true
    }
}

extension ChannelChanges {
    static let schema = Schema.named(
        "ChannelChanges",
        .object([
            .optional("name", .string(1...120, [.singleLine, .notBlank])),
            .optional("settings", .anyObject(), "Replaces the settings."),
            .optional("ai_agent_id", .nullable(.uuid), "null takes the agent away."),
            .optional("single_conversation", .boolean, "Holds for conversations that begin from now on."),
            .optional("is_active", .boolean),
        ])
    )

    init(_ body: JSON) {
        name = body["name"]?.string
        settings = body["settings"]
        agentID = body["ai_agent_id"].map { $0.string.flatMap { ID($0) } }
        singleConversation = body["single_conversation"]?.bool
        isActive = body["is_active"]?.bool
    }
}

struct ChannelRoutes: Sendable {
    let service: ChannelService

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/channels",
            tag: "Channels",
            [
                Endpoint.organization(
                    .get,
                    "",
                    "List channels",
                    "Newest first.",
                    permission: .channelsRead,
                    query: .page + [.optional("type", .choice(of: Channel.Kind.self))],
                    responses: [.ok(.page(of: ChannelBody.schema))],
                    use: list
                ),
                Endpoint.organization(
                    .post,
                    "",
                    "Create a channel",
                    permission: .channelsWrite,
                    body: NewChannel.schema,
                    responses: [.created(ChannelBody.schema)],
                    problems: [.notFound("agent")],
                    use: create
                ),
                Endpoint.organization(
                    .get,
                    "/{id}",
                    "Read a channel",
                    permission: .channelsRead,
                    responses: [.ok(ChannelBody.schema)],
                    problems: [.notFound("channel")],
                    use: show
                ),
                Endpoint.organization(
                    .patch,
                    "/{id}",
                    "Change a channel",
                    permission: .channelsWrite,
                    body: ChannelChanges.schema,
                    edits: true,
                    responses: [.ok(ChannelBody.schema)],
                    problems: [.notFound("channel"), .notFound("agent")],
                    use: change
                ),
                Endpoint.organization(
                    .delete,
                    "/{id}",
                    "Delete a channel",
                    permission: .channelsWrite,
                    responses: [.noContent],
                    problems: [
                        .notFound("channel"),
                        ProblemKind(.conflict, "channel.in_use", "The channel has conversations."),
                    ],
                    use: delete
                ),
            ]
        )
    }

    private func list(_ call: OrganizationCall) async throws -> Response {
        .page(
            try await service.list(kind: call.query("type"), call.page, in: call.scope).map(ChannelBody.init)
        )
    }

    private func create(_ call: OrganizationCall) async throws -> Response {
        let channel = try await service.create(NewChannel(call.body), in: call.scope)
        return .created(ChannelBody(channel), at: "/api/v1/channels/\(channel.id)", tag: EntityTag(channel.updatedAt))
    }

    private func show(_ call: OrganizationCall) async throws -> Response {
        let channel = try await service.get(call.pathID("id", or: .notFound("channel")), in: call.scope)
        return .ok(ChannelBody(channel), tag: EntityTag(channel.updatedAt))
    }

    private func change(_ call: OrganizationCall) async throws -> Response {
        let precondition = call.ifMatch
        let channel = try await service.change(
            call.pathID("id", or: .notFound("channel")),
            ChannelChanges(call.body),
            in: call.scope
        ) { updatedAt in
            try precondition.check(EntityTag(updatedAt))
        }
        return .ok(ChannelBody(channel), tag: EntityTag(channel.updatedAt))
    }

    private func delete(_ call: OrganizationCall) async throws -> Response {
        try await service.delete(call.pathID("id", or: .notFound("channel")), in: call.scope)
        return .noContent
    }
}
