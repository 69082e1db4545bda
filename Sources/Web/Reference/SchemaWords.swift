import Kernel

extension Schema {
    /// The kind of value in a few words, for the reference.
    var words: String {
        switch form {
        case .string(let rule):
            if let format = rule.format { return format.words }
            return rule.length.upperBound == .max ? "text" : "text, \(Self.range(rule.length)) characters"
        case .choice(let values): return values.map { "“\($0)”" }.joined(separator: " or ")
        case .integer(let range):
            return range.lowerBound == .min || range.upperBound == .max
                ? "integer\(range.lowerBound == .min ? "" : ", at least \(range.lowerBound)")"
                : "integer, \(range.lowerBound)–\(range.upperBound)"
        case .number(let range):
            return range.lowerBound.magnitude == .greatestFiniteMagnitude
                || range.upperBound.magnitude == .greatestFiniteMagnitude
                ? "number" : "number, \(range.lowerBound)–\(range.upperBound)"
        case .boolean: return "true or false"
        case .array(let element, let count): return "list of \(Self.range(count)): \(element.words)"
        case .object: return "object"
        case .map(let value, _, _): return "object of any keys, each \(value.words)"
        case .anyObject: return "any object"
        case .any: return "anything"
        case .nullable(let schema): return "\(schema.words), or null"
        case .named(_, let schema): return schema.words
        case .oneOf(let schemas): return schemas.map(\.words).joined(separator: "; or ")
        case .constant(let value): return value.text
        }
    }

    private static func range(_ range: ClosedRange<Int>) -> String {
        if range.lowerBound == range.upperBound { return "\(range.lowerBound)" }
        return range.lowerBound == 0 ? "at most \(range.upperBound)" : "\(range.lowerBound)–\(range.upperBound)"
    }

    /// The members of the object that this is or contains, with dotted names for those further inside.
    func fields(in prefix: String = "", depth: Int = 0) -> [(name: String, property: Property)] {
        guard depth < 4 else { return [] }
        switch form {
        case .object(let properties):
            return properties.flatMap { property in
                let name = prefix + property.name
                return [(name, property)] + property.schema.fields(in: "\(name).", depth: depth + 1)
            }
        case .named(_, let schema), .nullable(let schema): return schema.fields(in: prefix, depth: depth)
        case .array(let element, _):
            let inside = prefix.isEmpty ? "" : "\(prefix.dropLast())[]."
            return element.fields(in: inside, depth: depth)
        default: return []
        }
    }

    /// A value that is likely to fit: examples and defaults where they are declared.
    var sample: JSON {
        switch form {
        case .string(let rule): return .string(rule.sample)
        case .choice(let values): return values.first.map(JSON.string) ?? .null
        case .integer(let range): return .integer(min(max(1, range.lowerBound), range.upperBound))
        case .number(let range): return .number(min(max(0.5, range.lowerBound), range.upperBound))
        case .boolean: return true
        case .array(let element, let count):
            return .array(
                Array(repeating: element.sample, count: min(max(count.lowerBound, 1), max(count.upperBound, 0)))
            )
        case .object(let properties):
            let members = properties.filter { !$0.isReadOnly }.compactMap { property -> (String, JSON)? in
                let value =
                    property.example ?? property.defaultValue ?? (property.isRequired ? property.schema.sample : nil)
                return value.map { (property.name, $0) }
            }
            return .object(JSONObject(members))
        case .map, .anyObject: return [:]
        case .any: return "anything"
        case .nullable(let schema), .named(_, let schema): return schema.sample
        case .oneOf(let schemas): return schemas.first?.sample ?? .null
        case .constant(let value): return value
        }
    }
}

extension Schema.StringRule {
    fileprivate var sample: String {
        if let format { return format.sample }
        let text = "Some text"
        let short = String(text.prefix(max(length.upperBound, 0)))
        return short.count >= length.lowerBound ? short : String(repeating: "x", count: min(length.lowerBound, 10_000))
    }
}

extension Schema.StringFormat {
    fileprivate var words: String {
        switch self {
        case .uuid: "id (UUID)"
        case .email: "e-mail address"
        case .dateTime: "time (RFC 3339)"
        case .date: "date"
        case .uri: "http or https URL"
        case .slug: "slug"
        case .e164: "telephone number (E.164)"
        case .currency: "currency (ISO 4217)"
        case .language: "language tag"
        }
    }

    fileprivate var sample: String {
        switch self {
        case .uuid: "01912d68-783e-7a03-8467-5661c1243ad4"
        case .email: "arta@example.com"
        case .dateTime: "2026-11-24T05:21:54.123Z"
        case .date: "2026-11-24"
        case .uri: "https://example.com/page"
        case .slug: "example"
        case .e164: "+355691234567"
        case .currency: "EUR"
        case .language: "sq"
        }
    }
}
