package import Kernel
package import Storage

/// How an agent answers.
///
/// Kept as JSON; members that are absent take their defaults.
package struct AgentSettings: Sendable, Hashable, FieldValue, SQLBindable {
    /// The members as they were given.
    package let json: JSON

    package init(_ json: JSON) { self.json = json }
    package init?(json: JSON) { self.json = json }

    package var sqlValue: SQLValue { json.sqlValue }

    package func write(to writer: inout JSONWriter) { writer.value(json) }

    /// 0 to 2; nil leaves it to the model.
    package var temperature: Double? { json["temperature"]?.double }
    /// Tokens of the answer at most.
    package var maximumTokens: Int { json["max_tokens"]?.int.flatMap { Int(exactly: $0) } ?? 1_024 }
    /// Passages of the knowledge base given to the model; 0 gives none.
    package var passages: Int { json["knowledge_passages"]?.int.flatMap { Int(exactly: $0) } ?? 6 }
    /// Messages of the conversation given to the model.
    package var history: Int { json["history_messages"]?.int.flatMap { Int(exactly: $0) } ?? 20 }

    package static let schema = Schema.named(
        "AgentSettings",
        .object([
            .optional("temperature", .nullable(.number(0...2)), "Without it the model's own."),
            .optional("max_tokens", .integer(1...32_000), "Tokens of an answer at most.", default: 1_024),
            .optional("knowledge_passages", .integer(0...20), "Passages given to the model.", default: 6),
            .optional("history_messages", .integer(1...100), "Messages given to the model.", default: 20),
        ])
    )
}
