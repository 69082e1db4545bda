import Kernel
import Storage
import Web

/// A message as the API shows it.
struct MessageBody: ResponseBody {
    let message: Message

    init(_ message: Message) { self.message = message }

    static let schema = Schema.named(
        "Message",
        .object([
            .required("id", .uuid),
            .required("conversation_id", .uuid),
            .required(
                "direction",
                .choice(of: Message.Direction.self),
                "`inbound` from the contact, `outbound` to it."
            ),
            .required("role", .choice(of: Message.Role.self)),
            .required("content", .string(0...1_000_000)),
            .required("external_id", .nullable(.string(1...200)), "Your own id of the message."),
            .required(
                "metadata",
                .anyObject(maxBytes: 1_048_576),
                "For answers: `citations`, `tokens`, `cost`, `model`."
            ),
            .required("created_at", .dateTime),
        ])
    )

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.value(message.id.description)
        json.key("conversation_id")
        json.value(message.conversationID.description)
        json.key("direction")
        json.value(message.direction.rawValue)
        json.key("role")
        json.value(message.role.rawValue)
        json.key("content")
        json.value(message.content)
        json.key("external_id")
        json.value(message.externalID)
        json.key("metadata")
        json.value(message.metadata)
        json.key("created_at")
        json.value(message.createdAt.description)
        json.endObject()
    }

    /// The same, straight from a row of `MessageStore.columns`: no strings in between.
    static func write(row: inout Row, id: ID<Message>, createdAt: Timestamp, to json: inout JSONWriter) throws {
        json.beginObject()
        json.key("id")
        json.value(id.description)
        row.skip()
        json.key("conversation_id")
        json.value(try row.next(ID<ConversationEntity>.self).description)
        json.key("direction")
        try json.value(text: row.nextText())
        json.key("role")
        try json.value(text: row.nextText())
        json.key("content")
        try json.value(text: row.nextText())
        json.key("external_id")
        try json.value(text: row.nextText())
        json.key("metadata")
        if let metadata = try row.nextJSONBytes() { json.raw(metadata) } else { json.null() }
        json.key("created_at")
        json.value(createdAt.description)
        json.endObject()
    }
}

extension JSONWriter {
    mutating func value(text: UnsafeBufferPointer<UInt8>?) {
        if let text { value(utf8: text) } else { null() }
    }
}
