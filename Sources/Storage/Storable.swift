#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

extension SQLValue {
    /// Refuses what one of the two databases could not keep, or would keep as something else, so that both refuse the
    /// same.
    ///
    /// Drivers call it before they bind.
    func checkStorable() throws(StorageError) {
        switch self {
        case .null, .bool, .integer, .bytes, .uuid, .timestamp:
            return
        case .double(let value):
            if value.isNaN { throw .unstorable("a number that is not one (NaN)") }
        case .text(let text):
            if text.holdsZeroByte { throw .unstorable("text with U+0000") }
        case .json(let text):
            if text.holdsZeroByte || text.holdsEscapedZero { throw .unstorable("JSON with U+0000") }
        case .textArray(let texts):
            if texts.contains(where: \.holdsZeroByte) { throw .unstorable("text with U+0000") }
        case .decimal(let text):
            if !text.isPlainDecimal { throw .unstorable("a number that is not plain decimal notation") }
        case .inet(let text):
            if canonicalAddress(text) == nil { throw .unstorable("a text that is not an IP address") }
        case .vector(let elements):
            if !elements.allSatisfy(\.isFinite) { throw .unstorable("a vector with elements that are not finite") }
        }
    }
}

extension String {
    fileprivate var holdsZeroByte: Bool { utf8.contains(0) }

    /// Whether the text of some JSON holds the escape `\u0000`: an odd number of backslashes before `u0000`.
    fileprivate var holdsEscapedZero: Bool {
        var backslashes = 0
        var matched = 0
        let tail = "u0000".utf8.map { $0 }
        for byte in utf8 {
            if byte == UInt8(ascii: "\\") {
                backslashes += 1
                matched = 0
            } else if (matched > 0 || backslashes % 2 == 1) && byte == tail[matched] {
                matched += 1
                backslashes = 0
                if matched == tail.count { return true }
            } else {
                matched = 0
                backslashes = 0
            }
        }
        return false
    }

    /// A sign at most, up to 12 digits, and up to 4 more after a point.
    fileprivate var isPlainDecimal: Bool {
        var digits = utf8[...]
        if digits.first == UInt8(ascii: "-") { digits = digits.dropFirst() }
        let parts = digits.split(separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first, (1...12).contains(whole.count) else { return false }
        if parts.count == 2, !(1...4).contains(parts[1].count) { return false }
        return parts.allSatisfy { part in
            part.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        }
    }
}

/// The usual form of an IPv4 or IPv6 address, as PostgreSQL prints it; nil for anything else, ranges included.
func canonicalAddress(_ text: String) -> String? {
    guard !text.utf8.contains(0) else { return nil }
    var four = in_addr()
    if inet_pton(AF_INET, text, &four) == 1 {
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
            inet_ntop(AF_INET, &four, buffer.baseAddress, socklen_t(buffer.count)).map { String(cString: $0) }
        }
    }
    var six = in6_addr()
    guard inet_pton(AF_INET6, text, &six) == 1 else { return nil }
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
        inet_ntop(AF_INET6, &six, buffer.baseAddress, socklen_t(buffer.count)).map { String(cString: $0) }
    }
}
