import HTTPTypes
import Kernel
import NIOCore

extension Response {
    /// A problem document (RFC 9457).
    init(_ problem: Problem, requestID: String) {
        var json = JSONWriter(reservingCapacity: 256)
        json.beginObject()
        json.key("type")
        json.value("/docs#problem-\(problem.code)")
        json.key("title")
        json.value(problem.status.title)
        json.key("status")
        json.value(problem.status.rawValue)
        json.key("detail")
        json.value(problem.detail)
        json.key("code")
        json.value(problem.code)
        json.key("request_id")
        json.value(requestID)
        if !problem.errors.isEmpty {
            json.key("errors")
            json.beginArray()
            for error in problem.errors.prefix(100) {
                json.beginObject()
                json.key("pointer")
                json.value(error.pointer)
                json.key("code")
                json.value(error.code)
                json.key("detail")
                json.value(error.detail)
                json.endObject()
            }
            json.endArray()
        }
        json.endObject()
        var headers = HTTPFields()
        headers.append(HTTPField(name: .contentType, value: "application/problem+json"))
        if let seconds = problem.retryAfterSeconds {
            headers.append(HTTPField(name: .retryAfter, value: String(max(0, seconds))))
        }
        for (name, value) in problem.headers {
            if let name = HTTPField.Name(name) { headers[name] = value }
        }
        if problem.status == .unauthorized, !headers.contains(.wwwAuthenticate) {
            let isMissing = problem.code == "auth.required"
            headers.append(
                HTTPField(name: .wwwAuthenticate, value: isMissing ? "Bearer" : "Bearer error=\"invalid_token\"")
            )
        }
        if problem.endsConnection { headers.append(HTTPField(name: .connection, value: "close")) }
        self.init(
            HTTPResponse.Status(code: problem.status.rawValue),
            headers: headers,
            content: .bytes(ByteBuffer(bytes: json.bytes))
        )
    }
}

extension Schema {
    /// The shape of every problem document.
    static let problem = Schema.named(
        "Problem",
        .object([
            .required("type", .string(1...2_048), "Where the reference explains it."),
            .required("title", .string(1...200), "The status in words."),
            .required("status", .integer(400...599), "The status code."),
            .required("detail", .string(0...8_192), "What went wrong this time, for people."),
            .required("code", .string(1...200), "Stable, for programs: `request.invalid`."),
            .required("request_id", .string(1...64), "Names this request in the server's logs."),
            .optional(
                "errors",
                .array(
                    of: .object([
                        .required(
                            "pointer",
                            .string(0...65_536),
                            "Where: `/name` in the body, `?limit` in the query, or a header's name."
                        ),
                        .required("code", .string(1...100), "Stable, for programs: `too_long`."),
                        .required("detail", .string(1...8_192), "For people, about the field as the subject."),
                    ]),
                    count: 1...100
                ),
                "Everything that is wrong with the request, when it does not fit."
            ),
        ])
    )
}
