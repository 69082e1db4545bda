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

    /// The same, straight from a row of `MessageStore.columns`: no values in between.
    static func write(row: inout Row, to json: inout JSONWriter) throws {
        json.beginObject()
        json.key("id")
        try row.copyID(to: &json)
        json.key("conversation_id")
        try row.copyID(to: &json)
        json.key("direction")
        try row.copyText(to: &json)
        json.key("role")
        try row.copyText(to: &json)
        json.key("content")
        try row.copyText(to: &json)
        json.key("external_id")
        try row.copyText(to: &json)
        json.key("metadata")
        try row.copyJSON(to: &json)
        json.key("created_at")
        try row.copyTimestamp(to: &json)
        json.endObject()
    }
}
