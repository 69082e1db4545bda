import HTTPTypes
import Kernel

/// A request header that changes what an endpoint does: what it must look like, said once for the check and for the API
/// description.
enum HeaderRule: Sendable {
    case idempotencyKey
    case ifMatch
    case ifNoneMatch
    case lastEventID

    var name: HTTPField.Name {
        switch self {
        case .idempotencyKey: .idempotencyKey
        case .ifMatch: .ifMatch
        case .ifNoneMatch: .ifNoneMatch
        case .lastEventID: .lastEventID
        }
    }

    var longest: Int {
        switch self {
        case .idempotencyKey, .lastEventID: 255
        case .ifMatch, .ifNoneMatch: 1_024
        }
    }

    /// An ECMA-262 expression that means the same as `fits`, but for the length.
    var pattern: String {
        switch self {
        case .idempotencyKey, .lastEventID: "^[!-~]+$"
        case .ifMatch, .ifNoneMatch:
            "^(?:\\*|(?:W/)?\"[!#-~]*\"(?:[ \\t]*,[ \\t]*(?:W/)?\"[!#-~]*\")*)$"
        }
    }

    var expectation: String {
        switch self {
        case .idempotencyKey, .lastEventID: "must be 1 to \(longest) visible ASCII characters"
        case .ifMatch, .ifNoneMatch: "must be * or a list of entity tags in quotes, at most \(longest) characters"
        }
    }

    var meaning: String {
        switch self {
        case .idempotencyKey: "Names this request, so that it can be sent again without being done again."
        case .ifMatch: "The `ETag` of the state that you know; the change is refused if it has been edited since."
        case .ifNoneMatch: "The `ETag` of the state that you have; answered with 304 if it is still that."
        case .lastEventID: "The last event of a stream that broke off."
        }
    }

    func fits(_ value: String) -> Bool {
        guard (1...longest).contains(value.utf8.count) else { return false }
        return switch self {
        case .idempotencyKey, .lastEventID: value.utf8.allSatisfy { (0x21...0x7E).contains($0) }
        case .ifMatch, .ifNoneMatch: value == "*" || EntityTag.list(value, weak: true) != nil
        }
    }
}

extension Endpoint {
    /// Whether a known state is answered with 304.
    var offersNotModified: Bool { method == .get && responses.contains { $0.status == 200 && $0.isTagged } }

    /// Whether an `Idempotency-Key` is refused, rather than left unread as where a repeated request does no harm.
    ///
    /// Who calls without a credential has nothing that a key could belong to, and must not believe to be protected.
    var refusesIdempotencyKey: Bool { method == .post && !isAuthenticated }

    /// Whether it may answer with a stream, which is meant to take long.
    var streams: Bool {
        responses.contains { if case .events = $0.content { true } else { false } }
    }

    var headerRules: [HeaderRule] {
        (isIdempotent ? [.idempotencyKey] : []) + (edits ? [.ifMatch] : []) + (offersNotModified ? [.ifNoneMatch] : [])
            + (streams ? [.lastEventID] : [])
    }
}
