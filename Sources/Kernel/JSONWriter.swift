/// Writes JSON text as UTF-8 bytes, without a tree in between.
///
/// Commas and colons are its business, correct nesting is the caller's: every `begin…` has its `end…`, and inside an
/// object each value follows a key. Literal keys need no escaping. Only what RFC 8259 §7 demands is escaped.
package struct JSONWriter: Sendable {
    package private(set) var bytes: [UInt8] = []
    private var needsComma = false

    package init() {}

    package init(reservingCapacity count: Int) { bytes.reserveCapacity(count) }

    package mutating func reserveCapacity(_ count: Int) { bytes.reserveCapacity(count) }

    // MARK: Structure

    package mutating func beginObject() { begin(.openBrace) }
    package mutating func endObject() { end(.closeBrace) }
    package mutating func beginArray() { begin(.openBracket) }
    package mutating func endArray() { end(.closeBracket) }

    package mutating func key(_ name: StaticString) {
        separate()
        bytes.append(.quote)
        name.withUTF8Buffer { name in
            assert(name.firstByteToEscape(from: 0) == name.count)
            bytes.append(contentsOf: name)
        }
        bytes.append(.quote)
        bytes.append(.colon)
        needsComma = false
    }

    @_disfavoredOverload  // so that a literal takes the overload above
    package mutating func key(_ name: String) {
        separate()
        quote(name)
        bytes.append(.colon)
        needsComma = false
    }

    /// Writes a key that is already encoded, with its quotes and its colon.
    package mutating func key(encoded key: [UInt8]) {
        separate()
        bytes.append(contentsOf: key)
        needsComma = false
    }

    /// Writes one member of an object.
    package mutating func member(_ name: StaticString, _ value: some FieldValue) {
        key(name)
        value.write(to: &self)
    }

    private mutating func begin(_ bracket: UInt8) {
        separate()
        bytes.append(bracket)
        needsComma = false
    }

    private mutating func end(_ bracket: UInt8) {
        bytes.append(bracket)
        needsComma = true
    }

    private mutating func separate() {
        if needsComma { bytes.append(.comma) }
        needsComma = true
    }

    // MARK: Values

    package mutating func value(_ text: String) {
        separate()
        quote(text)
    }

    /// Writes a string from its bytes.
    ///
    /// - Parameter utf8: Must be valid UTF-8, as the result is otherwise no JSON.
    package mutating func value(utf8: UnsafeBufferPointer<UInt8>) {
        separate()
        quote(utf8)
    }

    package mutating func value(_ number: Int64) {
        separate()
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            var position = digits.count
            var rest = number.magnitude
            repeat {
                position -= 1
                digits[position] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            } while rest > 0
            if number < 0 {
                position -= 1
                digits[position] = .minus
            }
            bytes.append(contentsOf: UnsafeBufferPointer(rebasing: digits[position...]))
        }
    }

    package mutating func value<Entity>(_ id: ID<Entity>) {
        separate()
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 38) { text in
            text.initialize(repeating: .quote)
            id.write(into: UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(text)[1...]))
            bytes.append(contentsOf: text)
        }
    }

    package mutating func value<Entity>(_ id: ID<Entity>?) {
        if let id { value(id) } else { null() }
    }

    package mutating func value(_ moment: Timestamp) {
        separate()
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 26) { text in
            text.initialize(repeating: .quote)
            moment.write(into: UnsafeMutableBufferPointer(rebasing: text[1...]))
            bytes.append(contentsOf: text)
        }
    }

    package mutating func value(_ moment: Timestamp?) {
        if let moment { value(moment) } else { null() }
    }

    package mutating func value(_ number: Int) { value(Int64(number)) }

    /// Writes the shortest text that reads back as the same number; infinities and NaN, which JSON lacks, as null.
    package mutating func value(_ number: Double) {
        guard number.isFinite else { return null() }
        separate()
        append(number.description)
    }

    package mutating func value(_ flag: Bool) {
        separate()
        append(flag ? "true" : "false")
    }

    package mutating func null() {
        separate()
        append("null")
    }

    package mutating func value(_ json: JSON) {
        switch json {
        case .null: null()
        case .bool(let flag): value(flag)
        case .integer(let number): value(number)
        case .number(let number): value(number)
        case .string(let text): value(text)
        case .array(let elements):
            beginArray()
            for element in elements { value(element) }
            endArray()
        case .object(let members):
            beginObject()
            for (name, member) in members {
                key(name)
                value(member)
            }
            endObject()
        }
    }

    package mutating func value(_ text: String?) {
        if let text { value(text) } else { null() }
    }

    package mutating func value(_ number: Int64?) {
        if let number { value(number) } else { null() }
    }

    /// Writes one JSON value that is already encoded, as it stands.
    package mutating func raw(_ json: UnsafeBufferPointer<UInt8>) {
        separate()
        bytes.append(contentsOf: json)
    }

    package mutating func raw(_ json: [UInt8]) {
        separate()
        bytes.append(contentsOf: json)
    }

    package mutating func raw(_ json: String) {
        separate()
        append(json)
    }

    /// Writes a value so that equal values have equal texts.
    mutating func sorted(_ json: JSON) {
        switch json {
        case .null, .bool, .integer, .string: value(json)
        case .number(let number):
            if let integer = JSON.integer(number) { value(integer) } else { value(number) }
        case .array(let elements):
            beginArray()
            for element in elements { sorted(element) }
            endArray()
        case .object(let members):
            beginObject()
            // The order of UTF-8 bytes is the order of code points.
            for (name, member) in members.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
                key(name)
                sorted(member)
            }
            endObject()
        }
    }

    // MARK: Strings

    private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }

    private mutating func quote(_ text: String) {
        if text.utf8.withContiguousStorageIfAvailable({ quote($0) }) == nil {
            Array(text.utf8).withUnsafeBufferPointer { quote($0) }
        }
    }

    private mutating func quote(_ utf8: UnsafeBufferPointer<UInt8>) {
        bytes.append(.quote)
        var start = 0
        while start < utf8.count {
            let stop = utf8.firstByteToEscape(from: start)
            bytes.append(contentsOf: UnsafeBufferPointer(rebasing: utf8[start..<stop]))
            if stop < utf8.count { escape(utf8[stop]) }
            start = stop + 1
        }
        bytes.append(.quote)
    }

    private mutating func escape(_ byte: UInt8) {
        bytes.append(.backslash)
        switch byte {
        case .quote, .backslash: bytes.append(byte)
        case 0x08: bytes.append(UInt8(ascii: "b"))
        case 0x09: bytes.append(UInt8(ascii: "t"))
        case 0x0A: bytes.append(UInt8(ascii: "n"))
        case 0x0C: bytes.append(UInt8(ascii: "f"))
        case 0x0D: bytes.append(UInt8(ascii: "r"))
        default:
            append(byte < 0x10 ? "u000" : "u001")
            let digit = byte & 0x0F
            bytes.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
        }
    }
}

// MARK: - Bytes

extension UInt8 {
    static let quote = UInt8(ascii: "\"")
    static let backslash = UInt8(ascii: "\\")
    static let comma = UInt8(ascii: ",")
    static let colon = UInt8(ascii: ":")
    static let minus = UInt8(ascii: "-")
    static let openBrace = UInt8(ascii: "{")
    static let closeBrace = UInt8(ascii: "}")
    static let openBracket = UInt8(ascii: "[")
    static let closeBracket = UInt8(ascii: "]")
}

/// Eight bytes of a string, looked at together.
struct EightBytes {
    static let highBits: UInt64 = 0x8080_8080_8080_8080
    private static let ones: UInt64 = 0x0101_0101_0101_0101

    /// The first byte is the least significant one.
    let word: UInt64

    /// - Parameter offset: At most `bytes.count - 8`.
    init(_ bytes: UnsafeBufferPointer<UInt8>, at offset: Int) {
        word = UInt64(
            littleEndian: UnsafeRawBufferPointer(bytes).loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        )
    }

    /// The high bit of each byte that is below 0x20, a quote or a backslash.
    ///
    /// Exact for the lowest such byte, which is all that is asked of it. Source: "Determine if a word has a byte less than n", Anderson, Bit Twiddling Hacks.
    var escapes: UInt64 {
        let controls = (word &- Self.ones &* 0x20) & ~word
        let quotes = word ^ (Self.ones &* UInt64(UInt8.quote))
        let backslashes = word ^ (Self.ones &* UInt64(UInt8.backslash))
        let isQuote = (quotes &- Self.ones) & ~quotes
        let isBackslash = (backslashes &- Self.ones) & ~backslashes
        return (controls | isQuote | isBackslash) & Self.highBits
    }
}

extension UnsafeBufferPointer<UInt8> {
    /// The offset of the first byte at or after `start` that a JSON string must escape, or `count`.
    func firstByteToEscape(from start: Int) -> Int {
        var position = start
        while count - position >= 8 {
            let escapes = EightBytes(self, at: position).escapes
            if escapes != 0 { return position + escapes.trailingZeroBitCount / 8 }
            position += 8
        }
        while position < count {
            let byte = self[position]
            if byte < 0x20 || byte == .quote || byte == .backslash { return position }
            position += 1
        }
        return count
    }
}
