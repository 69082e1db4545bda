import HTTPTypes
import HummingbirdCore
import Kernel
import NIOCore

// MARK: - Query

/// The declared parameters of a query, each checked against its schema; all errors at once.
func readQuery(_ query: Substring, for endpoint: Endpoint) throws(Problem) -> [String: JSON] {
    var values: [String: JSON] = [:]
    var errors: [FieldError] = []
    for pair in query.split(separator: "&") where errors.count < 100 {
        let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let name = try percentDecoded(parts[0], in: "query", plusIsSpace: true)
        let text = try parts.count > 1 ? percentDecoded(parts[1], in: "query", plusIsSpace: true) : ""
        let pointer = "?\(name.prefix(64))"
        guard let parameter = endpoint.query.first(where: { $0.name == name }) else {
            errors.append(
                FieldError(pointer: pointer, code: "unknown_field", detail: "is not a parameter of this endpoint")
            )
            continue
        }
        guard values[name] == nil else {
            errors.append(FieldError(pointer: pointer, code: "not_allowed", detail: "must be given only once"))
            continue
        }
        let (value, found) = parameter.schema.validate(text: text, at: pointer)
        errors += found
        guard let value else { continue }
        if parameter.schema == .cursor, !isCursor(text) {
            errors.append(FieldError(pointer: pointer, code: "format", detail: "must be the next_cursor of a page"))
        } else {
            values[name] = value
        }
    }
    for parameter in endpoint.query where parameter.isRequired && values[parameter.name] == nil {
        let pointer = "?\(parameter.name)"
        if errors.contains(where: { $0.pointer == pointer }) { continue }
        errors.append(FieldError(pointer: pointer, code: "required", detail: "is required"))
    }
    guard errors.isEmpty else { throw .invalid(errors) }
    return values
}

/// What the API description promises for cursors; every cursor since 1970 fits.
let cursorPattern = "^0000[0-9a-d][0-9a-f]{43}$"

private func isCursor(_ text: String) -> Bool {
    guard text.hasPrefix("0000"), let fifth = text.utf8.dropFirst(4).first, fifth <= UInt8(ascii: "d") else {
        return false
    }
    return Cursor(text) != nil
}

// MARK: - Body

/// The body did not arrive before its deadline.
///
/// `ConnectionGuard` puts it into the inbound stream.
struct BodyTimeout: Error {}

/// The connection broke while the body was read: there is nobody to answer.
struct BrokenRequest: Error {
    let cause: any Error
}

extension Problem {
    /// Whether the connection cannot go on after this answer, because the rest of the body is not read.
    var endsConnection: Bool {
        status == .contentTooLarge || status == .requestTimeout || code == ProblemKind.busy.code
    }

    static func tooLarge(_ limit: Int) -> Problem {
        Problem(.contentTooLarge, "request.too_large", "The body may have at most \(limit) bytes.")
    }
}

/// The whole body, at most `limit` bytes of it.
///
/// - Parameter share: Grows with what has arrived, for as long as the budget allows it.
func readBody(
    of request: Request,
    limit: Int,
    from budget: BodyBudget,
    for share: inout BodyBudget.Share
) async throws -> ByteBuffer {
    if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit {
        throw Problem.tooLarge(limit)
    }
    do {
        var parts = request.body.makeAsyncIterator()
        guard var body = try await parts.next() else { return ByteBuffer() }
        guard body.readableBytes <= limit else { throw Problem.tooLarge(limit) }
        try budget.take(body.readableBytes, for: &share)
        while var part = try await parts.next() {
            guard part.readableBytes <= limit - body.readableBytes else { throw Problem.tooLarge(limit) }
            try budget.take(part.readableBytes, for: &share)
            body.writeBuffer(&part)
        }
        return body
    } catch let problem as Problem {
        throw problem
    } catch is BodyTimeout {
        throw Problem(.requestTimeout, "request.timeout", "The body did not arrive in time.")
    } catch {
        throw BrokenRequest(cause: error)
    }
}

/// Checks that the body is of one of the media types, and not encoded further.
func checkMediaType(_ headers: HTTPFields, oneOf mediaTypes: [String]) throws(Problem) {
    let list = mediaTypes.joined(separator: ", ")
    guard let type = headers[.contentType], mediaTypes.contains(mediaTypeName(type)) else {
        throw Problem(.unsupportedMediaType, "request.unsupported_media_type", "The Content-Type must be \(list).")
    }
    if let encoding = headers[.contentEncoding], encoding.lowercased() != "identity" {
        throw Problem(
            .unsupportedMediaType,
            "request.unsupported_media_type",
            "The body must not have a Content-Encoding."
        )
    }
}

/// The JSON in the bytes, once it fits the schema.
func parse(_ bytes: ByteBuffer, as schema: Schema) async throws -> JSON {
    guard bytes.isLong else { return try parseHere(bytes, as: schema) }
    return try await offEventLoop { try parseHere(bytes, as: schema) }
}

private func parseHere(_ bytes: ByteBuffer, as schema: Schema) throws(Problem) -> JSON {
    let json: JSON
    do {
        json = try bytes.withUnsafeReadableBytes { raw in try JSON(parsing: raw.assumingMemoryBound(to: UInt8.self)) }
    } catch let error as JSONError {
        throw Problem(.badRequest, "request.malformed", "The body is not acceptable JSON: \(error.description).")
    } catch {
        throw Problem(.badRequest, "request.malformed", "The body is not acceptable JSON.")
    }
    let errors = schema.validate(json)
    guard errors.isEmpty else { throw .invalid(errors) }
    return json
}

// MARK: - Headers

/// The token of `Bearer …`; nil for any other scheme and for an empty token.
func bearerToken(_ header: String) -> Secret? {
    guard header.utf8.count > 7, header.prefix(7).lowercased() == "bearer " else { return nil }
    let token = header.dropFirst(7).drop { $0 == " " }
    return token.isEmpty ? nil : Secret(String(token))
}

/// Checks the headers that change what an endpoint does; all errors at once.
func checkHeaders(_ headers: HTTPFields, for route: Route) throws(Problem) {
    var errors: [FieldError] = []
    for rule in route.headerRules {
        guard let value = headers[rule.name], !rule.fits(value) else { continue }
        errors.append(FieldError(pointer: rule.name.rawName, code: "format", detail: rule.expectation))
    }
    if route.refusesIdempotencyKey, headers.contains(.idempotencyKey) {
        errors.append(
            FieldError(
                pointer: HTTPField.Name.idempotencyKey.rawName,
                code: "not_allowed",
                detail: "is not offered where nobody is authenticated"
            )
        )
    }
    guard errors.isEmpty else { throw .invalid(errors) }
}

/// A request id that the caller chose, if it is a modest one.
func acceptableRequestID(_ headers: HTTPFields) -> String? {
    guard let id = headers[.requestID], (1...64).contains(id.utf8.count) else { return nil }
    let isAcceptable = id.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."):
            true
        default: false
        }
    }
    return isAcceptable ? id : nil
}

/// Whether a coding is acceptable by `Accept-Encoding` (RFC 9110 §12.5.3).
func accepts(_ coding: String, _ header: String?) -> Bool {
    guard let header else { return false }
    var wildcard = false
    for item in header.lowercased().split(separator: ",") {
        let parts = item.split(separator: ";").map { $0.filter { $0 != " " && $0 != "\t" } }
        guard let name = parts.first, name == coding || name == "*" else { continue }
        let weight = parts.dropFirst().first { $0.hasPrefix("q=") }.map { Double($0.dropFirst(2)) ?? 0 } ?? 1
        if name == coding { return weight > 0 }
        wildcard = weight > 0
    }
    return wildcard
}
