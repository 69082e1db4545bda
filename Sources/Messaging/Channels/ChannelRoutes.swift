import Events
import Kernel
import Web

struct ChannelRoutes: Sendable {
    let service: ChannelService

    var endpoints: [Endpoint] {
        .resource(
            "channel",
            at: "/api/v1/channels",
            tag: "Channels",
            read: .channelsRead,
            write: .channelsWrite,
            filters: [.optional("type", .choice(of: Channel.Kind.self))],
            problems: ResourceProblems(
                create: [.notFound("agent")],
                change: [.notFound("agent")],
                delete: [ProblemKind(.conflict, "channel.in_use", "The channel has conversations.")]
            ),
            list: { call in try await service.list(kind: call.query("type"), call.page, in: call.scope) },
            create: { call in try await service.create(from: call.body, in: call.scope) },
            get: service.get,
            change: { id, call in try await service.change(id, if: call.ifMatch, with: call.body, in: call.scope) },
            delete: service.delete
        )
    }
}
