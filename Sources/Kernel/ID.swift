/// The identifier of one `Entity`: a UUID, in this product a version 7 one (RFC 9562 §5.7), so ids sort by time.
///
/// The first 48 bits are Unix milliseconds, the next 12 the fraction of the millisecond (§6.2, method 3), the rest is
/// random: ids made by one process in order compare in that order at a resolution of 1/4096 ms.
package struct ID<Entity>: Sendable, Hashable, Comparable, CustomStringConvertible {
    package let high: UInt64
    package let low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// A new version 7 id for the present moment.
    package init() {
        self.init(unixNanoseconds: Timestamp.unixNanosecondsNow())
    }

    /// A version 7 id for a moment.
    ///
    /// - Parameter unixNanoseconds: Nanoseconds since 1970-01-01T00:00:00Z; negative values count as 0.
    package init(unixNanoseconds: Int64) {
        let nanoseconds = UInt64(max(0, unixNanoseconds))
        let milliseconds = nanoseconds / 1_000_000
        let fraction = ((nanoseconds % 1_000_000) << 12) / 1_000_000
        high = (milliseconds & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | (fraction & 0x0FFF)
        low = UInt64.random(in: 0...UInt64.max) & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    }

    /// Reads the canonical 36-character form, in either letter case; anything else is nil.
    package init?(_ text: some StringProtocol) {
        var high: UInt64 = 0
        var low: UInt64 = 0
        var position = 0
        var digits = 0
        for byte in text.utf8 {
            if position == 8 || position == 13 || position == 18 || position == 23 {
                guard byte == UInt8(ascii: "-") else { return nil }
            } else {
                guard let digit = hexadecimalDigit(byte) else { return nil }
                if digits < 16 { high = high << 4 | digit } else { low = low << 4 | digit }
                digits += 1
            }
            position += 1
            if position > 36 { return nil }
        }
        guard position == 36 else { return nil }
        self.high = high
        self.low = low
    }

    /// The canonical lower-case form of 36 characters.
    package var description: String {
        String(unsafeUninitializedCapacity: 36) { buffer in
            write(into: UnsafeMutableRawBufferPointer(buffer))
            return 36
        }
    }

    /// Writes the canonical form, as ASCII.
    ///
    /// - Parameter buffer: Of at least 36 bytes.
    package func write(into buffer: UnsafeMutableRawBufferPointer) {
        let first = hexadecimalDigits(UInt32(truncatingIfNeeded: high >> 32))
        let second = hexadecimalDigits(UInt32(truncatingIfNeeded: high))
        let third = hexadecimalDigits(UInt32(truncatingIfNeeded: low >> 32))
        let fourth = hexadecimalDigits(UInt32(truncatingIfNeeded: low))
        let hyphen = UInt8(ascii: "-")
        buffer.storeBytes(of: first, as: UInt64.self)
        buffer[8] = hyphen
        buffer.storeBytes(of: UInt32(truncatingIfNeeded: second), toByteOffset: 9, as: UInt32.self)
        buffer[13] = hyphen
        buffer.storeBytes(of: UInt32(truncatingIfNeeded: second >> 32), toByteOffset: 14, as: UInt32.self)
        buffer[18] = hyphen
        buffer.storeBytes(of: UInt32(truncatingIfNeeded: third), toByteOffset: 19, as: UInt32.self)
        buffer[23] = hyphen
        buffer.storeBytes(of: UInt32(truncatingIfNeeded: third >> 32), toByteOffset: 24, as: UInt32.self)
        buffer.storeBytes(of: fourth, toByteOffset: 28, as: UInt64.self)
    }

    /// The 16 bytes in network order.
    package var bytes: [UInt8] {
        [high, low].flatMap { word in withUnsafeBytes(of: word.bigEndian) { Array($0) } }
    }

    /// The same identifier read as that of another entity, for columns that refer to several kinds of row.
    package func cast<Other>(to: Other.Type = Other.self) -> ID<Other> { ID<Other>(high: high, low: low) }

    package static func < (left: ID, right: ID) -> Bool { (left.high, left.low) < (right.high, right.low) }
}

extension ID {
    /// The id with all bits zero: the platform itself, where a column names an organization.
    package static var zero: ID { ID(high: 0, low: 0) }
}

/// Eight lower-case digits, the most significant one in the byte that comes first in memory.
func hexadecimalDigits(_ number: UInt32) -> UInt64 {
    // One half-byte in each byte, all at once.
    var spread = UInt64(number)
    spread = (spread << 16 | spread) & 0x0000_FFFF_0000_FFFF
    spread = (spread << 8 | spread) & 0x00FF_00FF_00FF_00FF
    spread = (spread << 4 | spread) & 0x0F0F_0F0F_0F0F_0F0F
    // 1 in the bytes that are letters: adding 6 carries into the next half.
    let letters = (spread &+ 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101
    let distance = UInt64(UInt8(ascii: "a") - UInt8(ascii: "0") - 10)
    return (spread &+ 0x3030_3030_3030_3030 &+ letters &* distance).bigEndian
}

private func hexadecimalDigit(_ byte: UInt8) -> UInt64? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt64(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt64(byte - UInt8(ascii: "a") + 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt64(byte - UInt8(ascii: "A") + 10)
    default: nil
    }
}

extension JSON {
    /// An id as text, or null.
    package static func id<Entity>(_ id: ID<Entity>?) -> JSON { id.map { .string($0.description) } ?? .null }
    package static func text(_ text: String?) -> JSON { text.map(JSON.string) ?? .null }
}
