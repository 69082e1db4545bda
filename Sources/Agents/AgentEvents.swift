package import Events
import Kernel

/// What the event feed says about agents.
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
