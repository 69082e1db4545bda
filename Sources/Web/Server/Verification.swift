import HTTPTypes
import Kernel
import NIOCore

/// A handler answered what its endpoint does not declare.
struct UndeclaredAnswer: Error, ProblemConvertible {
    let detail: String

    var problem: Problem { Problem(.internalError, "internal.undeclared_answer", detail) }
}

/// Holds a reply to the endpoint's declaration.
///
/// Problems are checked where they are thrown: only their status counts.
func verify(_ reply: Reply, of endpoint: Endpoint) throws {
    let status = reply.status.code
    let name = "\(endpoint.method.rawValue) \(endpoint.path)"
    guard endpoint.isListed else { return }
    if reply.headers[.contentType] == "application/problem+json" {
        guard endpoint.allProblems.contains(where: { $0.status.rawValue == status }) else {
            throw UndeclaredAnswer(detail: "\(name) does not declare the problem \(status).")
        }
        return
    }
    let answers = endpoint.answers.filter { $0.status == status }
    guard !answers.isEmpty else { throw UndeclaredAnswer(detail: "\(name) does not declare the status \(status).") }
    let isDeclared = answers.contains { answer in
        switch (answer.content, reply.content) {
        case (.none, .none), (.events, .events): true
        case (.bytes(let type), .bytes): reply.headers[.contentType].map(mediaTypeName) == type
        case (.json, .bytes): reply.headers[.contentType].map(mediaTypeName) == "application/json"
        default: false
        }
    }
    guard isDeclared else { throw UndeclaredAnswer(detail: "\(name) does not declare such a body for \(status).") }
    if reply.headers.contains(.eTag), !answers.contains(where: \.isTagged) {
        throw UndeclaredAnswer(detail: "\(name) does not declare an ETag for \(status).")
    }
    guard case .bytes(let bytes) = reply.content else { return }
    for answer in answers {
        guard case .json(let schema) = answer.content else { continue }
        let json: JSON
        do {
            json = try bytes.withUnsafeReadableBytes { raw in try JSON(parsing: raw.assumingMemoryBound(to: UInt8.self))
            }
        } catch {
            throw UndeclaredAnswer(detail: "\(name) answered \(status) with something that is no JSON.")
        }
        if let error = schema.validate(json, as: .response).first {
            throw UndeclaredAnswer(detail: "\(name) answered \(status): \(error.pointer) \(error.detail).")
        }
    }
}
