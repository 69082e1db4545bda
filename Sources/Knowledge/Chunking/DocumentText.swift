/// The UTF-8 of a document and what the chunker asks of it, each in time linear in the bytes concerned.
///
/// *Length* is counted in Unicode scalars of the content that will be written: NUL counts nothing, CRLF counts one.
/// So it is never less than the number of grapheme clusters.
struct DocumentText: Sendable {
    let bytes: [UInt8]

    /// Everything but a byte order mark at the start.
    let body: Range<Int>

    /// The length before byte 64 · *n*.
    private let marks: [Int]

    init(_ text: String) {
        let bytes = Array(text.utf8)
        var marks: [Int] = []
        marks.reserveCapacity(bytes.count / 64 + 1)
        var length = 0
        for offset in bytes.indices {
            if offset & 63 == 0 { marks.append(length) }
            if Self.counts(bytes, at: offset) { length += 1 }
        }
        if bytes.count & 63 == 0 { marks.append(length) }
        self.bytes = bytes
        self.marks = marks
        body = (bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0)..<bytes.count
    }

    private static func counts(_ bytes: [UInt8], at offset: Int) -> Bool {
        let byte = bytes[offset]
        if byte == 0x0D { return offset + 1 == bytes.count || bytes[offset + 1] != 0x0A }
        return byte != 0 && byte & 0xC0 != 0x80
    }

    // MARK: Length

    private func length(before offset: Int) -> Int {
        var length = marks[offset >> 6]
        for earlier in (offset & ~63)..<offset where Self.counts(bytes, at: earlier) { length += 1 }
        return length
    }

    func length(_ range: Range<Int>) -> Int {
        length(before: range.upperBound) - length(before: range.lowerBound)
    }

    /// The largest scalar boundary of the range at which the length from its start is at most `length`.
    func offset(after length: Int, in range: Range<Int>) -> Int {
        var offset = range.lowerBound
        var left = length
        while offset < range.upperBound {
            if Self.counts(bytes, at: offset) {
                if left == 0 { return offset }
                left -= 1
            }
            offset += 1
        }
        return range.upperBound
    }

    // MARK: Text

    /// The range as it is written into a chunk.
    func content(of range: Range<Int>) -> String {
        let slice = bytes[range]
        guard slice.contains(where: { $0 == 0 || $0 == 0x0D }) else { return String(decoding: slice, as: UTF8.self) }
        var clean: [UInt8] = []
        clean.reserveCapacity(slice.count)
        for offset in range where bytes[offset] != 0 {
            if bytes[offset] != 0x0D {
                clean.append(bytes[offset])
            } else if Self.counts(bytes, at: offset) {
                clean.append(0x0A)
            }
        }
        return String(decoding: clean, as: UTF8.self)
    }

    /// The scalar that starts at the offset.
    func scalar(at offset: Int) -> Unicode.Scalar? {
        guard offset < bytes.count else { return nil }
        let lead = bytes[offset]
        if lead < 0x80 { return Unicode.Scalar(lead) }
        let width = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2
        guard offset + width <= bytes.count else { return nil }
        var value = UInt32(lead) & (0xFF >> UInt32(width + 1))
        for next in offset + 1..<offset + width { value = value << 6 | UInt32(bytes[next] & 0x3F) }
        return Unicode.Scalar(value)
    }

    /// The start of the scalar before the offset.
    func scalarStart(before offset: Int) -> Int {
        var start = offset - 1
        while start > 0, bytes[start] & 0xC0 == 0x80 { start -= 1 }
        return start
    }

    // MARK: White space

    /// The width in bytes of the white space (Unicode `White_Space`) that starts at the offset; 0 when there is none.
    func spaceWidth(at offset: Int) -> Int {
        switch bytes[offset] {
        case 0x20, 0x09...0x0D:
            return 1
        case 0xC2:
            guard offset + 1 < bytes.count else { return 0 }
            return bytes[offset + 1] == 0x85 || bytes[offset + 1] == 0xA0 ? 2 : 0
        case 0xE1, 0xE2, 0xE3:
            guard offset + 2 < bytes.count else { return 0 }
            switch (bytes[offset], bytes[offset + 1], bytes[offset + 2]) {
            case (0xE1, 0x9A, 0x80), (0xE2, 0x80, 0x80...0x8A), (0xE2, 0x80, 0xA8...0xA9), (0xE2, 0x80, 0xAF),
                (0xE2, 0x81, 0x9F), (0xE3, 0x80, 0x80):
                return 3
            default:
                return 0
            }
        default:
            return 0
        }
    }

    /// The offset after white space and NUL.
    func skipBlank(from start: Int, to end: Int) -> Int {
        var offset = start
        while offset < end {
            let width = bytes[offset] == 0 ? 1 : spaceWidth(at: offset)
            if width == 0 { return offset }
            offset += width
        }
        return end
    }

    func isBlank(_ range: Range<Int>) -> Bool {
        skipBlank(from: range.lowerBound, to: range.upperBound) == range.upperBound
    }

    func trimmingEnd(_ range: Range<Int>) -> Range<Int> {
        var end = range.upperBound
        while end > range.lowerBound {
            let start = scalarStart(before: end)
            guard bytes[start] == 0 || spaceWidth(at: start) == end - start else { break }
            end = start
        }
        return range.lowerBound..<max(end, range.lowerBound)
    }

    func trimming(_ range: Range<Int>) -> Range<Int> {
        let start = skipBlank(from: range.lowerBound, to: range.upperBound)
        return trimmingEnd(start..<range.upperBound)
    }

    // MARK: Lines

    /// The lines of a range without their ends (LF, CRLF or CR).
    func lines(in range: Range<Int>) -> Lines {
        Lines(text: self, offset: range.lowerBound, end: range.upperBound)
    }

    struct Lines: Sequence, IteratorProtocol {
        let text: DocumentText
        var offset: Int
        let end: Int

        mutating func next() -> Range<Int>? {
            guard offset < end else { return nil }
            let start = offset
            while offset < end, text.bytes[offset] != 0x0A, text.bytes[offset] != 0x0D { offset += 1 }
            let line = start..<offset
            if offset + 1 < end, text.bytes[offset] == 0x0D, text.bytes[offset + 1] == 0x0A { offset += 1 }
            if offset < end { offset += 1 }
            return line
        }
    }
}
