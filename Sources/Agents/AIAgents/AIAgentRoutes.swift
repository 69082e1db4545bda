import Events
import Kernel
import Web

struct AIAgentRoutes: Sendable {
    let service: AIAgentService

    private static let modelUnavailable = ProblemKind(
        .unprocessable,
        "agent.model_unavailable",
        "The installation has no such model."
    )

    var endpoints: [Endpoint] {
        .resource(
            "agent",
            at: "/api/v1/ai-agents",
            tag: "Agents",
            read: .agentsRead,
            write: .agentsWrite,
            filters: [.optional("is_active", .boolean)],
            deleting: "Channels and conversations that named it go on with the organization's first active agent.",
            problems: ResourceProblems(create: [Self.modelUnavailable], change: [Self.modelUnavailable]),
            list: { call in
                try await service.list(isActive: call.query("is_active")?.bool, call.page, in: call.scope)
            },
            create: { call in try await service.create(from: call.body, in: call.scope) },
            get: service.get,
            change: { id, call in try await service.change(id, if: call.ifMatch, with: call.body, in: call.scope) },
            delete: service.delete
        )
    }
}
