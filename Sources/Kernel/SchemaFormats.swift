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
    var jsonSchemaName: String? {
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
