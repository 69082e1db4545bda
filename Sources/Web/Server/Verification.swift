import HTTPTypes
import Kernel
import NIOCore

/// A handler answered what its endpoint does not declare.
struct UndeclaredResponse: Error, ProblemConvertible {
    let detail: String

    var problem: Problem { Problem(.internalError, "internal.undeclared_answer", detail) }
}

/// Holds a reply to the endpoint's declaration.
///
/// Problems are checked where they are thrown: only their status counts.
func verify(_ response: Response, of endpoint: Endpoint) throws {
    let status = response.status.code
    let name = "\(endpoint.method.rawValue) \(endpoint.path)"
    guard endpoint.isListed else { return }
    if response.headers[.contentType] == "application/problem+json" {
        guard endpoint.allProblems.contains(where: { $0.status.rawValue == status }) else {
            throw UndeclaredResponse(detail: "\(name) does not declare the problem \(status).")
        }
        return
    }
    let declared = endpoint.responses.filter { $0.status == status }
    guard !declared.isEmpty else { throw UndeclaredResponse(detail: "\(name) does not declare the status \(status).") }
    let isDeclared = declared.contains {
        switch ($0.content, response.content) {
        case (.none, .none), (.events, .events): true
        case (.bytes(let type), .bytes): response.headers[.contentType].map(mediaTypeName) == type
        case (.json, .bytes): response.headers[.contentType].map(mediaTypeName) == "application/json"
        default: false
        }
    }
    guard isDeclared else { throw UndeclaredResponse(detail: "\(name) does not declare such a body for \(status).") }
    if response.headers.contains(.eTag), !declared.contains(where: \.isTagged) {
        throw UndeclaredResponse(detail: "\(name) does not declare an ETag for \(status).")
    }
    guard case .bytes(let bytes) = response.content else { return }
    for expected in declared {
        guard case .json(let schema) = expected.content else { continue }
        let json: JSON
        do {
            json = try bytes.withUnsafeReadableBytes { raw in try JSON(parsing: raw.assumingMemoryBound(to: UInt8.self))
            }
        } catch {
            throw UndeclaredResponse(detail: "\(name) answered \(status) with something that is no JSON.")
        }
        if let error = schema.validate(json, as: .response).first {
            throw UndeclaredResponse(detail: "\(name) answered \(status): \(error.pointer) \(error.detail).")
        }
    }
}
