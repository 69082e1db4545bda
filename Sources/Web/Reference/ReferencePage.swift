import HTTPTypes
import Kernel

/// The reference as one page of plain HTML, readable without a script.
struct ReferencePage {
    let endpoints: [Endpoint]
    let publicURL: String
    let version: String

    private var tags: [String] {
        endpoints.map(\.tag).reduce(into: []) { tags, tag in
            if !tags.contains(tag) { tags.append(tag) }
        }
    }

    var html: String {
        """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <title>Kuvend API reference</title>
        <link rel="stylesheet" href="/docs/style.css">
        </head>
        <body>
        <nav aria-label="Contents">
        <a class="brand" href="#top">Kuvend <small>API \(escaped(version))</small></a>
        \(tags.map(navigation).joined(separator: "\n"))
        <section><a href="#problems"><b>Problems</b></a></section>
        </nav>
        <main id="top">
        \(introduction)
        \(tags.map(section).joined(separator: "\n"))
        \(problems)
        </main>
        </body>
        </html>

        """
    }

    // MARK: Parts

    private func navigation(_ tag: String) -> String {
        let items = endpoints.filter { $0.tag == tag }.map { endpoint in
            "<li><a href=\"#\(endpoint.operationID)\">\(method(endpoint)) \(escaped(endpoint.summary))</a></li>"
        }
        return """
            <section><a href="#\(anchor(tag))"><b>\(escaped(tag))</b></a>
            <ul>\(items.joined())</ul></section>
            """
    }

    private var introduction: String {
        """
        <header>
        <h1>Kuvend API</h1>
        <p>All paths below belong to <code>\(escaped(publicURL))</code>. The same description for programs:
        <a href="/api/v1/openapi.json">OpenAPI 3.1</a>.</p>
        </header>
        <section class="basics">
        <h2>What holds everywhere</h2>
        <dl>
        <dt>Authentication</dt><dd>Send an access token or an API key as <code>Authorization: Bearer …</code>. It acts inside one organization.</dd>
        <dt>Formats</dt><dd>JSON with <code>snake_case</code> names; ids are UUIDs; times are UTC with milliseconds. Fields and parameters that are not listed here are refused.</dd>
        <dt>Lists</dt><dd><code>{"data": […], "next_cursor": …}</code>. Pass <code>next_cursor</code> on as <code>cursor</code> until it is null.</dd>
        <dt>Repeating</dt><dd>A POST with an <code>Idempotency-Key</code> can be sent again within 24 hours: it is done once, and its response comes again with <code>Idempotency-Replayed: true</code>.</dd>
        <dt>Editing</dt><dd>Answers carry an <code>ETag</code>. Send it back as <code>If-Match</code> to change only the state that you have seen.</dd>
        <dt>Limits</dt><dd><code>RateLimit-Limit</code>, <code>-Remaining</code> and <code>-Reset</code> come with each answer; 429, 503 and 507 say in <code>Retry-After</code> how long to wait.</dd>
        <dt>Errors</dt><dd><code>application/problem+json</code>; decide by <code>code</code>, which is stable. All of them are listed under <a href="#problems">problems</a>.</dd>
        </dl>
        </section>
        """
    }

    private func section(_ tag: String) -> String {
        """
        <section><h2 id="\(anchor(tag))">\(escaped(tag))</h2>
        \(endpoints.filter { $0.tag == tag }.map(article).joined(separator: "\n"))
        </section>
        """
    }

    private func article(_ endpoint: Endpoint) -> String {
        var parts = ["<article id=\"\(endpoint.operationID)\">", "<h3>\(escaped(endpoint.summary))</h3>"]
        parts.append("<p class=\"route\">\(method(endpoint)) <code>\(path(endpoint.path))</code></p>")
        if !endpoint.description.isEmpty { parts.append("<p>\(prose(endpoint.description))</p>") }
        if let permission = endpoint.permission {
            parts.append("<p class=\"note\">Needs the permission <code>\(escaped(permission.name))</code>.</p>")
        } else if !endpoint.isAuthenticated {
            parts.append("<p class=\"note\">Needs no authentication.</p>")
        }
        parts.append("<div class=\"columns\"><div>")
        parts.append(table("Path", endpoint.allPathParameters.map { ($0.name, $0) }, isPath: true))
        parts.append(table("Query", endpoint.query.map { ($0.name, $0) }))
        parts.append(table("Headers", endpoint.headerRules.map(headerField)))
        switch endpoint.payload {
        case .none: break
        case .json(let schema, _): parts.append(table("Body", schema.fields().filter { !$0.property.isReadOnly }))
        case .bytes(let types):
            parts.append(
                "<h4>Body</h4><p>Bytes of \(types.map { "<code>\(escaped($0))</code>" }.joined(separator: ", ")).</p>"
            )
        }
        parts.append(responses(endpoint))
        parts.append("</div><div>")
        parts.append("<h4>Example</h4><pre><code>\(escaped(curl(endpoint)))</code></pre>")
        parts.append(refusals(endpoint))
        parts.append("</div></div></article>")
        return parts.joined(separator: "\n")
    }

    private func table(
        _ title: String,
        _ fields: [(name: String, property: Schema.Property)],
        isPath: Bool = false
    ) -> String {
        guard !fields.isEmpty else { return "" }
        let rows = fields.map { name, property in
            let isRequired = property.isRequired || isPath
            var words = prose(property.description.isEmpty ? property.schema.description ?? "" : property.description)
            if let value = property.defaultValue {
                words += "\(words.isEmpty ? "" : " ")Default: <code>\(escaped(value.text))</code>."
            }
            return """
                <tr><th scope="row"><code>\(escaped(name))</code>\(isRequired ? " <span class=\"required\">required</span>" : "")</th>\
                <td><span class="kind">\(escaped(property.schema.words))</span>\(words.isEmpty ? "" : "<br>\(words)")</td></tr>
                """
        }
        return "<h4>\(title)</h4><table><tbody>\(rows.joined())</tbody></table>"
    }

    private func headerField(_ rule: HeaderRule) -> (name: String, property: Schema.Property) {
        (rule.name.rawName, .optional(rule.name.rawName, .string(1...rule.longest), rule.meaning))
    }

    private func responses(_ endpoint: Endpoint) -> String {
        let items = endpoint.responses.map { response in
            let head = "<p><b class=\"status\">\(response.status)</b> \(prose(response.description))"
            switch response.content {
            case .none: return "\(head)</p>"
            case .bytes(let type): return "\(head) <code>\(escaped(type))</code></p>"
            case .events: return "\(head) With <code>Accept: text/event-stream</code>.</p>"
            case .json(let schema):
                let fields = table("", schema.fields()).replacing("<h4></h4>", with: "")
                return fields.isEmpty
                    ? "\(head)</p>" : "<details><summary>\(head.dropFirst(3))</summary>\(fields)</details>"
            }
        }
        return items.isEmpty ? "" : "<h4>Answers</h4>\(items.joined())"
    }

    private func refusals(_ endpoint: Endpoint) -> String {
        var seen: Set<String> = []
        let items = endpoint.allProblems.filter { seen.insert($0.code).inserted }.map { kind in
            "<li><b class=\"status\">\(kind.status.rawValue)</b> <a href=\"#problem-\(escaped(kind.code))\"><code>\(escaped(kind.code))</code></a></li>"
        }
        return "<details><summary>Problems</summary><ul class=\"codes\">\(items.joined())</ul></details>"
    }

    private var problems: String {
        var seen: Set<String> = []
        let kinds = (ProblemKind.general + endpoints.flatMap(\.allProblems)).filter { seen.insert($0.code).inserted }
            .sorted { ($0.status.rawValue, $0.code) < ($1.status.rawValue, $1.code) }
        let rows = kinds.map { kind in
            """
            <tr id="problem-\(escaped(kind.code))"><td><b class="status">\(kind.status.rawValue)</b></td>\
            <th scope="row"><code>\(escaped(kind.code))</code></th><td>\(prose(kind.meaning))</td></tr>
            """
        }
        return
            "<section><h2 id=\"problems\">Problems</h2><table class=\"wide\"><tbody>\(rows.joined())</tbody></table></section>"
    }

    // MARK: Words

    private func curl(_ endpoint: Endpoint) -> String {
        let path = endpoint.allPathParameters.reduce(endpoint.path) { path, parameter in
            let value = parameter.example?.string ?? parameter.schema.sample.string ?? parameter.name
            return path.replacing("{\(parameter.name)}", with: value)
        }
        var lines = ["curl \(endpoint.method == .get ? "" : "-X \(endpoint.method.rawValue) ")'\(publicURL)\(path)'"]
        if endpoint.isAuthenticated { lines.append("-H \"Authorization: Bearer $TOKEN\"") }
        if endpoint.isIdempotent { lines.append("-H \"Idempotency-Key: $(uuidgen)\"") }
        switch endpoint.payload {
        case .none: break
        case .json(let schema, let example):
            let body = (endpoint.bodyExample ?? example ?? schema.sample).text.replacing("'", with: "'\\''")
            lines += ["-H 'Content-Type: application/json'", "-d '\(body)'"]
        case .bytes(let types):
            lines += ["-H 'Content-Type: \(types.first ?? "application/octet-stream")'", "--data-binary @file"]
        }
        return lines.joined(separator: " \\\n  ")
    }

    private func method(_ endpoint: Endpoint) -> String {
        "<span class=\"method \(endpoint.method.rawValue.lowercased())\">\(endpoint.method.rawValue)</span>"
    }

    /// The path with its parameters marked.
    private func path(_ path: String) -> String {
        escaped(path).replacing("{", with: "<i>{").replacing("}", with: "}</i>")
    }

    private func anchor(_ tag: String) -> String {
        "tag-" + tag.lowercased().map { $0.isLetter || $0.isNumber ? String($0) : "-" }.joined()
    }

    /// Text in which words between back quotes are code.
    private func prose(_ text: String) -> String {
        let parts = escaped(text).split(separator: "`", omittingEmptySubsequences: false)
        guard parts.count % 2 == 1 else { return escaped(text) }
        return parts.enumerated().map { $0.offset % 2 == 1 ? "<code>\($0.element)</code>" : String($0.element) }
            .joined()
            .replacing("\n\n", with: "</p><p>")
    }

    private func escaped(_ text: String) -> String {
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }
}
