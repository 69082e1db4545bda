package import Kernel

/// Writes an agent's answer.
///
/// Two real ones: `OpenAICompatibleModel`, and `ExtractiveModel`, which needs no key. A model tries once; the job that
/// asks does the retrying, because it knows what the contact has already seen.
package protocol LanguageModel: Sendable {
    /// What the API and the dashboard call it: `gpt-4o-mini`, `built-in extractive`.
    ///
    /// The one that answers where a request names none.
    var name: String { get }

    /// Whether requests may name a model so.
    ///
    /// No promise that there is one where only a provider knows: it refuses the request then.
    func offers(_ name: String) -> Bool

    /// Writes one answer, handing over each piece of text as it comes.
    ///
    /// The next piece is fetched when `deliver` has returned, so a slow reader slows the provider down. When `deliver`
    /// throws, or the task is cancelled, the call is ended upstream.
    ///
    /// - Returns: How the answer ended, after all of its text was delivered.
    /// - Throws: `ProviderError`, also for a model that cannot be had, in whose place no other one answers; or what `deliver` throws.
    func reply(
        to request: ModelRequest,
        deliver: @escaping @Sendable (_ text: String) async throws -> Void
    ) async throws -> ModelCompletion
}

/// What an agent is asked.
package struct ModelRequest: Sendable {
    /// Whose work it is; nil for the platform's own.
    package var organization: ID<OrganizationEntity>?
    /// A model of the provider's, asked for as it is; nil takes the one that was configured.
    package var model: String?
    /// The agent's own instructions, written by its organization.
    package var instructions: String
    /// The conversation, oldest first.
    ///
    /// The last message of the contact is the question.
    package var messages: [ModelMessage]
    package var passages: [RetrievedPassage]
    /// 0 to 2; nil takes the provider's own.
    package var temperature: Double?
    package var maximumTokens: Int
    package var deadline: ContinuousClock.Instant
    /// The same for every try of the same answer, so that a provider can recognise it.
    package var requestID: String

    package init(
        organization: ID<OrganizationEntity>? = nil,
        model: String? = nil,
        instructions: String = "",
        messages: [ModelMessage],
        passages: [RetrievedPassage] = [],
        temperature: Double? = nil,
        maximumTokens: Int = 1_024,
        deadline: ContinuousClock.Instant,
        requestID: String
    ) {
        self.organization = organization
        self.model = model
        self.instructions = instructions
        self.messages = messages
        self.passages = passages
        self.temperature = temperature
        self.maximumTokens = maximumTokens
        self.deadline = deadline
        self.requestID = requestID
    }

    /// The last words of the contact.
    package var question: String { messages.last { $0.author == .contact }?.content ?? "" }
}

package struct ModelMessage: Sendable, Hashable {
    package enum Author: Sendable, Hashable {
        case contact
        /// The agent, or a person who wrote in its place.
        case agent
    }

    package let author: Author
    package let content: String

    package init(_ author: Author, _ content: String) {
        self.author = author
        self.content = content
    }
}

/// A piece of a knowledge source that retrieval found for the question.
package struct RetrievedPassage: Sendable, Hashable {
    /// The number by which the answer cites it: `[1]`.
    package let number: Int
    package let source: String
    /// Where in the source: its headings, from the outside in.
    package let section: String?
    package let content: String

    package init(number: Int, source: String, section: String? = nil, content: String) {
        self.number = number
        self.source = source
        self.section = section
        self.content = content
    }
}

package struct ModelCompletion: Sendable, Hashable {
    package enum Reason: Sendable, Hashable {
        case stop
        /// The limit of tokens cut the answer off.
        case length
        case contentFilter
        /// As the provider calls it.
        case other(String)

        package var name: String {
            switch self {
            case .stop: "stop"
            case .length: "length"
            case .contentFilter: "content_filter"
            case .other(let name): name
            }
        }
    }

    package let reason: Reason
    package let usage: TokenUsage
    /// The model that answered, as the provider names it.
    package let model: String

    package init(reason: Reason, usage: TokenUsage, model: String) {
        self.reason = reason
        self.usage = usage
        self.model = model
    }
}

package struct TokenUsage: Sendable, Hashable {
    package let input: Int64
    package let output: Int64
    /// Whether the provider did not say, and the numbers are those of `TokenEstimate`.
    package let isEstimated: Bool

    package init(input: Int64, output: Int64, isEstimated: Bool) {
        self.input = input
        self.output = output
        self.isEstimated = isEstimated
    }
}

/// A guess at the tokens of a text: a quarter of its UTF-8 bytes, rounded up.
///
/// English text has about four bytes a token with the common tokenizers, Albanian about three; the guess is for
/// metering when a provider does not count, never for limits.
package enum TokenEstimate {
    package static func tokens(bytes: Int) -> Int64 { Int64(max(bytes, 0) / 4 + (max(bytes, 0) % 4 == 0 ? 0 : 1)) }
    package static func tokens(in text: String) -> Int64 { tokens(bytes: text.utf8.count) }
}

/// Finds what an answer cites.
package enum Citations {
    /// The numbers in marks such as `[1]` and `[2, 3]`, each once, in the order of their first use; only those that
    /// exist.
    package static func numbers(in text: String, of passages: [RetrievedPassage]) -> [Int] {
        let known = Set(passages.map(\.number))
        var found: [Int] = []
        var digits: [UInt8] = []
        var candidates: [Int] = []
        var isInside = false
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "["):
                isInside = true
                digits = []
                candidates = []
            case UInt8(ascii: "0")...UInt8(ascii: "9") where isInside && digits.count < 6:
                digits.append(byte)
            case UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: " "), UInt8(ascii: "]"):
                guard isInside else { continue }
                if let number = Int(String(decoding: digits, as: UTF8.self)) { candidates.append(number) }
                digits = []
                if byte == UInt8(ascii: "]") {
                    isInside = false
                    for number in candidates where known.contains(number) && !found.contains(number) {
                        found.append(number)
                    }
                }
            default:
                isInside = false
            }
        }
        return found
    }
}
