package import Events
package import Kernel
import Storage

/// A bot that answers in conversations.
package struct AIAgent: Sendable {
    package let id: ID<AgentEntity>
    package var name: String
    package var instructions: String
    /// As its provider names it; nil: the model of the installation.
    package var model: String?
    package var settings: AgentSettings
    package var isActive: Bool
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    mutating func touch(at now: Timestamp) { updatedAt = max(now, updatedAt + .milliseconds(1)) }
}

/// How an agent answers.
///
/// Kept as JSON; members that are absent take their defaults.
package struct AgentSettings: Sendable, Hashable {
    /// The members as they were given.
    package let json: JSON

    package init(_ json: JSON) { self.json = json }

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

package struct NewAIAgent: Sendable {
    package let name: String
    package var instructions = ""
    package var model: String?
    package var settings = AgentSettings([:])
    package var isActive = true

    package init(name: String) { self.name = name }
}

package struct AIAgentChanges: Sendable {
    package var name: String?
    package var instructions: String?
    /// `.some(nil)` goes back to the model of the installation.
    package var model: String??
    package var settings: AgentSettings?
    package var isActive: Bool?
}

package enum AIAgentError: ProblemConvertible {
    case unknown(ID<AgentEntity>)
    case modelUnavailable

    package var problem: Problem {
        switch self {
        case .unknown: .notFound("agent")
        case .modelUnavailable:
            Problem(
                .unprocessable,
                "agent.model_unavailable",
                "This installation has no such model. Without a model the agent answers with the installation's own.",
                errors: [
                    FieldError(pointer: "/model", code: "unavailable", detail: "is not a model of this installation")
                ]
            )
        }
    }
}

package enum AgentEvents {
    private static let id = "0193a5f2-7a30-7c3b-8d2e-5b0c6f0a9e11"

    package static let created = type("created", "An agent was created.")
    package static let updated = type("updated", "An agent was changed.")
    package static let deleted = type("deleted", "An agent was deleted.")
    package static let all = [created, updated, deleted]

    private static func type(_ fact: String, _ summary: String) -> EventType {
        EventType(
            "agent.\(fact)",
            resource: "ai_agent",
            summary,
            data: .object([.required("id", .uuid), .required("name", .string(1...120))]),
            example: ["id": .string(id), "name": "Support"]
        )
    }
}
