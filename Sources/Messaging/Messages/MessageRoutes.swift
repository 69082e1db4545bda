import Events
import HTTPTypes
import Kernel
import Storage
import Web

extension NewMessage {
    static let schema = Schema.named(
        "NewMessage",
        .object([
            .required(
                "content",
                .string(1...Message.maximumLength, .notBlank),
                "What is said.",
                example: "How do I reset my password?"
            ),
            .optional(
                "role",
                .choice(of: Message.Role.self),
                "`user`: the contact says it, and an agent answers. `assistant`: you say it to the contact.",
                default: "user"
            ),
            .optional(
                "external_id",
                .nullable(.string(1...200, .singleLine)),
                "Your own id. A second message with it in the conversation is refused with 409."
            ),
            .optional("metadata", .anyObject(), "Kept with the message and shown with it."),
        ])
    )

    init(_ body: JSON) {
        self.init(
            role: body["role"]?.string.flatMap(Message.Role.init) ?? .user,
            content: body["content"]?.string ?? "",
            externalID: body["external_id"]?.string,
            metadata: body["metadata"] ?? [:]
        )
    }
}

struct MessageRoutes: Sendable {
    let service: MessageService

    var endpoints: [Endpoint] {
        .under(
            "/api/v1",
            tag: "Messages",
            [
                Endpoint.organization(
                    .get,
                    "/conversations/{id}/messages",
                    "List the messages of a conversation",
                    permission: .conversationsRead,
                    query: .page + [
                        .optional(
                            "order",
                            .choice("newest_first", "oldest_first"),
                            "Which end the list begins with.",
                            default: "newest_first"
                        )
                    ],
                    responses: [.ok(.page(of: MessageBody.schema))],
                    problems: [.notFound("conversation")],
                    use: list
                ),
                Endpoint.organization(
                    .post,
                    "/conversations/{id}/messages",
                    "Post a message",
                    """
                    Answers 201 as soon as the message is durable; the agent's answer follows as a message of its own. With \
                    `Accept: text/event-stream` the answer is streamed: `reply.delta` events with pieces of text, then \
                    `reply.completed` with the whole message and its citations, or `reply.failed`.
                    """,
                    permission: .conversationsWrite,
                    body: NewMessage.schema,
                    responses: [
                        .created(MessageBody.schema),
                        .events(
                            "The stream of the conversation from the message on, until its answer is complete.",
                            status: 201
                        ),
                    ],
                    problems: [
                        .notFound("conversation"),
                        ProblemKind(.conflict, "conversation.not_active", "The conversation is closed or archived."),
                        ProblemKind(.conflict, "message.external_id_taken", "A message with this external_id exists."),
                    ],
                    use: post
                ),
                Endpoint.organization(
                    .get,
                    "/conversations/{id}/messages/{message_id}",
                    "Read a message",
                    permission: .conversationsRead,
                    responses: [.ok(MessageBody.schema)],
                    problems: [.notFound("message")],
                    use: show
                ),
                Endpoint.organization(
                    .get,
                    "/messages/search",
                    "Search messages",
                    "Finds the messages that hold all words, newest first. Case and accents do not matter; words of four "
                        + "letters and more also match as beginnings.",
                    permission: .conversationsRead,
                    query: .page + [.required("q", .string(1...500, .notBlank), "The words.")],
                    responses: [.ok(.page(of: MessageBody.schema))],
                    use: search
                ),
                Endpoint.organization(
                    .get,
                    "/conversations/{id}/events",
                    "Follow a conversation",
                    """
                    Server-sent events. Each has an `id`, `3f0c91ab-12`; a client that comes back with it in `Last-Event-ID` (or in \
                    `after`) misses nothing. Without either the stream begins now.

                    Events are kept for a day. Where some are missing, `stream.reset` comes in their place: read the conversation \
                    and its messages anew, then go on. It holds `last_event_id`, the place after which the stream goes on, and a \
                    `reason`: `purged` (the stream goes on with the oldest event that is still there), `unknown` (the id is none of \
                    this conversation; the stream goes on from now) or `ahead` (the id is beyond the newest event; likewise).
                    """,
                    permission: .conversationsRead,
                    query: [
                        .optional(
                            "after",
                            .oneOf([.integer(0...Int64.max), .string(10...28, .singleLine)]),
                            "The id of the last event that was seen, or a `last_event_id`; 0 for all."
                        )
                    ],
                    responses: [
                        .events(
                            LiveStream<Conversation>.names.map { "`\($0)`" }.joined(separator: ", ") + "."
                        )
                    ],
                    problems: [.notFound("conversation")],
                    use: follow
                ),
            ]
        )
    }

    private func list(_ call: OrganizationCall) async throws -> Response {
        let ascending = call.query("order")?.string == "oldest_first"
        let id: ID<ConversationEntity> = try call.pathID("id", or: .notFound("conversation"))
        return .json(
            try await service.page(of: id, call.page, ascending: ascending, in: call.scope)
        )
    }

    private func post(_ call: OrganizationCall) async throws -> Response {
        let id: ID<ConversationEntity> = try call.pathID("id", or: .notFound("conversation"))
        let posted = try await service.post(NewMessage(call.body), to: id, in: call.scope)
        let created = Response.created(
            MessageBody(posted.message),
            at: "/api/v1/conversations/\(id)/messages/\(posted.message.id)"
        )
        guard call.acceptsEvents else { return created }
        let (service, scope) = (service, call.scope)
        return .events(status: .created, replay: created) { writer in
            try await service.followAnswer(to: posted, in: scope) { item in try await writer.send(StreamEvent(item)) }
        }
    }

    private func show(_ call: OrganizationCall) async throws -> Response {
        let conversation: ID<ConversationEntity> = try call.pathID("id", or: .notFound("message"))
        let message: ID<Message> = try call.pathID("message_id", or: .notFound("message"))
        return .ok(MessageBody(try await service.get(message, of: conversation, in: call.scope)))
    }

    private func search(_ call: OrganizationCall) async throws -> Response {
        let text = call.query("q")?.string ?? ""
        return .page(try await service.search(text, call.page, in: call.scope).map(MessageBody.init))
    }

    private func follow(_ call: OrganizationCall) async throws -> Response {
        let id: ID<ConversationEntity> = try call.pathID("id", or: .notFound("conversation"))
        let after = call.query("after").map { $0.string ?? $0.text }
        if let after, StreamPlace(after) == nil {
            throw Problem.invalid([
                FieldError(pointer: "?after", code: "format", detail: "must be the id of an event of the stream")
            ])
        }
        // A client that comes back sends the header beside the address with which it began.
        let place = call.lastEventID ?? after
        let (service, scope) = (service, call.scope)
        let start = try await service.start(of: id, after: place, in: scope)
        return .events { writer in
            try await service.follow(id, from: start, in: scope) { item in
                try await writer.send(StreamEvent(item))
                return true
            }
        }
    }
}

extension StreamEvent {
    fileprivate init(_ item: LiveStream<Conversation>.Item) {
        self.init(id: item.id.description, event: item.name, data: String(decoding: item.data, as: UTF8.self))
    }
}
