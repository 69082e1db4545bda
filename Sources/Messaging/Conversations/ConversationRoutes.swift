import Kernel
import Storage
import Web

/// A conversation as the API shows it.
struct ConversationBody: ResponseBody {
    let conversation: Conversation

    init(_ conversation: Conversation) { self.conversation = conversation }

    static let schema = Schema.named(
        "Conversation",
        .object([
            .required("id", .uuid),
            .required("contact_id", .uuid),
            .required("channel_id", .uuid),
            .required(
                "ai_agent_id",
                .nullable(.uuid),
                "The agent that answers; null: the organization's first active one."
            ),
            .required("status", .choice(of: Conversation.Status.self)),
            .required("handled_by", .choice(of: Conversation.Handler.self), "Who answers the contact."),
            .required("reply_state", .choice(of: Answering.State.self), "How far the latest answer is."),
            .required("reply_error", .nullable(.string(0...2_000)), "Why the answer is `retrying` or `failed`."),
            .required("last_event_id", .integer(0...Int64.max), "The newest entry of the conversation's event stream."),
            .required("external_id", .nullable(.string(1...200))),
            .required("metadata", .anyObject()),
            .required("last_message_at", .nullable(.dateTime)),
            .required("created_at", .dateTime),
            .required("updated_at", .dateTime),
        ])
    )

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.value(conversation.id.description)
        json.key("contact_id")
        json.value(conversation.contactID.description)
        json.key("channel_id")
        json.value(conversation.channelID.description)
        json.key("ai_agent_id")
        json.value(conversation.agentID?.description)
        json.key("status")
        json.value(conversation.status.rawValue)
        json.key("handled_by")
        json.value(conversation.handler.rawValue)
        json.key("reply_state")
        json.value(conversation.reply.state.rawValue)
        json.key("reply_error")
        json.value(conversation.reply.error)
        json.key("last_event_id")
        json.value(conversation.lastSequence)
        json.key("external_id")
        json.value(conversation.externalID)
        json.key("metadata")
        json.value(conversation.metadata)
        json.key("last_message_at")
        json.value(conversation.lastMessageAt?.description)
        json.key("created_at")
        json.value(conversation.createdAt.description)
        json.key("updated_at")
        json.value(conversation.updatedAt.description)
        json.endObject()
    }

    /// The same, straight from a row of `ConversationStore.columns`.
    static func write(row: inout Row, to json: inout JSONWriter) throws {
        json.beginObject()
        json.key("id")
        try row.copyID(to: &json)
        json.key("contact_id")
        try row.copyID(to: &json)
        json.key("channel_id")
        try row.copyID(to: &json)
        json.key("ai_agent_id")
        try row.copyID(to: &json)
        json.key("status")
        try row.copyText(to: &json)
        json.key("handled_by")
        try row.copyText(to: &json)
        row.skip()  // version
        json.key("reply_state")
        try row.copyText(to: &json)
        json.key("reply_error")
        try row.copyText(to: &json)
        json.key("last_event_id")
        try row.copyInteger(to: &json)
        row.skip()  // exclusive
        json.key("external_id")
        try row.copyText(to: &json)
        json.key("metadata")
        try row.copyJSON(to: &json)
        json.key("last_message_at")
        try row.copyTimestamp(to: &json)
        json.key("created_at")
        try row.copyTimestamp(to: &json)
        json.key("updated_at")
        try row.copyTimestamp(to: &json)
        json.endObject()
    }
}

extension Conversation {
    /// Messages and answers move the place in the stream, so what was read before an answer came may still be edited.
    var tag: EntityTag { EntityTag(version: version, place: lastSequence) }
}

extension NewConversation {
    static let schema = Schema.named(
        "NewConversation",
        .object([
            .required("contact_id", .uuid, "Who is talking."),
            .required("channel_id", .uuid, "Where."),
            .optional("ai_agent_id", .nullable(.uuid), "Who answers, when it is not the channel's agent."),
            .optional("external_id", .nullable(.string(1...200, .singleLine)), "Your own id; unique in the channel."),
            .optional("metadata", .anyObject()),
        ])
    )

    init(_ body: JSON) throws(ConversationError) {
        guard let contact = body["contact_id"]?.string.flatMap({ ID<Contact>($0) }) else { throw .unknownContact }
        guard let channel = body["channel_id"]?.string.flatMap({ ID<Channel>($0) }) else { throw .unknownChannel }
        self.init(
            contactID: contact,
            channelID: channel,
            agentID: body["ai_agent_id"]?.string.flatMap { ID($0) },
            externalID: body["external_id"]?.string,
            metadata: body["metadata"] ?? [:]
        )
    }
}

extension ConversationChanges {
    static let schema = Schema.named(
        "ConversationChanges",
        .object([
            .optional("status", .choice(of: Conversation.Status.self), "`archived` is final."),
            .optional("handled_by", .choice(of: Conversation.Handler.self), "`human` takes it over from the agent."),
            .optional("metadata", .anyObject(), "Replaces the metadata."),
        ])
    )

    init(_ body: JSON) {
        self.init(
            status: body["status"]?.string.flatMap(Conversation.Status.init),
            handler: body["handled_by"]?.string.flatMap(Conversation.Handler.init),
            metadata: body["metadata"]
        )
    }
}

struct ConversationRoutes: Sendable {
    let service: ConversationService

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/conversations",
            tag: "Conversations",
            [
                Endpoint.organization(
                    .get,
                    "",
                    "List conversations",
                    "Newest first.",
                    permission: .conversationsRead,
                    query: .page + [
                        .optional("status", .choice(of: Conversation.Status.self)),
                        .optional("handled_by", .choice(of: Conversation.Handler.self)),
                        .optional("contact_id", .uuid),
                        .optional("channel_id", .uuid),
                    ],
                    responses: [.ok(.page(of: ConversationBody.schema))],
                    use: list
                ),
                Endpoint.organization(
                    .post,
                    "",
                    "Start a conversation",
                    permission: .conversationsWrite,
                    body: NewConversation.schema,
                    responses: [.created(ConversationBody.schema)],
                    problems: [
                        .notFound("contact"), .notFound("channel"), .notFound("agent"),
                        ProblemKind(.conflict, "channel.inactive", "The channel is switched off."),
                        ProblemKind(
                            .conflict,
                            "conversation.already_open",
                            "The channel allows one open conversation."
                        ),
                        ProblemKind(.conflict, "conversation.external_id_taken", "The external_id is in use."),
                    ],
                    use: start
                ),
                Endpoint.organization(
                    .get,
                    "/{id}",
                    "Read a conversation",
                    "The `ETag` is `\"<version>-<stream place>\"`: edits raise the version, messages and answers move the place.",
                    permission: .conversationsRead,
                    responses: [.ok(ConversationBody.schema)],
                    problems: [.notFound("conversation")],
                    use: show
                ),
                Endpoint.organization(
                    .patch,
                    "/{id}",
                    "Change a conversation",
                    """
                    Close it, open it again, archive it, or hand it over. `If-Match` compares the version of the `ETag` alone, \
                    which only edits raise: these changes, an operator who takes the conversation over by writing, and the \
                    deletion of its agent. Messages and answers that came since do not refuse a change.
                    """,
                    permission: .conversationsWrite,
                    body: ConversationChanges.schema,
                    edits: true,
                    responses: [.ok(ConversationBody.schema)],
                    problems: [
                        .notFound("conversation"),
                        ProblemKind(.conflict, "conversation.archived", "An archived conversation stays archived."),
                        ProblemKind(.conflict, "conversation.not_active", "Only an active conversation changes hands."),
                        ProblemKind(
                            .conflict,
                            "conversation.already_open",
                            "The contact has another open conversation."
                        ),
                    ],
                    use: change
                ),
            ]
        )
    }

    private func list(_ call: OrganizationCall) async throws -> Response {
        var filter = ConversationFilter()
        filter.status = call.query("status")
        filter.handler = call.query("handled_by")
        filter.contactID = call.query("contact_id")
        filter.channelID = call.query("channel_id")
        return .json(try await service.page(filter, call.page, in: call.scope))
    }

    private func start(_ call: OrganizationCall) async throws -> Response {
        let conversation = try await service.start(NewConversation(call.body), in: call.scope)
        return .created(
            ConversationBody(conversation),
            at: "/api/v1/conversations/\(conversation.id)",
            tag: conversation.tag
        )
    }

    private func show(_ call: OrganizationCall) async throws -> Response {
        let conversation = try await service.get(call.pathID("id", or: .notFound("conversation")), in: call.scope)
        return .ok(ConversationBody(conversation), tag: conversation.tag)
    }

    private func change(_ call: OrganizationCall) async throws -> Response {
        let precondition = call.ifMatch
        let conversation = try await service.change(
            call.pathID("id", or: .notFound("conversation")),
            ConversationChanges(call.body),
            in: call.scope
        ) { current in
            try precondition.check(current.tag)
        }
        return .ok(ConversationBody(conversation), tag: conversation.tag)
    }
}
