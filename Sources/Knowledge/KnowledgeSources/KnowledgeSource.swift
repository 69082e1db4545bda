package import Kernel
import Storage

/// One completed cutting and embedding of a source.
enum Training {}

/// Something that an organization trains its agents on.
package struct KnowledgeSource: Sendable {
    package enum Kind: String, Sendable, CaseIterable, StoredEnumeration {
        case url
        case file
        case text
    }

    package enum Status: String, Sendable, CaseIterable, StoredEnumeration {
        case pending
        case processing
        case ready
        case failed
    }

    /// The largest document, in UTF-8 bytes.
    package static let maximumDocumentSize = 8 * 1_024 * 1_024

    package let id: ID<KnowledgeSource>
    package var name: String
    package let kind: Kind
    /// A file's name or a page's address.
    package let location: String?
    package var status: Status
    /// Why training failed, safe to show.
    package var errorMessage: String?
    package var chunkCount: Int
    /// Whose chunks searches find; nil before the first training is complete.
    var training: ID<Training>?
    package var metadata: JSON
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    package mutating func begin(at now: Timestamp) {
        status = .processing
        errorMessage = nil
        touch(at: now)
    }

    mutating func finish(_ training: ID<Training>, chunks: Int, at now: Timestamp) {
        status = .ready
        errorMessage = nil
        self.training = training
        chunkCount = chunks
        touch(at: now)
    }

    package mutating func fail(_ reason: String, at now: Timestamp) {
        status = .failed
        errorMessage = reason
        touch(at: now)
    }

    mutating func touch(at now: Timestamp) { updatedAt = max(now, updatedAt + .milliseconds(1)) }
}

package struct NewKnowledgeSource: Sendable {
    package let name: String
    package let kind: KnowledgeSource.Kind
    package let location: String?
    package let content: String
    package let format: DocumentFormat
    package let metadata: JSON

    package init(
        name: String,
        kind: KnowledgeSource.Kind,
        location: String? = nil,
        content: String,
        format: DocumentFormat,
        metadata: JSON = [:]
    ) {
        self.name = name
        self.kind = kind
        self.location = location
        self.content = content
        self.format = format
        self.metadata = metadata
    }
}

package enum KnowledgeError: ProblemConvertible {
    case unknown(ID<KnowledgeSource>)
    case documentTooLarge

    package var problem: Problem {
        switch self {
        case .unknown: .notFound("knowledge source")
        case .documentTooLarge:
            Problem(
                .contentTooLarge,
                "knowledge_source.too_large",
                "A document may have at most \(KnowledgeSource.maximumDocumentSize / 1_048_576) MiB of text."
            )
        }
    }
}

extension DocumentFormat {
    static let names = ["markdown", "plain_text"]

    var name: String {
        switch self {
        case .markdown: "markdown"
        case .plainText: "plain_text"
        }
    }

    init?(name: String) {
        switch name {
        case "markdown": self = .markdown
        case "plain_text": self = .plainText
        default: return nil
        }
    }

    /// The format that a file's name speaks of; Markdown reads plain text well, so it is the fallback.
    package init(fileName: String?) {
        let lower = fileName?.lowercased() ?? ""
        self = lower.hasSuffix(".txt") || lower.hasSuffix(".text") || lower.hasSuffix(".log") ? .plainText : .markdown
    }
}
