package import Events
import Kernel

package enum KnowledgeEvents {
    private static let id = "0193a5f2-7a30-7c3b-8d2e-5b0c6f0a9e11"

    package static let created = type("created", "A knowledge source was added; training follows.")
    package static let trained = type("trained", "A knowledge source is ready to be searched.")
    package static let retrainingRequested = type(
        "retraining_requested",
        "A knowledge source is to be cut and embedded again."
    )
    package static let failed = type("failed", "Training of a knowledge source failed for good.")
    package static let deleted = type("deleted", "A knowledge source and its chunks were deleted.")

    package static let all = [created, trained, retrainingRequested, failed, deleted]

    private static func type(_ fact: String, _ summary: String) -> EventType {
        EventType(
            "knowledge_source.\(fact)",
            resource: "knowledge_source",
            summary,
            data: .object([.required("id", .uuid), .required("name", .string(1...200))]),
            example: ["id": .string(id), "name": "Handbook"]
        )
    }
}

extension Event {
    static func knowledge(_ type: EventType, _ source: KnowledgeSource) -> Event {
        Event(
            type,
            subject: source.id.description,
            data: ["id": .string(source.id.description), "name": .string(source.name)]
        )
    }
}
