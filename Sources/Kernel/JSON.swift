/// A JSON value.
///
/// Numbers without a fraction that fit are `integer`, so amounts and counts stay exact; all others are `number`.
/// Equality is that of JSON Schema: `1` and `1.0` are equal, the order of an object's keys does not count, and strings
/// are equal only when their code points are (Swift's own `==` also accepts canonically equivalent ones).
package enum JSON: Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    case number(Double)
    case string(String)
    case array([JSON])
    case object(JSONObject)
}

// MARK: - Looking inside

extension JSON {
    package var isNull: Bool {
        if case .null = self { true } else { false }
    }

    package var bool: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }

    /// The value of an integer, or of a number that is exactly one (`2.0`).
    package var int: Int64? {
        switch self {
        case .integer(let value): value
        case .number(let value): Self.integer(value)
        default: nil
        }
    }

    /// A number as an integer if it is one.
    ///
    /// -2⁶³ is none: every number a little below it is rounded to it, and those do not fit.
    static func integer(_ number: Double) -> Int64? { number > -0x1p63 ? Int64(exactly: number) : nil }

    /// The value of any number, rounded to the nearest `Double` where an integer has more than 53 bits.
    package var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }

    package var string: String? {
        if case .string(let value) = self { value } else { nil }
    }

    package var array: [JSON]? {
        if case .array(let value) = self { value } else { nil }
    }

    package var object: JSONObject? {
        if case .object(let value) = self { value } else { nil }
    }

    /// The value under a key; nil when this is no object or has no such key.
    package subscript(_ key: String) -> JSON? {
        if case .object(let value) = self { value[key] } else { nil }
    }
}

// MARK: - Text

extension JSON {
    /// The compact encoding, keys in their order.
    package var text: String { String(decoding: bytes, as: UTF8.self) }

    /// The compact encoding as UTF-8, keys in their order.
    package var bytes: [UInt8] {
        var writer = JSONWriter()
        writer.value(self)
        return writer.bytes
    }

    /// One text for all equal values, for hashing: keys sorted by code point, `2.0` written as `2`.
    package var sortedText: String {
        var writer = JSONWriter()
        writer.sorted(self)
        return String(decoding: writer.bytes, as: UTF8.self)
    }
}

// MARK: - Equality

extension JSON: Hashable {
    package static func == (left: JSON, right: JSON) -> Bool {
        switch (left, right) {
        case (.null, .null): true
        case (.bool(let left), .bool(let right)): left == right
        case (.integer(let left), .integer(let right)): left == right
        case (.number(let left), .number(let right)): left == right
        case (.integer(let integer), .number(let number)), (.number(let number), .integer(let integer)):
            Self.integer(number) == integer
        case (.string(let left), .string(let right)): ExactText(left) == ExactText(right)
        case (.array(let left), .array(let right)): left == right
        case (.object(let left), .object(let right)): left == right
        default: false
        }
    }

    package func hash(into hasher: inout Hasher) {
        switch self {
        case .null: hasher.combine(0)
        case .bool(let value): hasher.combine(value)
        case .integer(let value): hasher.combine(value)
        case .number(let value):
            if let integer = Self.integer(value) { hasher.combine(integer) } else { hasher.combine(value) }
        case .string(let value): hasher.combine(value)
        case .array(let value): hasher.combine(value)
        case .object(let value): hasher.combine(value)
        }
    }
}

/// Text that is equal to other text only when it has the same code points.
struct ExactText: Hashable {
    let text: String

    init(_ text: String) { self.text = text }

    static func == (left: ExactText, right: ExactText) -> Bool {
        // The first comparison is cheap and settles nearly every case; it is also true for equivalent spellings.
        left.text == right.text && left.text.utf8.elementsEqual(right.text.utf8)
    }

    func hash(into hasher: inout Hasher) { hasher.combine(text) }
}

// MARK: - Literals

// There is no nil literal: `found ? json : nil` as a `JSON?` would then be the value null. Write `.null`.
extension JSON: ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByStringInterpolation, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(integerLiteral value: Int64) { self = .integer(value) }
    package init(floatLiteral value: Double) { self = .number(value) }
    package init(stringLiteral value: String) { self = .string(value) }
    package init(arrayLiteral elements: JSON...) { self = .array(elements) }

    /// The last of several equal keys wins.
    package init(dictionaryLiteral elements: (String, JSON)...) { self = .object(JSONObject(elements)) }
}

// MARK: - Objects

/// The members of a JSON object, in the order in which they were added.
///
/// Keys are compared by code point, as RFC 8259 §8.3 advises. Up to 16 members are searched one by one, more
/// through an index. Removing a member takes time proportional to their number.
package struct JSONObject: Sendable {
    package typealias Element = (key: String, value: JSON)

    private static let largestWithoutIndex = 16

    private var members: [Element] = []
    /// Where each key is; empty while there are few members.
    private var index: [ExactText: Int] = [:]

    package init() {}

    /// The last of several equal keys wins and keeps the place of the first.
    package init(_ members: some Sequence<(String, JSON)>) {
        for (key, value) in members { self[key] = value }
    }

    package subscript(_ key: String) -> JSON? {
        get { position(of: key).map { members[$0].value } }
        set {
            switch (position(of: key), newValue) {
            case (let position?, let value?): members[position].value = value
            case (let position?, nil):
                members.remove(at: position)
                index = [:]
                indexIfLarge()
            case (nil, let value?): add(key, value)
            case (nil, nil): break
            }
        }
    }

    package var keys: [String] { members.map(\.key) }

    /// Adds a member at the end, unless there is one with this key.
    ///
    /// - Returns: Whether the member was added.
    package mutating func addIfAbsent(_ key: String, _ value: JSON) -> Bool {
        guard position(of: key) == nil else { return false }
        add(key, value)
        return true
    }

    package mutating func reserveCapacity(_ count: Int) { members.reserveCapacity(count) }

    private mutating func add(_ key: String, _ value: JSON) {
        members.append((key, value))
        if index.isEmpty { indexIfLarge() } else { index[ExactText(key)] = members.count - 1 }
    }

    private mutating func indexIfLarge() {
        guard members.count > Self.largestWithoutIndex else { return }
        index.reserveCapacity(members.count * 2)
        for (position, member) in members.enumerated() { index[ExactText(member.key)] = position }
    }

    private func position(of key: String) -> Int? {
        if index.isEmpty {
            members.firstIndex { ExactText($0.key) == ExactText(key) }
        } else {
            index[ExactText(key)]
        }
    }
}

extension JSONObject: RandomAccessCollection {
    package var startIndex: Int { 0 }
    package var endIndex: Int { members.count }
    package subscript(position: Int) -> Element { members[position] }
}

extension JSONObject: Hashable {
    package static func == (left: JSONObject, right: JSONObject) -> Bool {
        left.count == right.count && left.members.allSatisfy { right[$0.key] == $0.value }
    }

    package func hash(into hasher: inout Hasher) {
        var sum = 0
        for (key, value) in members {
            var member = Hasher()
            member.combine(key)
            member.combine(value)
            sum &+= member.finalize()
        }
        hasher.combine(members.count)
        hasher.combine(sum)
    }
}

extension JSONObject: ExpressibleByDictionaryLiteral {
    /// The last of several equal keys wins.
    package init(dictionaryLiteral elements: (String, JSON)...) { self.init(elements) }
}
