/// An `http` or `https` URL that has been taken apart by one reader, so that the check and the connection cannot
/// disagree about its host.
///
/// Read strictly (RFC 3986): ASCII only, no user information, no fragment, no zone. Its description is the origin
/// alone, because paths and queries of callbacks hold secrets.
package struct OutboundURL: Sendable, Hashable, CustomStringConvertible {
    package enum Scheme: String, Sendable, Hashable {
        case http
        case https

        package var standardPort: Int { self == .http ? 80 : 443 }
    }

    package enum Failure: String, Error, Sendable, Hashable {
        case tooLong = "too long"
        case scheme = "does not start with http:// or https://"
        case userInformation = "has a user name or password"
        case host = "has no valid host name"
        case port = "has no valid port"
        case character = "has a character that must be percent-encoded"
        case fragment = "has a fragment"
    }

    package static let longest = 2_048

    package let scheme: Scheme
    /// Lower case; an IPv6 address stands without brackets.
    package let host: String
    package let port: Int
    /// Begins with a slash.
    package let path: String
    /// Without the question mark.
    package let query: String?

    package init(_ text: String) throws(Failure) {
        let bytes = Array(text.utf8)
        guard bytes.count <= Self.longest else { throw .tooLong }
        guard bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { throw .character }
        guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")),
            let scheme = Scheme(rawValue: Self.lowercased(bytes[..<colon])),
            bytes[colon...].starts(with: "://".utf8)
        else { throw .scheme }
        let rest = bytes[(colon + 3)...]
        guard !rest.contains(UInt8(ascii: "#")) else { throw .fragment }
        let authorityEnd =
            rest.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "\\") }
            ?? rest.endIndex
        let authority = rest[..<authorityEnd]
        guard !authority.contains(UInt8(ascii: "@")) else { throw .userInformation }

        let hostEnd: Int
        if authority.first == UInt8(ascii: "[") {
            guard let bracket = authority.firstIndex(of: UInt8(ascii: "]")) else { throw .host }
            let literal = Self.lowercased(authority[(authority.startIndex + 1)..<bracket])
            guard case .v6? = OutboundAddress(literal) else { throw .host }
            host = literal
            hostEnd = bracket + 1
        } else {
            hostEnd = authority.firstIndex(of: UInt8(ascii: ":")) ?? authority.endIndex
            host = Self.lowercased(authority[..<hostEnd])
            guard Self.isHostName(host) else { throw .host }
        }
        if hostEnd < authority.endIndex {
            let digits = authority[(hostEnd + 1)...]
            guard authority[hostEnd] == UInt8(ascii: ":"), (1...5).contains(digits.count),
                digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let port = Int(String(decoding: digits, as: UTF8.self)), (1...65_535).contains(port)
            else { throw .port }
            self.port = port
        } else {
            port = scheme.standardPort
        }
        let tail = rest[authorityEnd...]
        let mark = tail.firstIndex(of: UInt8(ascii: "?"))
        let path = tail[..<(mark ?? tail.endIndex)]
        let query = mark.map { tail[($0 + 1)...] }
        guard Self.isEncoded(path), query.map(Self.isEncoded) ?? true else { throw .character }
        self.scheme = scheme
        self.path = path.isEmpty ? "/" : String(decoding: path, as: UTF8.self)
        self.query = query.map { String(decoding: $0, as: UTF8.self) }
    }

    private init(scheme: Scheme, host: String, port: Int, path: String, query: String?) {
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path
        self.query = query
    }

    /// The same URL with more path before its query; a slash at the end of the old path does not double.
    package func appending(path more: StaticString) -> OutboundURL {
        let base = path.hasSuffix("/") ? String(path.dropLast()) : path
        return OutboundURL(scheme: scheme, host: host, port: port, path: base + "/" + "\(more)", query: query)
    }

    /// Scheme, host and port; the port only when it is not the standard one.
    package var origin: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return "\(scheme.rawValue)://\(name)" + (port == scheme.standardPort ? "" : ":\(port)")
    }

    package var text: String { origin + path + (query.map { "?" + $0 } ?? "") }

    package var description: String { origin }

    private static func lowercased(_ bytes: some Sequence<UInt8>) -> String {
        let lower = bytes.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
        return String(decoding: lower, as: UTF8.self)
    }

    private static func isHostName(_ host: String) -> Bool {
        var name = host[...]
        if name.hasSuffix(".") { name.removeLast() }
        guard !name.isEmpty, name.utf8.count <= 253 else { return false }
        return name.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
            (1...63).contains(label.utf8.count)
                && label.utf8.allSatisfy { byte in
                    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                        || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
                }
        }
    }

    /// Whether a path or query has only the characters of RFC 3986 and complete escapes.
    private static func isEncoded(_ bytes: ArraySlice<UInt8>) -> Bool {
        var digits = 0
        for byte in bytes {
            let isHexadecimal =
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte | 0x20)
            if digits > 0 {
                guard isHexadecimal else { return false }
                digits -= 1
            } else if byte == UInt8(ascii: "%") {
                digits = 2
            } else {
                switch byte {
                case UInt8(ascii: "\""), UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "\\"), UInt8(ascii: "^"),
                    UInt8(ascii: "`"), UInt8(ascii: "{"), UInt8(ascii: "|"), UInt8(ascii: "}"), UInt8(ascii: "["),
                    UInt8(ascii: "]"):
                    return false
                default:
                    break
                }
            }
        }
        return digits == 0
    }
}
