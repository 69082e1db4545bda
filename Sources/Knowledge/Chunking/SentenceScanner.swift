/// Finds the ends of sentences by punctuation alone.
///
/// A full stop, question or exclamation mark ends a sentence when white space follows it and a lower-case letter does
/// not follow that. A full stop after an initial, letters with inner stops ("e.g.", "U.S."), a title of two letters
/// ("Dr.") or the number of a list item does not. The full stops of Chinese and Japanese end one wherever they stand.
/// Closing quotes and brackets stay with their sentence. When in doubt a sentence goes on: too long a sentence is a
/// smaller loss than a torn one.
struct SentenceScanner {
    let text: DocumentText

    private enum Mark {
        /// `.`, which abbreviations use too.
        case stop
        /// Ends a sentence before white space.
        case spaced
        /// Ends a sentence anywhere.
        case wide
    }

    /// The end of the sentence that starts at an offset.
    func end(from start: Int, to end: Int) -> Int {
        var offset = start
        while offset < end {
            guard let (mark, width) = mark(at: offset) else {
                offset += 1
                continue
            }
            let first = offset
            var isWide = mark == .wide
            var isLoneStop = mark == .stop
            offset += width
            while offset < end {
                if let (another, width) = self.mark(at: offset) {
                    isWide = isWide || another == .wide
                    isLoneStop = false
                    offset += width
                } else if let width = closerWidth(at: offset) {
                    offset += width
                } else {
                    break
                }
            }
            if isWide || offset == end { return offset }
            guard text.spaceWidth(at: offset) > 0 else { continue }
            if isLoneStop, isAbbreviation(before: first, from: start) { continue }
            let next = text.skipBlank(from: offset, to: end)
            if next < end, text.scalar(at: next)?.properties.isLowercase == true { continue }
            return offset
        }
        return end
    }

    private func mark(at offset: Int) -> (Mark, width: Int)? {
        switch text.bytes[offset] {
        case UInt8(ascii: "."):
            return (.stop, 1)
        case UInt8(ascii: "!"), UInt8(ascii: "?"):
            return (.spaced, 1)
        case 0xD8, 0xE0, 0xE1, 0xE2, 0xE3, 0xEF:
            switch text.scalar(at: offset)?.value {
            case 0x2026: return (.spaced, 3)  // …
            case 0x061F: return (.spaced, 2)  // Arabic question mark
            case 0x0964, 0x0965, 0x1362: return (.spaced, 3)  // danda, Ethiopic full stop
            case 0x3002, 0xFF01, 0xFF0E, 0xFF1F, 0xFF61: return (.wide, 3)  // 。！．？｡
            default: return nil
            }
        default:
            return nil
        }
    }

    private func closerWidth(at offset: Int) -> Int? {
        switch text.bytes[offset] {
        case UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: ")"), UInt8(ascii: "]"), UInt8(ascii: "*"),
            UInt8(ascii: "_"):
            return 1
        case 0xC2, 0xE2, 0xE3, 0xEF:
            switch text.scalar(at: offset)?.value {
            case 0x00BB: return 2  // »
            case 0x2019, 0x201D, 0x300B, 0x300D, 0x300F, 0x3011, 0xFF09: return 3  // ’ ” 》 」 』 】 ）
            default: return nil
            }
        default:
            return nil
        }
    }

    private func isAbbreviation(before stop: Int, from start: Int) -> Bool {
        let longest = 12
        var first = stop
        while first > start, stop - first <= longest {
            let byte = text.bytes[first - 1]
            if byte <= 0x20 || byte == UInt8(ascii: "(") || byte == UInt8(ascii: "[") || byte == UInt8(ascii: "\"") {
                break
            }
            first -= 1
        }
        guard first < stop, stop - first <= longest else { return false }
        let token = text.bytes[first..<stop]
        if token.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) {
            return first == start || text.bytes[first - 1] == 0x0A || text.bytes[first - 1] == 0x0D
        }
        let parts = token.split(separator: UInt8(ascii: "."))
        let lengths = parts.map { part in part.count { $0 & 0xC0 != 0x80 } }
        let isLetters = token.allSatisfy { byte in
            byte == UInt8(ascii: ".") || byte >= 0x80 || Self.isUppercase(byte) || Self.isUppercase(byte & ~0x20)
        }
        guard isLetters, lengths.allSatisfy({ $0 <= 2 }) else { return false }
        if parts.count > 1 || lengths.first == 1 { return true }
        guard token.count == 2, let head = token.first, let tail = token.last else { return false }
        return Self.isUppercase(head) && !Self.isUppercase(tail)
    }

    private static func isUppercase(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
    }
}
