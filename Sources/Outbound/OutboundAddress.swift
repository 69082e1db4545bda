/// An IP address to which the product may open a connection.
package enum OutboundAddress: Sendable, Hashable {
    case v4(UInt32)
    /// The first and the last 64 bits.
    case v6(UInt64, UInt64)
}

extension OutboundAddress {
    /// Reads exactly what `inet_pton` accepts: four decimal parts without leading zeros, or the forms of RFC 4291 §2.2.
    package init?(_ text: some StringProtocol) {
        if let address = Self.v4(text.utf8) {
            self = .v4(address)
        } else if let address = Self.v6(Array(text.utf8)) {
            self = address
        } else {
            return nil
        }
    }

    private static func v4(_ text: some Sequence<UInt8>) -> UInt32? {
        var address: UInt32 = 0
        var part: UInt32?
        var parts = 0
        for byte in text {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                if part == 0 { return nil }
                let value = (part ?? 0) * 10 + UInt32(byte - UInt8(ascii: "0"))
                guard value <= 255 else { return nil }
                part = value
            case UInt8(ascii: "."):
                guard let value = part, parts < 3 else { return nil }
                address = address << 8 | value
                parts += 1
                part = nil
            default:
                return nil
            }
        }
        guard let value = part, parts == 3 else { return nil }
        return address << 8 | value
    }

    private static func v6(_ text: [UInt8]) -> OutboundAddress? {
        guard text.count >= 2, text.count <= 45 else { return nil }
        var groups: [UInt16] = []
        /// Where "::" stands, in groups.
        var gap: Int?
        var position = 0
        if text.starts(with: [UInt8(ascii: ":")]) {
            guard text[1] == UInt8(ascii: ":") else { return nil }
            gap = 0
            position = 2
        }
        while position < text.count {
            let end = text[position...].firstIndex(of: UInt8(ascii: ":")) ?? text.count
            let part = text[position..<end]
            if end == text.count, part.contains(UInt8(ascii: ".")) {
                guard let tail = v4(part) else { return nil }
                groups += [UInt16(tail >> 16), UInt16(truncatingIfNeeded: tail)]
                break
            }
            guard (1...4).contains(part.count) else { return nil }
            var group: UInt16 = 0
            for byte in part {
                guard let digit = hexadecimalDigit(byte) else { return nil }
                group = group << 4 | digit
            }
            groups.append(group)
            guard groups.count <= 8 else { return nil }
            guard end < text.count else { break }
            position = end + 1
            guard position < text.count else { return nil }
            if text[position] == UInt8(ascii: ":") {
                guard gap == nil else { return nil }
                gap = groups.count
                position += 1
            }
        }
        if let gap {
            guard groups.count < 8 else { return nil }
            groups.insert(contentsOf: [UInt16](repeating: 0, count: 8 - groups.count), at: gap)
        }
        guard groups.count == 8 else { return nil }
        func word(_ groups: ArraySlice<UInt16>) -> UInt64 { groups.reduce(0) { $0 << 16 | UInt64($1) } }
        return .v6(word(groups[..<4]), word(groups[4...]))
    }
}

private func hexadecimalDigit(_ byte: UInt8) -> UInt16? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt16(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt16(byte - UInt8(ascii: "a") + 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt16(byte - UInt8(ascii: "A") + 10)
    default: nil
    }
}

extension OutboundAddress: CustomStringConvertible {
    /// Dotted decimal, or eight groups without "::".
    package var description: String {
        switch self {
        case .v4(let address):
            return stride(from: 24, through: 0, by: -8).map { String(address >> UInt32($0) & 0xFF) }
                .joined(separator: ".")
        case .v6(let high, let low):
            return [high, low]
                .flatMap { word in
                    stride(from: 48, through: 0, by: -16).map { String(word >> UInt64($0) & 0xFFFF, radix: 16) }
                }
                .joined(separator: ":")
        }
    }
}

// MARK: - Networks

/// A range of addresses that share their first bits: `10.0.0.0/8`, `fc00::/7`.
package struct OutboundNetwork: Sendable, Hashable, CustomStringConvertible {
    package let address: OutboundAddress
    package let prefixLength: Int

    /// Reads an address, a slash and a number of bits; an address alone is a network of one.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let address = OutboundAddress(parts[0]) else { return nil }
        let width = if case .v4 = address { 32 } else { 128 }
        guard parts.count == 2 else {
            self.address = address
            prefixLength = width
            return
        }
        guard (1...3).contains(parts[1].utf8.count), let length = Int(parts[1]), (0...width).contains(length) else {
            return nil
        }
        self.address = address
        prefixLength = length
    }

    package func contains(_ other: OutboundAddress) -> Bool {
        switch (address, other) {
        case (.v4(let own), .v4(let other)):
            (own ^ other) & mask(UInt32.self, prefixLength) == 0
        case (.v6(let high, let low), .v6(let otherHigh, let otherLow)):
            (high ^ otherHigh) & mask(UInt64.self, min(prefixLength, 64)) == 0
                && (low ^ otherLow) & mask(UInt64.self, max(prefixLength - 64, 0)) == 0
        default:
            false
        }
    }

    package var description: String { "\(address)/\(prefixLength)" }
}

/// The first `bits` bits set.
///
/// Smart shifts give 0 when the whole width is shifted out.
private func mask<Word: FixedWidthInteger>(_: Word.Type, _ bits: Int) -> Word {
    ~Word.zero << (Word.bitWidth - bits)
}
