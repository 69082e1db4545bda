/// The shape of a JSON value, declared once: for the API description (OpenAPI 3.1, which is JSON Schema 2020-12) and for
/// validation, so that the two agree.
///
/// ```swift
/// Schema.object([
///     .required("name", .string(1...120, [.singleLine, .notBlank]), "What people see."),
///     .optional("email", .nullable(.email)),
/// ])
/// ```
package struct Schema: Sendable, Hashable {
    package indirect enum Form: Sendable, Hashable {
        case string(StringRule)
        case choice([String])
        case integer(ClosedRange<Int64>)
        case number(ClosedRange<Double>)
        case boolean
        case array(of: Schema, count: ClosedRange<Int>)
        case object([Property])
        case map(of: Schema, keys: StringRule, count: ClosedRange<Int>)
        case anyObject(maxBytes: Int)
        case any
        case nullable(Schema)
        case named(String, Schema)
        case oneOf([Schema])
        case constant(JSON)
    }

    package let form: Form
    /// What the value means, for the API description.
    package var description: String?

    package init(_ form: Form, description: String? = nil) {
        self.form = form
        self.description = description
    }

    /// The same schema with words about what the value means.
    package func described(_ description: String) -> Schema { Schema(form, description: description) }

    /// One member of an object.
    package struct Property: Sendable, Hashable {
        package let name: String
        package let schema: Schema
        package let isRequired: Bool
        /// Set by the server: refused in requests, allowed in answers.
        package let isReadOnly: Bool
        package let description: String
        /// What the server takes when the member is absent; validation does not add it.
        package let defaultValue: JSON?
        package let example: JSON?

        package static func required(
            _ name: String,
            _ schema: Schema,
            _ description: String = "",
            example: JSON? = nil
        ) -> Property {
            Property(
                name: name,
                schema: schema,
                isRequired: true,
                isReadOnly: false,
                description: description,
                defaultValue: nil,
                example: example
            )
        }

        package static func optional(
            _ name: String,
            _ schema: Schema,
            _ description: String = "",
            default defaultValue: JSON? = nil,
            example: JSON? = nil
        ) -> Property {
            Property(
                name: name,
                schema: schema,
                isRequired: false,
                isReadOnly: false,
                description: description,
                defaultValue: defaultValue,
                example: example
            )
        }

        package static func readOnly(
            _ name: String,
            _ schema: Schema,
            _ description: String = "",
            example: JSON? = nil
        ) -> Property {
            Property(
                name: name,
                schema: schema,
                isRequired: false,
                isReadOnly: true,
                description: description,
                defaultValue: nil,
                example: example
            )
        }
    }

    /// What a string must be; none may contain U+0000, because PostgreSQL cannot store it.
    package struct StringRule: Sendable, Hashable {
        /// In code points, as JSON Schema counts.
        package let length: ClosedRange<Int>
        package let format: StringFormat?
        package let options: StringOptions

        package init(length: ClosedRange<Int>, format: StringFormat? = nil, options: StringOptions = []) {
            self.length = length
            self.format = format
            self.options = options
        }
    }

    package struct StringOptions: OptionSet, Sendable, Hashable {
        package let rawValue: Int

        package init(rawValue: Int) { self.rawValue = rawValue }

        /// Without control characters (U+0000–U+001F, U+007F–U+009F) and line separators (U+2028, U+2029).
        package static let singleLine = StringOptions(rawValue: 1)
        /// With at least one character that is not white space.
        package static let notBlank = StringOptions(rawValue: 2)
    }
}

// MARK: - Words for declarations

extension Schema {
    /// - Parameter length: In code points.
    package static func string(_ length: ClosedRange<Int> = 0...65_536, _ options: StringOptions = []) -> Schema {
        Schema(.string(StringRule(length: length, options: options)))
    }

    package static func string(_ length: ClosedRange<Int>, format: StringFormat) -> Schema {
        Schema(.string(StringRule(length: length, format: format)))
    }

    package static let uuid = string(36...36, format: .uuid)
    package static let email = string(3...254, format: .email)
    package static let dateTime = string(20...40, format: .dateTime)
    package static let date = string(10...10, format: .date)
    package static let uri = string(8...2_048, format: .uri)
    package static let slug = string(1...63, format: .slug)
    package static let e164 = string(8...16, format: .e164)
    package static let currency = string(3...3, format: .currency)
    package static let language = string(2...35, format: .language)

    /// One of a few words.
    package static func choice(_ values: String...) -> Schema { Schema(.choice(values)) }
    package static func choice(_ values: [String]) -> Schema { Schema(.choice(values)) }

    /// The raw value of one case.
    package static func choice<Value: CaseIterable & RawRepresentable<String>>(of type: Value.Type) -> Schema {
        Schema(.choice(type.allCases.map(\.rawValue)))
    }

    package static func integer(_ range: ClosedRange<Int64> = .min ... .max) -> Schema { Schema(.integer(range)) }

    package static func number(
        _ range: ClosedRange<Double> = -Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude
    ) -> Schema {
        Schema(.number(range))
    }

    package static let boolean = Schema(.boolean)

    package static func array(of element: Schema, count: ClosedRange<Int> = 0...100) -> Schema {
        Schema(.array(of: element, count: count))
    }

    /// An object with these members and no others.
    package static func object(_ properties: [Property]) -> Schema { Schema(.object(properties)) }

    /// An object whose keys are data.
    package static func map(
        of value: Schema,
        keys: StringRule = StringRule(length: 1...100, options: .singleLine),
        count: ClosedRange<Int> = 0...100
    ) -> Schema {
        Schema(.map(of: value, keys: keys, count: count))
    }

    /// An object of any content.
    ///
    /// - Parameter maxBytes: The largest size of its compact encoding.
    package static func anyObject(maxBytes: Int = 16 * 1_024) -> Schema { Schema(.anyObject(maxBytes: maxBytes)) }

    package static let any = Schema(.any)

    package static func nullable(_ schema: Schema) -> Schema { Schema(.nullable(schema)) }

    /// A schema that the API description holds once, under `#/components/schemas/`.
    package static func named(_ name: String, _ schema: Schema) -> Schema { Schema(.named(name, schema)) }

    /// A value that fits exactly one of the schemas.
    package static func oneOf(_ schemas: [Schema]) -> Schema { Schema(.oneOf(schemas)) }

    package static func constant(_ value: JSON) -> Schema { Schema(.constant(value)) }
}

// MARK: - JSON Schema

extension Schema {
    /// The schema as JSON Schema 2020-12.
    ///
    /// - Parameter components: Receives the named schemas, referred to as `#/components/schemas/NAME`. If the name is
    ///   taken by a different schema, a number is added to it.
    package func jsonSchema(components: inout JSONObject) -> JSON {
        var schema = body(components: &components)
        if let description { schema["description"] = .string(description) }
        return .object(schema)
    }

    private func body(components: inout JSONObject) -> JSONObject {
        switch form {
        case .string(let rule): return rule.jsonSchema
        case .choice(let values): return ["type": "string", "enum": .array(values.map(JSON.string))]
        case .integer(let range):
            return [
                "type": "integer", "format": "int64", "minimum": .integer(range.lowerBound),
                "maximum": .integer(range.upperBound),
            ]
        case .number(let range):
            var schema: JSONObject = ["type": "number"]
            if range.lowerBound.isBound { schema["minimum"] = .number(range.lowerBound) }
            if range.upperBound.isBound { schema["maximum"] = .number(range.upperBound) }
            return schema
        case .boolean: return ["type": "boolean"]
        case .array(let element, let count):
            var schema: JSONObject = ["type": "array", "items": element.jsonSchema(components: &components)]
            schema.bound(count, "minItems", "maxItems")
            return schema
        case .object(let properties):
            var members = JSONObject()
            for property in properties { members[property.name] = property.jsonSchema(components: &components) }
            var schema: JSONObject = ["type": "object", "properties": .object(members)]
            let required = properties.filter(\.isRequired).map { JSON.string($0.name) }
            if !required.isEmpty { schema["required"] = .array(required) }
            schema["additionalProperties"] = false
            return schema
        case .map(let value, let keys, let count):
            var schema: JSONObject = [
                "type": "object", "propertyNames": .object(keys.jsonSchema),
                "additionalProperties": value.jsonSchema(components: &components),
            ]
            schema.bound(count, "minProperties", "maxProperties")
            return schema
        case .anyObject(let maxBytes):
            return [
                "type": "object", "propertyNames": .object(Self.freeText.jsonSchema),
                "additionalProperties": .object(Self.anyValue(components: &components)),
                "description": "Any JSON object of at most \(maxBytes) bytes.",
                "x-max-bytes": .integer(Int64(maxBytes)),
            ]
        case .any: return Self.anyValue(components: &components)
        case .nullable(let schema): return schema.nullableBody(components: &components)
        case .named(let name, let schema):
            return Self.reference(name, .object(schema.documented(components: &components)), in: &components)
        case .oneOf(let schemas):
            return ["oneOf": .array(schemas.map { $0.jsonSchema(components: &components) })]
        case .constant(let value): return ["const": value]
        }
    }

    private func documented(components: inout JSONObject) -> JSONObject {
        jsonSchema(components: &components).object ?? [:]
    }

    private func nullableBody(components: inout JSONObject) -> JSONObject {
        var schema = documented(components: &components)
        switch form {
        case .string, .integer, .number, .boolean, .array, .object, .map, .anyObject:
            schema["type"] = .array([schema["type"] ?? .null, "null"])
            return schema
        case .choice(let values):
            schema["type"] = ["string", "null"]
            schema["enum"] = .array(values.map(JSON.string) + [.null])
            return schema
        case .any, .nullable, .constant(.null): return schema
        case .named, .oneOf, .constant: return ["anyOf": [.object(schema), ["type": "null"]]]
        }
    }

    private static func reference(_ name: String, _ schema: JSON, in components: inout JSONObject) -> JSONObject {
        var unique = name
        var number = 1
        while let other = components[unique], other != schema {
            number += 1
            unique = "\(name)\(number)"
        }
        components[unique] = schema
        return ["$ref": .string("#/components/schemas/\(unique)")]
    }

    /// Strings and keys inside free values.
    static let freeText = StringRule(length: 0...Int.max)

    /// A free value is described by a schema that refers to itself: only so can it say that no string holds U+0000.
    private static func anyValue(components: inout JSONObject) -> JSONObject {
        let name = "AnyValue"
        let this: JSON = ["$ref": .string("#/components/schemas/\(name)")]
        let schema: JSON = [
            "description": "Any JSON value; strings and keys must not contain U+0000.",
            "anyOf": [
                ["type": ["null", "boolean", "number"]],
                .object(freeText.jsonSchema),
                ["type": "array", "items": this],
                ["type": "object", "propertyNames": .object(freeText.jsonSchema), "additionalProperties": this],
            ],
        ]
        return reference(name, schema, in: &components)
    }
}

extension Schema.Property {
    fileprivate func jsonSchema(components: inout JSONObject) -> JSON {
        var members = schema.jsonSchema(components: &components).object ?? [:]
        if !description.isEmpty { members["description"] = .string(description) }
        if let defaultValue { members["default"] = defaultValue }
        if let example { members["examples"] = [example] }
        if isReadOnly { members["readOnly"] = true }
        return .object(members)
    }
}

extension Schema.StringRule {
    /// An ECMA-262 expression that means the same as `problem(in:)` does, but for the length.
    ///
    /// Only classes of explicit code points are used, so that other dialects read it alike.
    package var pattern: String {
        let controls = "\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029"
        let spaces = "\\u0020\\u00a0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000\\ufeff"
        let breaks = "\\u0009-\\u000d\\u0085\\u2028\\u2029"
        if let format { return format.pattern }
        switch (options.contains(.singleLine), options.contains(.notBlank)) {
        case (false, false): return "^[^\\u0000]*$"
        case (true, false): return "^[^\(controls)]*$"
        case (false, true): return "^[\(breaks)\(spaces)]*[^\\u0000\(breaks)\(spaces)][^\\u0000]*$"
        case (true, true): return "^[\(spaces)]*[^\(controls)\(spaces)][^\(controls)]*$"
        }
    }

    fileprivate var jsonSchema: JSONObject {
        var schema: JSONObject = ["type": "string"]
        if let name = format?.jsonSchemaName { schema["format"] = .string(name) }
        schema.bound(length, "minLength", "maxLength")
        schema["pattern"] = .string(pattern)
        return schema
    }
}

extension JSONObject {
    fileprivate mutating func bound(_ range: ClosedRange<Int>, _ lower: String, _ upper: String) {
        if range.lowerBound > 0 { self[lower] = .integer(Int64(range.lowerBound)) }
        if range.upperBound < Int.max { self[upper] = .integer(Int64(range.upperBound)) }
    }
}

extension Double {
    /// Whether the number, as the end of a range, excludes anything.
    fileprivate var isBound: Bool { magnitude < Self.greatestFiniteMagnitude }
}

// MARK: - Formats

extension Schema {
    /// The closed set of formats, each with an expression for the API description and a matcher that means the same.
    package enum StringFormat: String, Sendable, Hashable, CaseIterable {
        /// RFC 9562, in either letter case.
        case uuid
        /// A dot-atom and a domain of at least two labels that ends with a letter first (RFC 5321, without quoting).
        case email
        /// RFC 3339 with capital `T` and `Z`, at most nine digits of fraction, no leap second, in the years 1000 to
        /// 8999, so that the moment has a year of four digits under every offset.
        case dateTime
        /// A full date of RFC 3339, in the same years.
        case date
        /// An absolute `http` or `https` URL without user information (RFC 3986), the host a name or an IPv4 address.
        case uri
        /// Lower-case letters and digits in groups with single hyphens between them.
        case slug
        /// An international telephone number: `+` and 7 to 15 digits.
        case e164
        /// Three capital letters (ISO 4217).
        case currency
        /// The form of a language tag of BCP 47: `sq`, `en-GB`.
        case language
    }
}

extension Schema.StringFormat {
    package var pattern: String {
        let atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
        let year = "[1-8][0-9]{3}"
        let leapYear =
            "(?:[1-8][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[1357][26])00)"
        let date =
            "(?:\(year)-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
            + "|02-(?:0[1-9]|1[0-9]|2[0-8]))|\(leapYear)-02-29)"
        let clock = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
        switch self {
        case .uuid: return "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
        case .email:
            return "^(?=[^@]{1,64}@)\(atom)(?:\\.\(atom))*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\\.)+"
                + "[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"
        case .dateTime: return "^\(date)T\(clock):[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-]\(clock))$"
        case .date: return "^\(date)$"
        case .uri:
            let label = "[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
            let port =
                "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
            func characters(_ more: String) -> String {
                "(?:[A-Za-z0-9._~!$&'()*+,;=:@\(more)-]|%[0-9A-Fa-f]{2})*"
            }
            return "^https?://\(label)(?:\\.\(label))*(?::\(port))?"
                + "(?:/\(characters("/")))?(?:\\?\(characters("/?")))?(?:#\(characters("/?")))?$"
        case .slug: return "^[a-z0-9]+(?:-[a-z0-9]+)*$"
        case .e164: return "^\\+[1-9][0-9]{6,14}$"
        case .currency: return "^[A-Z]{3}$"
        case .language: return "^[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*$"
        }
    }

    /// The name that JSON Schema gives to the format, if it has one.
    fileprivate var jsonSchemaName: String? {
        switch self {
        case .uuid: "uuid"
        case .email: "email"
        case .dateTime: "date-time"
        case .date: "date"
        case .uri: "uri"
        case .slug, .e164, .currency, .language: nil
        }
    }

    var expectation: String {
        switch self {
        case .uuid: "a UUID"
        case .email: "an e-mail address"
        case .dateTime: "a time such as 2026-11-24T05:21:54.123Z"
        case .date: "a date such as 2026-11-24"
        case .uri: "an http or https URL"
        case .slug: "lower-case letters and digits with single hyphens between them"
        case .e164: "a telephone number such as +355691234567"
        case .currency: "a currency of three capital letters"
        case .language: "a language tag such as sq or en-GB"
        }
    }

    package func matches(_ text: String) -> Bool {
        var text = FormatReader(text)
        switch self {
        case .uuid: return text.uuid() && text.isAtEnd
        case .email: return text.email() && text.isAtEnd
        case .dateTime: return text.date() && text.time() && text.isAtEnd
        case .date: return text.date() && text.isAtEnd
        case .uri: return text.uri() && text.isAtEnd
        case .slug: return text.groups(separatedBy: "-") { $0.run(1...Int.max, \.isLowerOrDigit) } && text.isAtEnd
        case .e164: return text.skip("+") && text.peek() != "0" && text.run(7...15, \.isDigit) && text.isAtEnd
        case .currency: return text.run(3...3, \.isUpper) && text.isAtEnd
        case .language:
            guard text.run(2...3, \.isLower) else { return false }
            while text.skip("-") {
                guard text.run(2...8, \.isAlphanumeric) else { return false }
            }
            return text.isAtEnd
        }
    }
}

/// Reads the formats byte by byte; all their characters are ASCII.
///
/// Each method consumes the longest text that fits and tells whether there was one.
private struct FormatReader {
    let bytes: [UInt8]
    var position = 0

    init(_ text: String) { bytes = Array(text.utf8) }

    var isAtEnd: Bool { position == bytes.count }

    func peek() -> Unicode.Scalar? { position < bytes.count ? Unicode.Scalar(bytes[position]) : nil }

    mutating func skip(_ character: Unicode.Scalar) -> Bool {
        guard peek() == character else { return false }
        position += 1
        return true
    }

    mutating func skip(text: String) -> Bool {
        guard bytes[position...].starts(with: text.utf8) else { return false }
        position += text.utf8.count
        return true
    }

    /// Consumes all characters of a class; their number must lie in the range.
    mutating func run(_ count: ClosedRange<Int>, _ isMember: (UInt8) -> Bool) -> Bool {
        let start = position
        while position < bytes.count, isMember(bytes[position]) { position += 1 }
        return count.contains(position - start)
    }

    mutating func groups(separatedBy separator: Unicode.Scalar, _ group: (inout Self) -> Bool) -> Bool {
        repeat {
            guard group(&self) else { return false }
        } while skip(separator)
        return true
    }

    /// A number of a fixed count of digits.
    mutating func number(_ digits: Int, in range: ClosedRange<Int>) -> Int? {
        guard bytes.count - position >= digits else { return nil }
        var value = 0
        for byte in bytes[position..<position + digits] {
            guard byte.isDigit else { return nil }
            value = value * 10 + Int(byte - .digitZero)
        }
        position += digits
        return range.contains(value) ? value : nil
    }

    mutating func uuid() -> Bool {
        for (index, digits) in [8, 4, 4, 4, 12].enumerated() {
            guard index == 0 || skip("-"), run(digits...digits, { $0.hexadecimalValue != nil }) else { return false }
        }
        return true
    }

    mutating func date() -> Bool {
        guard let year = number(4, in: 1_000...8_999), skip("-"), let month = number(2, in: 1...12), skip("-") else {
            return false
        }
        let isLeapYear = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let days =
            switch month {
            case 2: isLeapYear ? 29 : 28
            case 4, 6, 9, 11: 30
            default: 31
            }
        return number(2, in: 1...days) != nil
    }

    mutating func time() -> Bool {
        guard skip("T"), clock(), skip(":"), number(2, in: 0...59) != nil else { return false }
        if skip(".") {
            guard run(1...9, \.isDigit) else { return false }
        }
        return skip("Z") || (skip("+") || skip("-")) && clock()
    }

    private mutating func clock() -> Bool {
        number(2, in: 0...23) != nil && skip(":") && number(2, in: 0...59) != nil
    }

    mutating func email() -> Bool {
        let start = position
        guard groups(separatedBy: ".", { $0.run(1...Int.max, \.isAtom) }), position - start <= 64, skip("@") else {
            return false
        }
        var labels = 0
        var endsWithLetterFirst = false
        repeat {
            endsWithLetterFirst = position < bytes.count && bytes[position].isLetter
            guard label(allowingUnderscore: false) else { return false }
            labels += 1
        } while skip(".")
        return labels > 1 && endsWithLetterFirst
    }

    private mutating func label(allowingUnderscore: Bool) -> Bool {
        let start = position
        guard run(1...63, { $0.isAlphanumeric || $0 == .minus || allowingUnderscore && $0 == UInt8(ascii: "_") }) else {
            return false
        }
        return bytes[start].isAlphanumeric && bytes[position - 1].isAlphanumeric
    }

    mutating func uri() -> Bool {
        guard skip(text: "http") else { return false }
        _ = skip("s")
        guard skip(text: "://"), host() else { return false }
        if skip(":") {
            guard port() else { return false }
        }
        if skip("/") { uriCharacters { $0 == UInt8(ascii: "/") } }
        if skip("?") { uriCharacters { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } }
        if skip("#") { uriCharacters { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } }
        return true
    }

    private mutating func host() -> Bool {
        groups(separatedBy: ".") { $0.label(allowingUnderscore: true) }
    }

    private mutating func port() -> Bool {
        let start = position
        guard peek() != "0", run(1...5, \.isDigit) else { return false }
        return bytes[start..<position].reduce(0) { $0 * 10 + Int($1 - .digitZero) } <= 65_535
    }

    private mutating func uriCharacters(_ isAlsoAllowed: (UInt8) -> Bool) {
        while position < bytes.count {
            let byte = bytes[position]
            if byte.isURICharacter || isAlsoAllowed(byte) {
                position += 1
            } else if byte == UInt8(ascii: "%"), bytes.count - position > 2,
                bytes[position + 1].hexadecimalValue != nil,
                bytes[position + 2].hexadecimalValue != nil
            {
                position += 3
            } else {
                return
            }
        }
    }
}

extension UInt8 {
    fileprivate var isLower: Bool { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self) }
    fileprivate var isUpper: Bool { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(self) }
    fileprivate var isLetter: Bool { isLower || isUpper }
    fileprivate var isAlphanumeric: Bool { isLetter || isDigit }
    fileprivate var isLowerOrDigit: Bool { isLower || isDigit }

    /// `atext` of RFC 5322 §3.2.3.
    fileprivate var isAtom: Bool {
        switch Unicode.Scalar(self) {
        case "!", "#", "$", "%", "&", "'", "*", "+", "/", "=", "?", "^", "_", "`", "{", "|", "}", "~", "-": true
        default: isAlphanumeric
        }
    }

    /// `pchar` of RFC 3986 §3.3, without the percent sign.
    fileprivate var isURICharacter: Bool {
        switch Unicode.Scalar(self) {
        case ".", "_", "~", "-", "!", "$", "&", "'", "(", ")", "*", "+", ",", ";", "=", ":", "@": true
        default: isAlphanumeric
        }
    }
}
