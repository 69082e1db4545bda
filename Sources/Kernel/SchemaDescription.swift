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
