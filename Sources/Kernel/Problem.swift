/// What a caller is told when a request cannot be served: RFC 9457 `application/problem+json`.
package struct Problem: Error, Sendable, Hashable {
    /// The statuses that the product answers with when it refuses.
    package enum Status: Int, Sendable {
        case badRequest = 400
        case unauthorized = 401
        case forbidden = 403
        case notFound = 404
        case methodNotAllowed = 405
        case notAcceptable = 406
        case requestTimeout = 408
        case conflict = 409
        case gone = 410
        case preconditionFailed = 412
        case contentTooLarge = 413
        case uriTooLong = 414
        case unsupportedMediaType = 415
        case unprocessable = 422
        case preconditionRequired = 428
        case tooManyRequests = 429
        case headersTooLarge = 431
        case internalError = 500
        case badGateway = 502
        case unavailable = 503
        /// RFC 4918 §11.5.
        case insufficientStorage = 507

        package var title: String {
            switch self {
            case .badRequest: "Bad request"
            case .unauthorized: "Unauthorized"
            case .forbidden: "Forbidden"
            case .notFound: "Not found"
            case .methodNotAllowed: "Method not allowed"
            case .notAcceptable: "Not acceptable"
            case .requestTimeout: "Request timeout"
            case .conflict: "Conflict"
            case .gone: "Gone"
            case .preconditionFailed: "Precondition failed"
            case .contentTooLarge: "Content too large"
            case .uriTooLong: "URI too long"
            case .unsupportedMediaType: "Unsupported media type"
            case .unprocessable: "Unprocessable content"
            case .preconditionRequired: "Precondition required"
            case .tooManyRequests: "Too many requests"
            case .headersTooLarge: "Header fields too large"
            case .internalError: "Internal error"
            case .badGateway: "Bad gateway"
            case .unavailable: "Service unavailable"
            case .insufficientStorage: "Insufficient storage"
            }
        }
    }

    package let status: Status
    /// Stable, dotted, for programs: `conversation.not_active`.
    package let code: String
    /// One sentence for people.
    ///
    /// Never holds a secret or the words of a contact.
    package let detail: String
    /// One entry for each field that was refused.
    package var errors: [FieldError]
    /// Seconds to wait before the next try, sent as `Retry-After`.
    package var retryAfterSeconds: Int?
    /// Further response headers, such as `Allow` or `WWW-Authenticate`.
    package var headers: [String: String]

    package init(
        _ status: Status,
        _ code: String,
        _ detail: String,
        errors: [FieldError] = [],
        retryAfterSeconds: Int? = nil,
        headers: [String: String] = [:]
    ) {
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.retryAfterSeconds = retryAfterSeconds
        self.headers = headers
    }

    /// The answer to fields that do not fit their schema.
    package static func invalid(_ errors: [FieldError]) -> Problem {
        let fields = errors.prefix(3).map { $0.pointer.isEmpty ? "the body" : $0.pointer }.joined(separator: ", ")
        return Problem(
            .badRequest,
            "request.invalid",
            "The request is not valid: see \(fields)\(errors.count > 3 ? " and \(errors.count - 3) more" : "").",
            errors: errors
        )
    }

    /// The answer for a row that does not exist or belongs to another organization; the two look alike.
    package static func notFound(_ noun: String) -> Problem {
        Problem(.notFound, "\(noun.replacing(" ", with: "_")).not_found", "There is no such \(noun).")
    }
}

/// An error that knows what the caller is told.
///
/// Every other error is logged and answered as an internal error.
package protocol ProblemConvertible: Error {
    var problem: Problem { get }
}

extension Problem: ProblemConvertible {
    package var problem: Problem { self }
}

extension String {
    fileprivate func replacing(_ character: Character, with other: Character) -> String {
        String(map { $0 == character ? other : $0 })
    }
}
