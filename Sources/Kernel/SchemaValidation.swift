/// One thing that is wrong with a value.
package struct FieldError: Error, Sendable, Hashable {
    /// Where, as an RFC 6901 pointer such as `/settings/temperature`; empty for the whole value.
    package let pointer: String
    /// Stable, for programs.
    ///
    /// Schemas say `required`, `unknown_field`, `type`, `too_short`, `too_long`, `out_of_range`,
    /// `format`, `not_allowed`, `too_many`, `too_few` and `too_large`.
    package let code: String
    /// For people, without the value and with the field as the subject: "must be a boolean, got a string".
    package let detail: String

    package init(pointer: String, code: String, detail: String) {
        self.pointer = pointer
        self.code = code
        self.detail = detail
    }

    /// The pointer to a member, of the whole value or of what `base` points to.
    ///
    /// - Parameter key: Shown in part if it has more than 64 code points.
    package static func pointer(to key: String, in base: String = "") -> String {
        var token = ""
        for (index, scalar) in key.unicodeScalars.enumerated() {
            guard index < 64 else {
                token.unicodeScalars.append("…")
                break
            }
            switch scalar {
            case "~": token += "~0"
            case "/": token += "~1"
            default: token.unicodeScalars.append(scalar)
            }
        }
        return "\(base)/\(token)"
    }
}

extension Schema {
    /// Who wrote the value: members that the server sets are refused in a request.
    package enum Transfer: Sendable, Hashable {
        case request
        case response
    }

    /// Everything that is wrong with a value, at most 100 things.
    ///
    /// - Parameter pointer: Where the value stands in what the caller sent.
    package func validate(_ value: JSON, at pointer: String = "", as direction: Transfer = .request) -> [FieldError] {
        var validator = Validator(base: pointer, direction: direction)
        validator.check(value, self)
        return validator.errors
    }

    /// Reads the text of a query parameter, path segment or form field as the schema asks, and validates it.
    ///
    /// Numbers and booleans are read as in JSON, everything else as a string; arrays and objects cannot be written.
    ///
    /// - Returns: The value when there are no errors. A number without a fraction is an `integer` where one is asked for.
    package func validate(
        text: String,
        at pointer: String,
        as direction: Transfer = .request
    ) -> (value: JSON?, errors: [FieldError]) {
        switch form {
        case .named(_, let schema): return schema.validate(text: text, at: pointer, as: direction)
        case .nullable(let schema):
            let result = schema.validate(text: text, at: pointer, as: direction)
            return result.value == nil && text == "null" ? (.null, []) : result
        case .oneOf(let schemas):
            for schema in schemas {
                let result = schema.validate(text: text, at: pointer, as: direction)
                if result.value != nil { return result }
            }
            return (nil, validate(.string(text), at: pointer, as: direction))
        default: break
        }
        var value = JSON.string(text)
        switch form {
        case .integer: value = Self.numberOrBoolean(text).map { $0.int.map(JSON.integer) ?? $0 } ?? value
        case .number, .boolean: value = Self.numberOrBoolean(text) ?? value
        case .constant(let constant) where constant.string == nil: value = Self.numberOrBoolean(text) ?? value
        default: break
        }
        let errors = validate(value, at: pointer, as: direction)
        return (errors.isEmpty ? value : nil, errors)
    }

    private static func numberOrBoolean(_ text: String) -> JSON? {
        // JSON allows white space around a value, a parameter does not.
        guard text.utf8.first.map({ $0 > 0x20 }) == true, text.utf8.last.map({ $0 > 0x20 }) == true,
            let value = try? JSON(parsing: text, limits: JSONLimits(depth: 0))
        else { return nil }
        return value.double != nil || value.bool != nil ? value : nil
    }
}

// MARK: - The validator

private struct Validator {
    static let mostErrors = 100

    enum Code: String {
        case required, type, format
        case unknownField = "unknown_field"
        case tooShort = "too_short"
        case tooLong = "too_long"
        case outOfRange = "out_of_range"
        case notAllowed = "not_allowed"
        case tooMany = "too_many"
        case tooFew = "too_few"
        case tooLarge = "too_large"
    }

    enum PathStep {
        case key(String)
        case index(Int)
    }

    let base: String
    let direction: Schema.Transfer
    var path: [PathStep] = []
    var errors: [FieldError] = []

    init(base: String, direction: Schema.Transfer) {
        self.base = base
        self.direction = direction
    }

    var isFull: Bool { errors.count >= Self.mostErrors }

    mutating func fail(_ code: Code, _ detail: String) {
        guard !isFull else { return }
        var pointer = base
        for step in path {
            switch step {
            case .key(let key): pointer = FieldError.pointer(to: key, in: pointer)
            case .index(let index): pointer += "/\(index)"
            }
        }
        errors.append(FieldError(pointer: pointer, code: code.rawValue, detail: detail))
    }

    mutating func inside(_ step: PathStep, _ body: (inout Self) -> Void) {
        guard !isFull else { return }
        path.append(step)
        body(&self)
        path.removeLast()
    }

    mutating func check(_ value: JSON, _ schema: Schema) {
        guard !isFull else { return }
        switch (schema.form, value) {
        case (.string(let rule), .string(let text)): check(text, rule)
        case (.choice(let values), .string(let text)):
            if !values.contains(where: { ExactText($0) == ExactText(text) }) {
                fail(.notAllowed, "must be \(schema.expectation)")
            }
        case (.integer(let range), .integer(let number)):
            if !range.contains(number) { fail(.outOfRange, "must be \(schema.expectation)") }
        case (.integer(let range), .number(let number)):
            if let integer = JSON.integer(number) {
                if !range.contains(integer) { fail(.outOfRange, "must be \(schema.expectation)") }
            } else if number == number.rounded(), number.isFinite {
                fail(.outOfRange, "must be \(schema.expectation)")
            } else {
                fail(.type, "must be \(schema.expectation), got a number with a fraction")
            }
        case (.number(let range), .integer(let number)):
            if !range.contains(exactly: number) { fail(.outOfRange, "must be \(schema.expectation)") }
        case (.number(let range), .number(let number)):
            if !range.contains(number) { fail(.outOfRange, "must be \(schema.expectation)") }
        case (.boolean, .bool): break
        case (.array(let element, let count), .array(let elements)):
            check(elements.count, count, "item")
            for (index, value) in elements.enumerated() {
                if isFull { return }
                inside(.index(index)) { $0.check(value, element) }
            }
        case (.object(let properties), .object(let members)): check(members, properties)
        case (.map(let schema, let keys, let count), .object(let members)):
            check(members.count, count, "entry", "entries")
            for (key, value) in members {
                if isFull { return }
                inside(.key(key)) {
                    if let (_, detail) = keys.problem(in: key) { $0.fail(.notAllowed, "has a key that \(detail)") }
                    $0.check(value, schema)
                }
            }
        case (.anyObject(let maxBytes), .object):
            if value.bytes.count > maxBytes { fail(.tooLarge, "must be at most \(maxBytes) bytes as JSON") }
            checkFree(value)
        case (.any, _): checkFree(value)
        case (.nullable, .null): break
        case (.nullable(let schema), _): check(value, schema)
        case (.named(_, let schema), _): check(value, schema)
        case (.oneOf(let schemas), _): check(value, oneOf: schemas)
        case (.constant(let constant), _):
            if value != constant { fail(.notAllowed, "must be \(schema.expectation)") }
        case (.string, _), (.choice, _), (.integer, _), (.number, _), (.boolean, _), (.array, _), (.object, _),
            (.map, _), (.anyObject, _):
            fail(.type, "must be \(schema.expectation), got \(value.kind)")
        }
    }

    private mutating func check(_ text: String, _ rule: Schema.StringRule) {
        if let (code, detail) = rule.problem(in: text) { fail(code, detail) }
    }

    private mutating func check(_ number: Int, _ range: ClosedRange<Int>, _ noun: String, _ plural: String? = nil) {
        if number < range.lowerBound {
            fail(.tooFew, "must have at least \(counted(range.lowerBound, noun, plural)), got \(number)")
        } else if number > range.upperBound {
            fail(.tooMany, "must have at most \(counted(range.upperBound, noun, plural)), got \(number)")
        }
    }

    private mutating func check(_ members: JSONObject, _ properties: [Schema.Property]) {
        var known = 0
        for property in properties {
            let value = members[property.name]
            if value != nil { known += 1 }
            inside(.key(property.name)) {
                switch (value, property.isReadOnly && $0.direction == .request) {
                case (_?, true): $0.fail(.notAllowed, "is set by the server")
                case (let value?, false): $0.check(value, property.schema)
                case (nil, _): if property.isRequired { $0.fail(.required, "is required") }
                }
            }
        }
        guard known < members.count else { return }
        for (key, _) in members where !properties.contains(where: { ExactText($0.name) == ExactText(key) }) {
            if isFull { return }
            inside(.key(key)) { $0.fail(.unknownField, "is not a known field") }
        }
    }

    /// Values that this process made itself may hold what the parser refuses.
    private mutating func checkFree(_ value: JSON) {
        switch value {
        case .null, .bool, .integer: break
        case .number(let number): if !number.isFinite { fail(.type, "must be a finite number") }
        case .string(let text): check(text, Schema.freeText)
        case .array(let elements):
            for (index, element) in elements.enumerated() {
                if isFull { return }
                inside(.index(index)) { $0.checkFree(element) }
            }
        case .object(let members):
            for (key, member) in members {
                if isFull { return }
                inside(.key(key)) {
                    if let (_, detail) = Schema.freeText.problem(in: key) {
                        $0.fail(.notAllowed, "has a key that \(detail)")
                    }
                    $0.checkFree(member)
                }
            }
        }
    }

    private mutating func check(_ value: JSON, oneOf schemas: [Schema]) {
        let results = schemas.map { schema in
            var validator = Validator(base: base, direction: direction)
            validator.path = path
            validator.check(value, schema)
            return (schema: schema, errors: validator.errors)
        }
        let fitting = results.count { $0.errors.isEmpty }
        if fitting == 1 { return }
        guard fitting == 0 else { return fail(.notAllowed, "fits more than one of the allowed forms") }

        // Say what is wrong with the form that was meant: the one whose constant members agree, or whose type does.
        let meant = results.filter { $0.schema.isMeant(by: value) }
        if let closest = meant.min(by: { $0.errors.count < $1.errors.count }) {
            errors += closest.errors.prefix(Self.mostErrors - errors.count)
        } else {
            let expectations = schemas.map(\.expectation).joined(separator: ", or ")
            let tags = schemas.compactMap { $0.tag(of: value) }
            if let (name, _) = tags.first, tags.allSatisfy({ $0.name == name }) {
                let constants = listed(tags.map(\.constant))
                inside(.key(name)) {
                    if value[name] == nil {
                        $0.fail(.required, "is required")
                    } else {
                        $0.fail(.notAllowed, "must be \(constants)")
                    }
                }
            } else {
                fail(.type, "must be \(expectations), got \(value.kind)")
            }
        }
    }
}

// MARK: - One of several forms

extension Schema {
    /// The schema under names and nullability.
    private var bare: Schema {
        switch form {
        case .named(_, let schema), .nullable(let schema): schema.bare
        default: self
        }
    }

    /// The first member with a fixed value, which tells this object from others; nil unless `value` is an object.
    fileprivate func tag(of value: JSON) -> (name: String, constant: JSON)? {
        guard value.object != nil, case .object(let properties) = bare.form else { return nil }
        for property in properties {
            if case .constant(let constant) = property.schema.bare.form { return (property.name, constant) }
        }
        return nil
    }

    fileprivate func isMeant(by value: JSON) -> Bool {
        if let (name, constant) = tag(of: value) { return value[name] == constant }
        return switch (bare.form, value) {
        case (.string, .string), (.choice, .string), (.boolean, .bool), (.array, .array), (.object, .object),
            (.map, .object), (.anyObject, .object), (.any, _), (.oneOf, _), (.integer, .integer), (.integer, .number),
            (.number, .integer), (.number, .number):
            true
        default: false
        }
    }
}

// MARK: - Strings

extension Schema.StringRule {
    /// What is wrong with a string, if anything; `pattern` is the same rule for others.
    fileprivate func problem(in text: String) -> (Validator.Code, String)? {
        var count = 0
        var hasNull = false
        for byte in text.utf8 {
            if byte & 0xC0 != 0x80 { count += 1 }
            if byte == 0 { hasNull = true }
        }
        if count > length.upperBound {
            return (.tooLong, "must have at most \(counted(length.upperBound, "character")), got \(count)")
        }
        if let format, !format.matches(text) { return (.format, "must be \(format.expectation)") }
        if count < length.lowerBound {
            return (.tooShort, "must have at least \(counted(length.lowerBound, "character")), got \(count)")
        }
        if hasNull { return (.format, "must not contain the character U+0000") }
        if options.contains(.singleLine), text.unicodeScalars.contains(where: \.breaksLineOrControls) {
            return (.format, "must be a single line without control characters")
        }
        if options.contains(.notBlank), text.unicodeScalars.allSatisfy(\.isBlank) {
            return (.format, "must not be blank")
        }
        return nil
    }

    fileprivate var expectation: String {
        if let format { return format.expectation }
        return "a string of \(counted(length, "character"))"
    }
}

extension Unicode.Scalar {
    fileprivate var breaksLineOrControls: Bool {
        switch value {
        case 0x00...0x1F, 0x7F...0x9F, 0x2028, 0x2029: true
        default: false
        }
    }

    fileprivate var isBlank: Bool {
        switch value {
        case 0x09...0x0D, 0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF:
            true
        default: false
        }
    }
}

extension ClosedRange<Double> {
    /// Whether the range contains an integer, which may have more digits than a `Double` holds.
    fileprivate func contains(exactly number: Int64) -> Bool {
        if number.magnitude <= 1 << 53 { return contains(Double(number)) }
        // An end outside the range of Int64 lies beyond every integer.
        let isAbove = Int64(exactly: lowerBound.rounded(.up)).map { number >= $0 } ?? (lowerBound < 0)
        let isBelow = Int64(exactly: upperBound.rounded(.down)).map { number <= $0 } ?? (upperBound > 0)
        return isAbove && isBelow
    }
}

// MARK: - Words

extension Schema {
    /// What a value must be, to follow "must be".
    fileprivate var expectation: String {
        switch form {
        case .string(let rule): rule.expectation
        case .choice(let values): listed(values.map(JSON.string))
        case .integer(let range): range == .min ... .max ? "an integer" : "an integer" + spanned(range)
        case .number(let range):
            range == -Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude
                ? "a number" : "a number" + spanned(range)
        case .boolean: "a boolean"
        case .array(_, let count): "a list of \(counted(count, "item"))"
        case .object, .map, .anyObject: "an object"
        case .any: "a JSON value"
        case .nullable(let schema): "\(schema.expectation), or null"
        case .named(_, let schema): schema.expectation
        case .oneOf(let schemas): schemas.map(\.expectation).joined(separator: ", or ")
        case .constant(let value): listed([value])
        }
    }
}

extension JSON {
    fileprivate var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .integer, .number: "a number"
        case .string: "a string"
        case .array: "a list"
        case .object: "an object"
        }
    }
}

private func listed(_ values: [JSON]) -> String {
    let shown = values.prefix(12).map { $0.string ?? $0.text }
    let list = shown.joined(separator: ", ") + (values.count > shown.count ? ", …" : "")
    return values.count == 1 ? list : "one of \(list)"
}

private func counted(_ count: Int, _ noun: String, _ plural: String? = nil) -> String {
    count == 1 ? "1 \(noun)" : "\(count) \(plural ?? noun + "s")"
}

private func counted(_ range: ClosedRange<Int>, _ noun: String) -> String {
    if range.lowerBound == range.upperBound { return counted(range.lowerBound, noun) }
    if range.upperBound == Int.max { return "at least \(counted(range.lowerBound, noun))" }
    return "\(range.lowerBound) to \(counted(range.upperBound, noun))"
}

private func spanned<Bound>(_ range: ClosedRange<Bound>) -> String {
    " from \(range.lowerBound) to \(range.upperBound)"
}
