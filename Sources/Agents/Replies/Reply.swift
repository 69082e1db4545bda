import Kernel
import Knowledge
import Messaging

/// What one attempt to answer starts from.
struct ReplyTask: Sendable {
    /// How long an attempt waits for a database that is away.
    static let patience = Duration.seconds(20)

    let conversation: ID<ConversationEntity>
    /// The attempt counts only while the conversation is in this epoch.
    let epoch: Int64
    let agent: AIAgent
    /// Oldest first; the last is the contact's.
    let messages: [Message]
    /// The newest message that is answered.
    let answers: ID<Message>

    /// What to look for in the knowledge base: the contact's last words, and those before when they are short.
    var question: String {
        let words = messages.filter { $0.direction == .inbound }.suffix(3).map(\.content)
        guard let last = words.last else { return "" }
        return last.utf8.count >= 24 ? last : words.suffix(2).joined(separator: "\n")
    }

    /// Moves each answer to behind the message that it answers.
    ///
    /// What the contact wrote while it was being written then comes after it, and is seen to be unanswered. An answer to
    /// what is not among the messages is older than all of them.
    static func inOrder(_ messages: [Message]) -> [Message] {
        var ordered: [Message] = []
        for message in messages {
            guard message.role == .assistant, let question = message.metadata["in_reply_to"]?.string else {
                ordered.append(message)
                continue
            }
            let place = ordered.lastIndex { $0.id.description == question }
            ordered.insert(message, at: place.map { $0 + 1 } ?? 0)
        }
        return ordered
    }

    var modelMessages: [ModelMessage] {
        messages.filter { $0.role != .system }.map {
            ModelMessage($0.direction == .inbound ? .contact : .agent, $0.content)
        }
    }
}

/// A finished answer, before it is stored.
struct ReplyDraft: Sendable {
    let text: String
    let completion: ModelCompletion
    let found: [FoundChunk]
    let passages: [RetrievedPassage]

    /// What the message tells about itself.
    func metadata(agent: AIAgent, answers: ID<Message>, cost: ModelPrices.Cost?) -> JSON {
        let cited = Citations.numbers(in: text, of: passages)
        let citations: [JSON] = cited.compactMap { number in
            guard found.indices.contains(number - 1) else { return nil }
            let chunk = found[number - 1]
            return [
                "number": .integer(Int64(number)),
                "chunk_id": .string(chunk.chunk.id.description),
                "knowledge_source_id": .string(chunk.chunk.sourceID.description),
                "source_name": .string(chunk.sourceName),
                "section": .array(chunk.chunk.section.map(JSON.string)),
                "excerpt": .string(String(chunk.chunk.content.prefix(280))),
            ]
        }
        return [
            "agent_id": .string(agent.id.description),
            "in_reply_to": .string(answers.description),
            "model": .string(completion.model),
            "finish_reason": .string(completion.reason.name),
            "tokens": [
                "input": .integer(completion.usage.input), "output": .integer(completion.usage.output),
                "is_estimated": .bool(completion.usage.isEstimated),
            ],
            "cost": cost.map { ["amount": .string($0.description), "currency": .string($0.currency)] } ?? .null,
            "citations": .array(citations),
        ]
    }
}
