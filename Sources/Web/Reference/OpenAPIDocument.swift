import HTTPTypes
import Kernel

/// The endpoints as an OpenAPI 3.1 document: exactly as strict as the server is.
struct OpenAPIDocument {
    let endpoints: [Endpoint]
    let publicURL: String
    let version: String

    var json: JSON {
        var schemas = JSONObject()
        _ = Schema.problem.jsonSchema(components: &schemas)
        var paths = JSONObject()
        var tags: [String] = []
        for endpoint in endpoints {
            var item = paths[endpoint.path]?.object ?? [:]
            item[endpoint.method.rawValue.lowercased()] = operation(endpoint, &schemas)
            paths[endpoint.path] = .object(item)
            if !tags.contains(endpoint.tag) { tags.append(endpoint.tag) }
        }
        return [
            "openapi": "3.1.0",
            "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
            "info": [
                "title": "Kuvend API", "version": .string(version),
                "description":
                    "Answers to customers with AI agents. Every list is `{\"data\": [...], \"next_cursor\": ...}`, every error a problem document (RFC 9457), every time UTC with milliseconds.",
                "license": ["name": "Apache-2.0", "identifier": "Apache-2.0"],
            ],
            "servers": [["url": .string(publicURL)]],
            "tags": .array(tags.map { ["name": .string($0)] }),
            "security": [["bearer": []]],
            "paths": .object(paths),
            "components": [
                "securitySchemes": [
                    "bearer": [
                        "type": "http", "scheme": "bearer",
                        "description": "An access token from signing in, or an API key of the organization.",
                    ]
                ],
                "headers": headers,
                "schemas": .object(schemas),
            ],
        ]
    }

    // MARK: Operations

    private func operation(_ endpoint: Endpoint, _ schemas: inout JSONObject) -> JSON {
        var operation: JSONObject = [
            "operationId": .string(endpoint.operationID), "summary": .string(endpoint.summary),
            "tags": [.string(endpoint.tag)],
        ]
        var words = endpoint.description
        if let permission = endpoint.permission {
            words += "\(words.isEmpty ? "" : "\n\n")Needs the permission `\(permission)`."
        }
        if !words.isEmpty { operation["description"] = .string(words) }
        if !endpoint.isAuthenticated { operation["security"] = [] }
        let parameters = parameters(endpoint, &schemas)
        if !parameters.isEmpty { operation["parameters"] = .array(parameters) }
        if let body = requestBody(endpoint, &schemas) { operation["requestBody"] = body }
        operation["responses"] = .object(responses(endpoint, &schemas))
        return .object(operation)
    }

    private func parameters(_ endpoint: Endpoint, _ schemas: inout JSONObject) -> [JSON] {
        var parameters: [JSON] = []
        func add(_ property: Schema.Property, in place: String, required: Bool) {
            var schema = property.schema.jsonSchema(components: &schemas).object ?? [:]
            if property.schema == .cursor { schema["pattern"] = .string(cursorPattern) }
            if let value = property.defaultValue { schema["default"] = value }
            var parameter: JSONObject = [
                "name": .string(property.name), "in": .string(place), "required": .bool(required),
                "schema": .object(schema),
            ]
            if !property.description.isEmpty { parameter["description"] = .string(property.description) }
            if let example = property.example { parameter["example"] = example }
            parameters.append(.object(parameter))
        }
        for property in endpoint.allPathParameters { add(property, in: "path", required: true) }
        for property in endpoint.query { add(property, in: "query", required: property.isRequired) }
        for rule in endpoint.headerRules {
            parameters.append([
                "name": .string(rule.name.rawName), "in": "header", "required": false,
                "description": .string(rule.meaning),
                "schema": [
                    "type": "string", "minLength": 1, "maxLength": .integer(Int64(rule.longest)),
                    "pattern": .string(rule.pattern),
                ],
            ])
        }
        return parameters
    }

    private func requestBody(_ endpoint: Endpoint, _ schemas: inout JSONObject) -> JSON? {
        switch endpoint.payload {
        case .none: return nil
        case .json(let schema, _):
            var content: JSONObject = ["schema": schema.jsonSchema(components: &schemas)]
            if let example = endpoint.bodyExample { content["example"] = example }
            return ["required": true, "content": ["application/json": .object(content)]]
        case .bytes(let mediaTypes):
            let content = JSONObject(mediaTypes.map { ($0, [:] as JSON) })
            return ["required": true, "content": .object(content)]
        }
    }

    private func responses(_ endpoint: Endpoint, _ schemas: inout JSONObject) -> JSONObject {
        var responses = JSONObject()
        let statuses = Set(endpoint.responses.map(\.status)).sorted()
        for status in statuses {
            let declared = endpoint.responses.filter { $0.status == status }
            var content = JSONObject()
            for one in declared {
                guard let (mediaType, value) = self.content(one, &schemas) else { continue }
                content[mediaType] = value
            }
            var response: JSONObject = [
                "description": .string(declared.map(\.description).joined(separator: " Or: ")),
                "headers": .object(headers(endpoint, status: status, isTagged: declared.contains(where: \.isTagged))),
            ]
            if !content.isEmpty { response["content"] = .object(content) }
            responses[String(status)] = .object(response)
        }
        if endpoint.offersNotModified {
            responses["304"] = [
                "description": "It is what `If-None-Match` names.",
                "headers": .object(headers(endpoint, status: 304, isTagged: true)),
            ]
        }
        let problems = Dictionary(grouping: endpoint.allProblems) { $0.status.rawValue }
        for (status, kinds) in problems.sorted(by: { $0.key < $1.key }) {
            var seen: [String] = []
            let lines = kinds.compactMap { kind -> String? in
                guard !seen.contains(kind.code) else { return nil }
                seen.append(kind.code)
                return "- `\(kind.code)`: \(kind.meaning)"
            }
            responses[String(status)] = [
                "description": .string(lines.joined(separator: "\n")),
                "headers": .object(headers(endpoint, status: status, isTagged: false)),
                "content": [
                    "application/problem+json": [
                        "schema": ["$ref": "#/components/schemas/Problem"], "example": example(of: kinds),
                    ]
                ],
            ]
        }
        return responses
    }

    private func content(_ response: DeclaredResponse, _ schemas: inout JSONObject) -> (String, JSON)? {
        switch response.content {
        case .none: return nil
        case .json(let schema):
            var content: JSONObject = ["schema": schema.jsonSchema(components: &schemas)]
            if let example = response.example { content["example"] = example }
            return ("application/json", .object(content))
        case .bytes(let mediaType): return (mediaType, [:])
        case .events:
            return ("text/event-stream", ["schema": ["type": "string", "description": .string(response.description)]])
        }
    }

    private func example(of kinds: [ProblemKind]) -> JSON {
        guard let kind = kinds.first else { return .null }
        return [
            "type": "/docs#problem-\(kind.code)", "title": .string(kind.status.title),
            "status": .integer(Int64(kind.status.rawValue)), "detail": .string(kind.meaning),
            "code": .string(kind.code), "request_id": "01912d68-783e-7a03-8467-5661c1243ad4",
        ]
    }

    // MARK: Headers

    private func headers(_ endpoint: Endpoint, status: Int, isTagged: Bool) -> JSONObject {
        var names = ["X-Request-Id"]
        if endpoint.rateLimit != .none { names += ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"] }
        if isTagged { names.append("ETag") }
        switch status {
        case 201: names.append("Location")
        case 401: names.append("WWW-Authenticate")
        case 409, 429, 503, 507: names.append("Retry-After")
        default: break
        }
        if endpoint.isIdempotent, status < 300 { names.append("Idempotency-Replayed") }
        return JSONObject(names.map { ($0, ["$ref": .string("#/components/headers/\($0)")]) })
    }

    private var headers: JSON {
        func header(_ description: String, _ schema: JSON) -> JSON {
            ["description": .string(description), "schema": schema]
        }
        let count: JSON = ["type": "integer", "minimum": 0]
        let text: JSON = ["type": "string"]
        return [
            "X-Request-Id": header("Names this request in the server's logs.", text),
            "RateLimit-Limit": header("Requests in one period.", count),
            "RateLimit-Remaining": header("Requests that are left.", count),
            "RateLimit-Reset": header("Seconds until all are available again.", count),
            "Retry-After": header("Seconds to wait before the next try.", count),
            "ETag": header(
                "Names this state of the resource, for `If-None-Match` and, as far as edits go, `If-Match`.",
                text
            ),
            "Location": header("The path of what was created.", text),
            "WWW-Authenticate": header("`Bearer`.", text),
            "Idempotency-Replayed": header("`true` when this is the kept answer of an earlier request.", text),
        ]
    }
}
