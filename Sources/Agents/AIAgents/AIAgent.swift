package import Kernel

/// A bot that answers in conversations.
package struct AIAgent: Noun {
    package let id: ID<AgentEntity>
    package var name: String
    package var instructions: String
    /// As its provider names it; nil: the model of the installation.
    package var model: String?
    /// The name of the model that answers now; the service says.
    package internal(set) var modelInUse: String
    package var settings: AgentSettings
    package var isActive: Bool
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    /// One of which nothing is said yet.
    package init(at now: Timestamp) {
        id = ID()
        name = ""
        instructions = ""
        modelInUse = ""
        settings = AgentSettings([:])
        isActive = true
        createdAt = now
        updatedAt = now
    }

    /// The installation's model may be another one after a restart, and the body shows it.
    package var tag: EntityTag {
        model == nil ? EntityTag(updatedAt, showing: modelInUse) : EntityTag(updatedAt)
    }

    package static let fields = FieldList<AIAgent>(
        "AIAgent",
        [
            .shown("id", \.id, .uuid),
            .editable(
                "name",
                \.name,
                .string(1...120),
                accepts: .string(1...120, [.singleLine, .notBlank]),
                isRequired: true,
                audit: .shown,
                example: "Support"
            ),
            .editable(
                "instructions",
                \.instructions,
                .string(0...32_000),
                audit: .shown,
                "What the agent is told about its work and its manner.",
                example: "You answer customers of a book shop, briefly and kindly."
            ),
            .editable(
                "model",
                \.model,
                .nullable(.string(1...200)),
                accepts: .nullable(.string(1...200, [.singleLine, .notBlank])),
                audit: .shown,
                """
                A model by the name that the provider knows, asked for as it is; null: the installation's model. Without a \
                provider there is no other one than `\(ExtractiveModel.modelName)`.
                """
            ),
            .shown("model_in_use", \.modelInUse, .string(1...200), "The name of the model that answers now."),
            .editable("settings", \.settings, AgentSettings.schema, audit: .shown, editing: "Replaces the settings."),
            .editable("is_active", \.isActive, .boolean, audit: .shown),
            .shown("created_at", \.createdAt, .dateTime),
            .shown("updated_at", \.updatedAt, .dateTime),
        ]
    )
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
