package import Events
import Kernel

/// What the event feed says about work that waited for a person.
///
/// Work of the product itself belongs to no organization, and so to no feed.
package enum JobEvents {
    package static let all = [retried, discarded]

    package static let retried = type("retried", "Work that was given up was made ready again.")
    package static let discarded = type("discarded", "Work that was given up was discarded.")

    private static func type(_ fact: String, _ summary: String) -> EventType {
        EventType(
            "job.\(fact)",
            resource: "job",
            summary,
            data: .object([.required("id", .uuid), .required("kind", .string(1...100))]),
            example: ["id": "0193a5f2-7a30-7c3b-8d2e-5b0c6f0a9e11", "kind": "knowledge.train"]
        )
    }
}

extension Event {
    static func job(_ type: EventType, _ id: ID<JobEntity>, kind: String) -> Event {
        Event(
            type,
            subject: id.description,
            data: ["id": .string(id.description), "kind": .string(kind)]
        )
    }
}
