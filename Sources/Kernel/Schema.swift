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
