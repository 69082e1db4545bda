/// Reads the blocks of Markdown that matter to passages: headings, fences, indented code, lists, tables, paragraphs.
///
/// It follows CommonMark 0.31 and the tables of GFM one line at a time and never backtracks. It does not descend into
/// quotes and list items: a heading inside of them is their text. Front matter is taken for code.
struct MarkdownReader {
    private let text: DocumentText
    private let lines: [Range<Int>]

    /// Longer ones are paragraphs above a rule, whatever CommonMark says.
    private static let setextLines = 3

    /// Scalars of a heading that are kept in a section's path.
    private static let titleLength = 200

    init(_ text: DocumentText) {
        self.text = text
        lines = Array(text.lines(in: text.body))
    }

    func blocks() -> [DocumentBlock] {
        var blocks: [DocumentBlock] = []
        var next = 0
        if let end = frontMatterEnd() {
            blocks.append(block(.code, 0..<end))
            next = end
        }
        while next < lines.count {
            let start = start(of: next)
            if start.isBlank {
                next += 1
            } else if let fence = fence(at: start) {
                let end = fenceEnd(fence, from: next + 1, insideListAt: nil)
                blocks.append(block(.code, next..<end))
                next = end
            } else if let level = headingLevel(at: start) {
                blocks.append(block(.heading(level: level, title: title(at: start, level: level)), next..<next + 1))
                next += 1
            } else if start.indent >= 4 {
                let end = indentedEnd(from: next)
                blocks.append(block(.code, next..<end))
                next = end
            } else if isRule(start) {
                blocks.append(block(.prose, next..<next + 1))
                next += 1
            } else if isListItem(start) {
                let end = listEnd(from: next)
                blocks.append(block(.list, next..<end))
                next = end
            } else {
                next = readParagraph(from: next, into: &blocks)
            }
        }
        return blocks
    }

    private func block(_ kind: DocumentBlock.Kind, _ span: Range<Int>) -> DocumentBlock {
        DocumentBlock(kind: kind, range: lines[span.lowerBound].lowerBound..<lines[span.upperBound - 1].upperBound)
    }

    // MARK: Starts of lines

    private struct LineStart {
        /// Columns of spaces and tabs; a tab reaches to the next multiple of four.
        var indent = 0
        /// The first byte after them.
        var offset: Int
        let end: Int
        var isBlank = false
    }

    private func start(of line: Int) -> LineStart {
        let range = lines[line]
        var start = LineStart(offset: range.lowerBound, end: range.upperBound)
        while start.offset < start.end {
            if text.bytes[start.offset] == 0x20 {
                start.indent += 1
            } else if text.bytes[start.offset] == 0x09 {
                start.indent = (start.indent / 4 + 1) * 4
            } else {
                break
            }
            start.offset += 1
        }
        start.isBlank = text.skipBlank(from: start.offset, to: start.end) == start.end
        return start
    }

    private func byte(_ offset: Int, before end: Int) -> UInt8? {
        offset < end ? text.bytes[offset] : nil
    }

    private func runEnd(of byte: UInt8, from offset: Int, to end: Int) -> Int {
        var offset = offset
        while offset < end, text.bytes[offset] == byte { offset += 1 }
        return offset
    }

    private func isSpace(_ byte: UInt8?) -> Bool {
        byte == nil || byte == 0x20 || byte == 0x09
    }

    // MARK: Headings and rules

    private func headingLevel(at start: LineStart) -> Int? {
        guard start.indent < 4, byte(start.offset, before: start.end) == UInt8(ascii: "#") else { return nil }
        let end = runEnd(of: UInt8(ascii: "#"), from: start.offset, to: min(start.end, start.offset + 7))
        let level = end - start.offset
        return level <= 6 && isSpace(byte(end, before: start.end)) ? level : nil
    }

    private func title(at start: LineStart, level: Int) -> String {
        var range = text.trimming(start.offset + level..<start.end)
        var end = range.upperBound
        while end > range.lowerBound, text.bytes[end - 1] == UInt8(ascii: "#") { end -= 1 }
        if end == range.lowerBound || isSpace(text.bytes[end - 1]) {
            range = text.trimmingEnd(range.lowerBound..<end)
        }
        return title(range)
    }

    private func title(_ range: Range<Int>) -> String {
        let range = text.trimming(range)
        let end = text.offset(after: Self.titleLength, in: range)
        let title = text.content(of: range.lowerBound..<end)
        let oneLine = title.split(whereSeparator: \.isNewline).joined(separator: " ")
        return end < range.upperBound ? oneLine + "…" : oneLine
    }

    /// The level when the line underlines a heading.
    private func underlineLevel(_ start: LineStart) -> Int? {
        guard start.indent < 4, let mark = byte(start.offset, before: start.end) else { return nil }
        guard mark == UInt8(ascii: "=") || mark == UInt8(ascii: "-") else { return nil }
        let end = runEnd(of: mark, from: start.offset, to: start.end)
        guard text.skipBlank(from: end, to: start.end) == start.end else { return nil }
        return mark == UInt8(ascii: "=") ? 1 : 2
    }

    private func isRule(_ start: LineStart) -> Bool {
        guard start.indent < 4, let mark = byte(start.offset, before: start.end) else { return false }
        guard mark == UInt8(ascii: "-") || mark == UInt8(ascii: "*") || mark == UInt8(ascii: "_") else { return false }
        var count = 0
        for offset in start.offset..<start.end {
            if text.bytes[offset] == mark {
                count += 1
            } else if !isSpace(text.bytes[offset]) {
                return false
            }
        }
        return count >= 3
    }

    // MARK: Code

    private struct Fence {
        let mark: UInt8
        let width: Int
    }

    private func fence(at start: LineStart, maxIndent: Int = 3) -> Fence? {
        guard start.indent <= maxIndent, let mark = byte(start.offset, before: start.end) else { return nil }
        guard mark == UInt8(ascii: "`") || mark == UInt8(ascii: "~") else { return nil }
        let end = runEnd(of: mark, from: start.offset, to: start.end)
        guard end - start.offset >= 3 else { return nil }
        if mark == UInt8(ascii: "`"), text.bytes[end..<start.end].contains(mark) { return nil }
        return Fence(mark: mark, width: end - start.offset)
    }

    /// The line after the closing fence; the end of the list item, or of the document, when there is none.
    private func fenceEnd(_ fence: Fence, from line: Int, insideListAt indent: Int?) -> Int {
        var line = line
        while line < lines.count {
            let start = start(of: line)
            if let indent, !start.isBlank, start.indent <= indent { return line }
            let end = runEnd(of: fence.mark, from: start.offset, to: start.end)
            if end - start.offset >= fence.width, start.indent < 4 || indent != nil,
                text.skipBlank(from: end, to: start.end) == start.end
            {
                return line + 1
            }
            line += 1
        }
        return line
    }

    private func indentedEnd(from line: Int) -> Int {
        var end = line + 1
        var next = end
        while next < lines.count {
            let start = start(of: next)
            guard start.isBlank || start.indent >= 4 else { break }
            next += 1
            if !start.isBlank { end = next }
        }
        return end
    }

    private func frontMatterEnd() -> Int? {
        guard lines.count > 2, isFrontMatterRule(0) else { return nil }
        guard text.bytes[lines[1]].contains(UInt8(ascii: ":")) else { return nil }
        for line in 2..<min(lines.count, 200) {
            if isFrontMatterRule(line) { return line + 1 }
        }
        return nil
    }

    private func isFrontMatterRule(_ line: Int) -> Bool {
        text.bytes[text.trimmingEnd(lines[line])].elementsEqual("---".utf8)
    }

    // MARK: Lists

    private func isListItem(_ start: LineStart) -> Bool {
        Self.isListItem(text, from: start.offset, to: start.end)
    }

    static func isListItem(_ text: DocumentText, from offset: Int, to end: Int) -> Bool {
        guard offset < end else { return false }
        var offset = offset
        switch text.bytes[offset] {
        case UInt8(ascii: "-"), UInt8(ascii: "*"), UInt8(ascii: "+"):
            offset += 1
        case UInt8(ascii: "0")...UInt8(ascii: "9"):
            let start = offset
            while offset < end, offset - start < 9, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(text.bytes[offset])
            {
                offset += 1
            }
            guard offset < end else { return false }
            guard text.bytes[offset] == UInt8(ascii: ".") || text.bytes[offset] == UInt8(ascii: ")") else {
                return false
            }
            offset += 1
        default:
            return false
        }
        return offset == end || text.bytes[offset] == 0x20 || text.bytes[offset] == 0x09
    }

    private func listEnd(from line: Int) -> Int {
        let base = start(of: line).indent
        var end = line + 1
        var next = end
        var afterBlank = false
        while next < lines.count {
            let start = start(of: next)
            if start.isBlank {
                afterBlank = true
                next += 1
                continue
            }
            let isInside = start.indent > base + 1
            if let fence = fence(at: start, maxIndent: .max) {
                guard isInside else { break }
                next = fenceEnd(fence, from: next + 1, insideListAt: base)
            } else {
                if !isInside {
                    if headingLevel(at: start) != nil || isRule(start) { break }
                    if afterBlank, !isListItem(start) { break }
                }
                next += 1
            }
            afterBlank = false
            end = next
        }
        return end
    }

    // MARK: Paragraphs and tables

    /// Reads a paragraph, or the heading or table that it turns out to be.
    ///
    /// - Returns: The line after it.
    private func readParagraph(from first: Int, into blocks: inout [DocumentBlock]) -> Int {
        let opening = start(of: first)
        let isQuote = byte(opening.offset, before: opening.end) == UInt8(ascii: ">")
        var next = first + 1
        while next < lines.count {
            let start = start(of: next)
            if start.isBlank { break }
            if !isQuote, next - first <= Self.setextLines, let level = underlineLevel(start) {
                let title = title(lines[first].lowerBound..<lines[next - 1].upperBound)
                blocks.append(block(.heading(level: level, title: title), first..<next + 1))
                return next + 1
            }
            if let columns = dashedColumns(start), columns == self.columns(of: next - 1), !isQuote || next - 1 > first {
                if next - 1 > first { blocks.append(block(.prose, first..<next - 1)) }
                let end = tableEnd(from: next + 1)
                blocks.append(block(.table(headerEnd: lines[next].upperBound), next - 1..<end))
                return end
            }
            if startsBlock(start, afterQuote: isQuote) { break }
            next += 1
        }
        blocks.append(block(.prose, first..<next))
        return next
    }

    /// Whether the line ends the paragraph or table before it.
    private func startsBlock(_ start: LineStart, afterQuote: Bool) -> Bool {
        guard start.indent < 4 else { return false }
        if !afterQuote, byte(start.offset, before: start.end) == UInt8(ascii: ">") { return true }
        return headingLevel(at: start) != nil || isRule(start) || isListItem(start) || fence(at: start) != nil
    }

    private func tableEnd(from line: Int) -> Int {
        var line = line
        while line < lines.count {
            let start = start(of: line)
            if start.isBlank || startsBlock(start, afterQuote: false) { break }
            line += 1
        }
        return line
    }

    /// The number of columns when the line is a row of dashes such as `| --- | :-: |`.
    private func dashedColumns(_ start: LineStart) -> Int? {
        guard start.indent < 4 else { return nil }
        var columns = 0
        var hasBar = false
        var cell = CellShape.empty
        for offset in start.offset..<start.end {
            switch (text.bytes[offset], cell) {
            case (0x20, .dashes), (0x20, .closed), (0x09, .dashes), (0x09, .closed): cell = .closed
            case (0x20, .empty), (0x09, .empty): break
            case (UInt8(ascii: ":"), .empty): cell = .opened
            case (UInt8(ascii: ":"), .dashes): cell = .closed
            case (UInt8(ascii: "-"), .empty), (UInt8(ascii: "-"), .opened), (UInt8(ascii: "-"), .dashes): cell = .dashes
            case (UInt8(ascii: "|"), .dashes), (UInt8(ascii: "|"), .closed):
                columns += 1
                cell = .empty
                hasBar = true
            case (UInt8(ascii: "|"), .empty) where !hasBar: hasBar = true
            default: return nil
            }
        }
        switch cell {
        case .dashes, .closed: columns += 1
        case .opened: return nil
        case .empty: break
        }
        return hasBar && columns > 0 ? columns : nil
    }

    private enum CellShape {
        case empty, opened, dashes, closed
    }

    private func columns(of line: Int) -> Int {
        let range = text.trimming(lines[line])
        var columns = 1
        var isEscaped = false
        for offset in range {
            if text.bytes[offset] == UInt8(ascii: "|"), !isEscaped { columns += 1 }
            isEscaped = text.bytes[offset] == UInt8(ascii: "\\") && !isEscaped
        }
        guard !range.isEmpty else { return 0 }
        if text.bytes[range.lowerBound] == UInt8(ascii: "|") { columns -= 1 }
        if range.count > 1, text.bytes[range.upperBound - 1] == UInt8(ascii: "|") {
            let isBarEscaped = range.count > 2 && text.bytes[range.upperBound - 2] == UInt8(ascii: "\\")
            if !isBarEscaped { columns -= 1 }
        }
        return columns
    }
}
