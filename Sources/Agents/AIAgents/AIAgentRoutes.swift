import Kernel
import Storage
import Web

/// An agent as the API shows it.
struct AIAgentBody: ResponseBody {
    let agent: AIAgent
    let modelInUse: String

    init(_ agent: AIAgent, modelInUse: String) {
        self.agent = agent
        self.modelInUse = modelInUse
    }

    static let schema = Schema.named(
        "AIAgent",
        .object([
            .required("id", .uuid),
            .required("name", .string(1...120)),
            .required("instructions", .string(0...32_000)),
            .required("model", .nullable(.string(1...200)), "The model it asks for; null: the installation's."),
            .required("model_in_use", .string(1...200), "The name of the model that answers now."),
            .required("settings", AgentSettings.schema),
            .required("is_active", .boolean),
            .required("created_at", .dateTime),
            .required("updated_at", .dateTime),
        ])
    )

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.value(agent.id.description)
        json.key("name")
        json.value(agent.name)
        json.key("instructions")
        json.value(agent.instructions)
        json.key("model")
        json.value(agent.model)
        json.key("model_in_use")
        json.value(modelInUse)
        json.key("settings")
        json.value(agent.settings.json)
        json.key("is_active")
        json.value(agent.isActive)
        json.key("created_at")
        json.value(agent.createdAt.description)
        json.key("updated_at")
        json.value(agent.updatedAt.description)
        json.endObject()
    }
}

private let instructionsProperty = Schema.Property.optional(
    "instructions",
    .string(0...32_000),
    "What the agent is told about its work and its manner.",
    example: "You answer customers of a book shop, briefly and kindly."
)
private let modelProperty = Schema.Property.optional(
    "model",
    .nullable(.string(1...200, [.singleLine, .notBlank])),
    """
    A model by the name that the provider knows, asked for as it is; null: the installation's model. Without a provider \
    there is no other one than `\(ExtractiveModel.modelName)`.
    """
)

extension NewAIAgent {
    static let schema = Schema.named(
        "NewAIAgent",
        .object([
            .required("name", .string(1...120, [.singleLine, .notBlank]), example: "Support"),
            instructionsProperty, modelProperty,
            .optional("settings", AgentSettings.schema),
            .optional("is_active", .boolean, default: true),
        ])
    )

    init(_ body: JSON) {
        self.init(name: body["name"]?.string ?? "")
        instructions = body["instructions"]?.string ?? ""
        model = body["model"]?.string
        settings = AgentSettings(body["settings"] ?? [:])
        isActive = body["is_active"]?.bool ?? true
    }
}

extension AIAgentChanges {
    static let schema = Schema.named(
        "AIAgentChanges",
        .object([
            .optional("name", .string(1...120, [.singleLine, .notBlank])),
            instructionsProperty,
            modelProperty,
            .optional("settings", AgentSettings.schema, "Replaces the settings."),
            .optional("is_active", .boolean),
        ])
    )

    init(_ body: JSON) {
        name = body["name"]?.string
        instructions = body["instructions"]?.string
        model = body["model"].map(\.string)
        settings = body["settings"].map(AgentSettings.init)
        isActive = body["is_active"]?.bool
    }
}

extension ProblemKind {
    fileprivate static let modelUnavailable = ProblemKind(
        .unprocessable,
        "agent.model_unavailable",
        "The installation has no such model."
    )
}

struct AIAgentRoutes: Sendable {
    let service: AIAgentService

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/ai-agents",
            tag: "Agents",
            [
                Endpoint.organization(
                    .get,
                    "",
                    "List agents",
                    "Newest first.",
                    permission: .agentsRead,
                    query: .page + [.optional("is_active", .boolean)],
                    responses: [.ok(.page(of: AIAgentBody.schema))],
                    use: list
                ),
                Endpoint.organization(
                    .post,
                    "",
                    "Create an agent",
                    permission: .agentsWrite,
                    body: NewAIAgent.schema,
                    responses: [.created(AIAgentBody.schema)],
                    problems: [.modelUnavailable],
                    use: create
                ),
                Endpoint.organization(
                    .get,
                    "/{id}",
                    "Read an agent",
                    permission: .agentsRead,
                    responses: [.ok(AIAgentBody.schema)],
                    problems: [.notFound("agent")],
                    use: show
                ),
                Endpoint.organization(
                    .patch,
                    "/{id}",
                    "Change an agent",
                    permission: .agentsWrite,
                    body: AIAgentChanges.schema,
                    edits: true,
                    responses: [.ok(AIAgentBody.schema)],
                    problems: [.notFound("agent"), .modelUnavailable],
                    use: change
                ),
                Endpoint.organization(
                    .delete,
                    "/{id}",
                    "Delete an agent",
                    "Channels and conversations that named it go on with the organization's first active agent.",
                    permission: .agentsWrite,
                    responses: [.noContent],
                    problems: [.notFound("agent")],
                    use: delete
                ),
            ]
        )
    }

    private func body(_ agent: AIAgent) -> AIAgentBody {
        AIAgentBody(agent, modelInUse: service.modelInUse(by: agent))
    }

    /// The installation's model may be another one after a restart, and the body shows it.
    private func tag(_ agent: AIAgent) -> EntityTag {
        agent.model == nil
            ? EntityTag(agent.updatedAt, showing: service.modelInUse(by: agent)) : EntityTag(agent.updatedAt)
    }

    private func list(_ call: OrganizationCall) async throws -> Response {
        .page(
            try await service.list(isActive: call.query("is_active")?.bool, call.page, in: call.scope)
                .map(body)
        )
    }

    private func create(_ call: OrganizationCall) async throws -> Response {
        let agent = try await service.create(NewAIAgent(call.body), in: call.scope)
        return .created(body(agent), at: "/api/v1/ai-agents/\(agent.id)", tag: tag(agent))
    }

    private func show(_ call: OrganizationCall) async throws -> Response {
        let agent = try await service.get(call.pathID("id", or: .notFound("agent")), in: call.scope)
        return .ok(body(agent), tag: tag(agent))
    }

    private func change(_ call: OrganizationCall) async throws -> Response {
        let precondition = call.ifMatch
        let agent = try await service.change(
            call.pathID("id", or: .notFound("agent")),
            AIAgentChanges(call.body),
            in: call.scope
        ) { current in
            try precondition.check(tag(current))
        }
        return .ok(body(agent), tag: tag(agent))
    }

    private func delete(_ call: OrganizationCall) async throws -> Response {
        try await service.delete(call.pathID("id", or: .notFound("agent")), in: call.scope)
        return .noContent
    }
}
