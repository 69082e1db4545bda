package import Events
import Kernel
import Storage

extension Conversation: StreamSubject {
    /// What happens in a conversation.
    package enum EntryKind: String, Sendable, CaseIterable, StoredEnumeration {
        case messageCreated = "message.created"
        case replyStarted = "reply.started"
        /// A piece of the answer's text, to be appended to the pieces since `reply.started`.
        case replyDelta = "reply.delta"
        case replyCompleted = "reply.completed"
        /// The try failed and another one is scheduled; the pieces so far do not count.
        case replyRetrying = "reply.retrying"
        case replyFailed = "reply.failed"
        /// The answer was given up because the conversation changed hands or was closed.
        case replyCancelled = "reply.cancelled"
        case conversationUpdated = "conversation.updated"
    }

    /// The message for `message.created` and `reply.completed`, else what the entry was appended with.
    package static let stream = LiveStream<Conversation>(
        "conversation_events",
        key: "conversation_id",
        link: "message_id",
        of: "conversations",
        contents: LiveStream.Contents(
            columns: "m.id, m.conversation_id, m.direction, m.role, m.content, m.external_id, m.metadata, m.created_at",
            join: "LEFT JOIN messages m ON m.organization_id = e.organization_id AND m.id = e.message_id"
        ) { row, json in
            guard !row.source.isNull(row.column + 1) else { return try row.copyJSON(to: &json) }
            row.skip()
            try MessageBody.write(row: &row, to: &json)
        },
        signal: Signal.conversation
    )
}
