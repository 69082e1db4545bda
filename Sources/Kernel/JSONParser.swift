/// What a JSON text may cost.
package struct JSONLimits: Sendable, Hashable {
    /// How deep arrays and objects may be nested, at most 512 because the reader calls itself for each.
    package var depth: Int
    /// How many values there may be in all, containers included.
    package var values: Int

    package init(depth: Int = 64, values: Int = 100_000) {
        self.depth = min(max(depth, 0), 512)
        self.values = max(values, 0)
    }

    package static let standard = JSONLimits()
}

/// Why a text is not accepted as JSON, and where.
///
/// Shows nothing of the text but the beginning of a duplicate key.
package struct JSONError: Error, Sendable, Hashable, CustomStringConvertible {
    package enum Reason: Sendable, Hashable {
        /// There is nothing but white space.
        case empty
        case unexpectedEnd
        /// A byte that cannot stand here; the text says what could.
        case expected(String)
        case trailingText
        case invalidUTF8
        case invalidEscape
        case loneSurrogate
        /// U+0000, which PostgreSQL cannot store.
        case nullCharacter
        case controlCharacter
        case invalidNumber
        case numberOutOfRange
        /// The first characters of the key.
        case duplicateKey(String)
        case tooDeep(limit: Int)
        case tooManyValues(limit: Int)
    }

    package let reason: Reason
    /// Bytes from the beginning of the text.
    package let offset: Int
    /// From 1.
    package let line: Int
    /// In code points, from 1.
    package let column: Int

    package var description: String { "line \(line), column \(column): \(reason.description)" }
}

extension JSONError.Reason: CustomStringConvertible {
    package var description: String {
        switch self {
        case .empty: "there is no JSON value"
        case .unexpectedEnd: "the text ends too early"
        case .expected(let what): "expected \(what)"
        case .trailingText: "there is more text after the end of the value"
        case .invalidUTF8: "the text is not valid UTF-8"
        case .invalidEscape: "invalid escape sequence"
        case .loneSurrogate: "half of a surrogate pair"
        case .nullCharacter: "the character U+0000 is not supported"
        case .controlCharacter: "a control character in a string must be escaped"
        case .invalidNumber: "invalid number"
        case .numberOutOfRange: "number out of range"
        case .duplicateKey(let key): "duplicate key \(JSON.string(key).text)"
        case .tooDeep(let limit): "nested more than \(limit) levels deep"
        case .tooManyValues(let limit): "more than \(limit) values"
        }
    }
}

extension JSON {
    /// Reads one JSON text, strictly as RFC 8259 defines it.
    ///
    /// Beyond its grammar, duplicate keys, halves of surrogate pairs, U+0000 and numbers that no `Double` can hold are
    /// errors. Integers outside the range of `Int64` become the nearest `number`.
    package init(parsing utf8: UnsafeBufferPointer<UInt8>, limits: JSONLimits = .standard) throws(JSONError) {
        var parser = JSONParser(input: utf8, limits: limits)
        self = try parser.document()
    }

    package init(parsing utf8: some Collection<UInt8>, limits: JSONLimits = .standard) throws(JSONError) {
        func parse(_ buffer: UnsafeBufferPointer<UInt8>) -> Result<JSON, JSONError> {
            Result { () throws(JSONError) in try JSON(parsing: buffer, limits: limits) }
        }
        let result = utf8.withContiguousStorageIfAvailable(parse) ?? Array(utf8).withUnsafeBufferPointer(parse)
        self = try result.get()
    }

    package init(parsing text: some StringProtocol, limits: JSONLimits = .standard) throws(JSONError) {
        try self.init(parsing: text.utf8, limits: limits)
    }
}

// MARK: - The parser

private struct JSONParser {
    let input: UnsafeBufferPointer<UInt8>
    let limits: JSONLimits
    var position = 0
    var values = 0
    /// The bytes of the string that is being read, when it has escapes.
    var unescaped: [UInt8] = []

    init(input: UnsafeBufferPointer<UInt8>, limits: JSONLimits) {
        self.input = input
        self.limits = limits
    }

    mutating func document() throws(JSONError) -> JSON {
        skipWhitespace()
        guard position < input.count else { throw error(.empty) }
        let value = try value(depth: 0)
        skipWhitespace()
        guard position == input.count else { throw error(.trailingText) }
        return value
    }

    /// Reads the value whose first byte is at `position`.
    private mutating func value(depth: Int) throws(JSONError) -> JSON {
        values += 1
        guard values <= limits.values else { throw error(.tooManyValues(limit: limits.values)) }
        guard let byte = peek() else { throw error(.unexpectedEnd) }
        switch byte {
        case .quote:
            position += 1
            return .string(try string())
        case .openBrace: return .object(try object(depth: depth + 1))
        case .openBracket: return .array(try array(depth: depth + 1))
        case .minus, .digitZero ... .digitNine: return try number()
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: throw error(.expected("a value"))
        }
    }

    private mutating func object(depth: Int) throws(JSONError) -> JSONObject {
        guard depth <= limits.depth else { throw error(.tooDeep(limit: limits.depth)) }
        position += 1
        skipWhitespace()
        var object = JSONObject()
        if skip(.closeBrace) { return object }
        while true {
            let start = position
            guard skip(.quote) else { throw expected("a key in quotes") }
            let key = try string()
            skipWhitespace()
            guard skip(.colon) else { throw expected("\":\"") }
            skipWhitespace()
            let value = try value(depth: depth)
            guard object.addIfAbsent(key, value) else {
                throw error(.duplicateKey(shortened(key)), at: start)
            }
            skipWhitespace()
            if skip(.closeBrace) { return object }
            guard skip(.comma) else { throw expected("\",\" or \"}\"") }
            skipWhitespace()
        }
    }

    private mutating func array(depth: Int) throws(JSONError) -> [JSON] {
        guard depth <= limits.depth else { throw error(.tooDeep(limit: limits.depth)) }
        position += 1
        skipWhitespace()
        var array: [JSON] = []
        if skip(.closeBracket) { return array }
        while true {
            array.append(try value(depth: depth))
            skipWhitespace()
            if skip(.closeBracket) { return array }
            guard skip(.comma) else { throw expected("\",\" or \"]\"") }
            skipWhitespace()
        }
    }

    private mutating func word(_ word: StaticString, _ value: JSON) throws(JSONError) -> JSON {
        let start = position
        let matches = word.withUTF8Buffer { word in
            input.count - start >= word.count && word.elementsEqual(input[start..<start + word.count])
        }
        guard matches else { throw error(.expected("a value")) }
        position += word.utf8CodeUnitCount
        return value
    }

    // MARK: Numbers

    private mutating func number() throws(JSONError) -> JSON {
        let start = position
        let isNegative = skip(.minus)
        var decimal = DecimalDigits()

        switch peek() {
        case .digitZero?:
            position += 1
            if let byte = peek(), byte.isDigit { throw error(.invalidNumber, at: start) }
        case .some(let byte) where byte.isDigit: digits { decimal.append($0, isFraction: false) }
        case nil: throw error(.unexpectedEnd)
        default: throw error(.invalidNumber, at: start)
        }

        var isInteger = true
        if skip(UInt8(ascii: ".")) {
            isInteger = false
            try requireDigit(from: start)
            digits { decimal.append($0, isFraction: true) }
        }
        if skip(UInt8(ascii: "e")) || skip(UInt8(ascii: "E")) {
            isInteger = false
            let isNegativeExponent = skip(.minus)
            if !isNegativeExponent { _ = skip(UInt8(ascii: "+")) }
            try requireDigit(from: start)
            var exponent = 0
            digits { exponent = min(exponent * 10 + Int($0), 100_000) }
            decimal.exponent += isNegativeExponent ? -exponent : exponent
        }

        if isInteger, let integer = decimal.integer(isNegative: isNegative) { return .integer(integer) }
        if let magnitude = decimal.exactDouble { return .number(isNegative ? -magnitude : magnitude) }
        let text = String(decoding: UnsafeBufferPointer(rebasing: input[start..<position]), as: UTF8.self)
        guard let number = Double(text) else { throw error(.invalidNumber, at: start) }
        guard number.isFinite else { throw error(.numberOutOfRange, at: start) }
        return .number(number)
    }

    private func requireDigit(from start: Int) throws(JSONError) {
        guard let byte = peek() else { throw error(.unexpectedEnd) }
        guard byte.isDigit else { throw error(.invalidNumber, at: start) }
    }

    private mutating func digits(_ body: (UInt8) -> Void) {
        while let byte = peek(), byte.isDigit {
            body(byte - .digitZero)
            position += 1
        }
    }

    // MARK: Strings

    /// Reads a string whose opening quote has been read.
    private mutating func string() throws(JSONError) -> String {
        let start = position
        let isASCII = skipPlainText()
        if peek() == .quote {
            let content = UnsafeBufferPointer(rebasing: input[start..<position])
            position += 1
            if isASCII { return String(decoding: content, as: UTF8.self) }
            guard let text = String(validating: content, as: UTF8.self) else { throw invalidUTF8(from: start) }
            return text
        }

        unescaped.removeAll(keepingCapacity: true)
        var run = start
        while true {
            unescaped.append(contentsOf: UnsafeBufferPointer(rebasing: input[run..<position]))
            guard let byte = peek() else { throw error(.unexpectedEnd) }
            if byte == .quote { break }
            guard byte == .backslash else { throw error(.controlCharacter) }
            try escape()
            run = position
            _ = skipPlainText()
        }
        position += 1
        guard let text = String(validating: unescaped, as: UTF8.self) else { throw invalidUTF8(from: start) }
        return text
    }

    /// Moves to the next quote, backslash or control character, or to the end.
    ///
    /// - Returns: Whether all bytes on the way are ASCII.
    private mutating func skipPlainText() -> Bool {
        var seen: UInt64 = 0
        while input.count - position >= 8 {
            let eight = EightBytes(input, at: position)
            let escapes = eight.escapes
            if escapes != 0 {
                let before = (escapes & (0 &- escapes)) &- 1
                position += escapes.trailingZeroBitCount / 8
                return (seen | eight.word & before) & EightBytes.highBits == 0
            }
            seen |= eight.word
            position += 8
        }
        while let byte = peek(), byte >= 0x20, byte != .quote, byte != .backslash {
            seen |= UInt64(byte)
            position += 1
        }
        return seen & EightBytes.highBits == 0
    }

    private mutating func escape() throws(JSONError) {
        let start = position
        position += 1
        guard let byte = peek() else { throw error(.unexpectedEnd) }
        position += 1
        switch byte {
        case .quote, .backslash, UInt8(ascii: "/"): unescaped.append(byte)
        case UInt8(ascii: "b"): unescaped.append(0x08)
        case UInt8(ascii: "t"): unescaped.append(0x09)
        case UInt8(ascii: "n"): unescaped.append(0x0A)
        case UInt8(ascii: "f"): unescaped.append(0x0C)
        case UInt8(ascii: "r"): unescaped.append(0x0D)
        case UInt8(ascii: "u"): try unicodeEscape(from: start)
        default: throw error(.invalidEscape, at: start)
        }
    }

    private mutating func unicodeEscape(from start: Int) throws(JSONError) {
        var code = try fourDigits(from: start)
        guard code != 0 else { throw error(.nullCharacter, at: start) }
        if (0xD800...0xDBFF).contains(code) {
            guard skip(.backslash), skip(UInt8(ascii: "u")) else { throw error(.loneSurrogate, at: start) }
            let low = try fourDigits(from: start)
            guard (0xDC00...0xDFFF).contains(low) else { throw error(.loneSurrogate, at: start) }
            code = 0x1_0000 + (code - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(code) else { throw error(.loneSurrogate, at: start) }
        unescaped.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
    }

    private mutating func fourDigits(from start: Int) throws(JSONError) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek() else { throw error(.unexpectedEnd) }
            guard let digit = byte.hexadecimalValue else { throw error(.invalidEscape, at: start) }
            code = code << 4 | UInt32(digit)
            position += 1
        }
        return code
    }

    // MARK: Bytes

    private func peek() -> UInt8? { position < input.count ? input[position] : nil }

    private mutating func skip(_ byte: UInt8) -> Bool {
        guard position < input.count, input[position] == byte else { return false }
        position += 1
        return true
    }

    private mutating func skipWhitespace() {
        while position < input.count {
            switch input[position] {
            case 0x20, 0x09, 0x0A, 0x0D: position += 1
            default: return
            }
        }
    }

    // MARK: Errors

    private func expected(_ what: String) -> JSONError {
        error(position < input.count ? .expected(what) : .unexpectedEnd)
    }

    private func error(_ reason: JSONError.Reason) -> JSONError { error(reason, at: position) }

    private func error(_ reason: JSONError.Reason, at offset: Int) -> JSONError {
        var line = 1
        var column = 1
        for byte in input[..<min(offset, input.count)] {
            if byte == 0x0A {
                line += 1
                column = 1
            } else if byte & 0xC0 != 0x80 {
                column += 1
            }
        }
        return JSONError(reason: reason, offset: offset, line: line, column: column)
    }

    private func invalidUTF8(from start: Int) -> JSONError {
        var offset = start
        var bytes = input[start...].makeIterator()
        var decoder = Unicode.UTF8.ForwardParser()
        while case .valid(let scalar) = decoder.parseScalar(from: &bytes) { offset += scalar.count }
        return error(.invalidUTF8, at: offset)
    }

    private func shortened(_ key: String) -> String {
        let beginning = key.unicodeScalars.prefix(32)
        return beginning.endIndex == key.unicodeScalars.endIndex ? key : String(beginning) + "…"
    }
}

/// The digits of a number: `significand · 10 ^ exponent`.
private struct DecimalDigits {
    private static let powersOfTen: [Double] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
        1e20, 1e21, 1e22,
    ]

    private var significand: UInt64 = 0
    private var isComplete = true
    var exponent = 0

    mutating func append(_ digit: UInt8, isFraction: Bool) {
        // Below this bound another digit cannot overflow.
        guard significand < 1_000_000_000_000_000_000 else { return isComplete = false }
        significand = significand * 10 + UInt64(digit)
        if isFraction { exponent -= 1 }
    }

    func integer(isNegative: Bool) -> Int64? {
        guard isComplete else { return nil }
        if isNegative {
            return significand <= Int64.min.magnitude ? Int64(truncatingIfNeeded: 0 &- significand) : nil
        }
        return Int64(exactly: significand)
    }

    /// The value, where a single rounding yields it.
    ///
    /// That takes a significand below 2⁵³ and a power of ten that a `Double` holds exactly. Source: Clinger, How to Read Floating Point Numbers Accurately, 1990.
    var exactDouble: Double? {
        guard isComplete, significand < 1 << 53, exponent.magnitude < Self.powersOfTen.count else { return nil }
        let power = Self.powersOfTen[Int(exponent.magnitude)]
        return exponent < 0 ? Double(significand) / power : Double(significand) * power
    }
}

extension UInt8 {
    static let digitZero = UInt8(ascii: "0")
    static let digitNine = UInt8(ascii: "9")

    var isDigit: Bool { (Self.digitZero...Self.digitNine).contains(self) }

    var hexadecimalValue: UInt8? {
        switch self {
        case Self.digitZero...Self.digitNine: self - Self.digitZero
        case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
