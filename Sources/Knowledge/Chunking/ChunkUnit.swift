/// A stretch of text that chunks are put together from and that none of them cuts.
struct ChunkUnit: Sendable {
    enum Kind: Sendable {
        case heading, sentence, words, whole
    }

    /// How good a place the unit's start is to begin a chunk, from worst to best.
    enum Seam: Int, Comparable, Sendable {
        case inWord, word, line, sentence, block, section

        static func < (left: Self, right: Self) -> Bool {
            left.rawValue < right.rawValue
        }
    }

    let range: Range<Int>
    let kind: Kind
    let seam: Seam

    /// The header to repeat when a chunk starts here, in the middle of a table.
    let tableHeader: Range<Int>?
}

/// Cuts blocks into units, as coarse as the limits permit.
struct ChunkUnits {
    private(set) var units: [ChunkUnit] = []
    private let text: DocumentText
    private let target: Int
    private let maximum: Int

    init(text: DocumentText, target: Int, maximum: Int) {
        self.text = text
        self.target = target
        self.maximum = maximum
    }

    mutating func append(_ block: DocumentBlock) {
        switch block.kind {
        case .heading:
            appendWhole(block.range, kind: .heading, seam: .section)
        case .prose:
            appendSentences(block.range, seam: .block)
        case .code:
            if text.length(block.range) <= maximum {
                appendWhole(block.range, seam: .block)
            } else {
                appendCodeLines(block.range)
            }
        case .list:
            if text.length(block.range) <= maximum {
                appendWhole(block.range, seam: .block)
            } else {
                appendListItems(block.range)
            }
        case .table(let headerEnd):
            if text.length(block.range) <= maximum {
                appendWhole(block.range, seam: .block)
            } else {
                appendTableRows(block.range, headerEnd: headerEnd)
            }
        }
    }

    // MARK: Structures larger than a chunk

    private mutating func appendCodeLines(_ range: Range<Int>) {
        var seam = ChunkUnit.Seam.block
        for line in text.lines(in: range) {
            if text.isBlank(line) {
                seam = max(seam, .sentence)
            } else {
                appendWhole(line, seam: seam)
                seam = .line
            }
        }
    }

    private mutating func appendListItems(_ range: Range<Int>) {
        var seam = ChunkUnit.Seam.block
        var item: Range<Int>?
        var base: Int?
        for line in text.lines(in: range) {
            let start = text.skipBlank(from: line.lowerBound, to: line.upperBound)
            let indent = start - line.lowerBound
            let startsItem =
                indent <= (base ?? indent) + 1 && MarkdownReader.isListItem(text, from: start, to: line.upperBound)
            if startsItem, let range = item {
                appendItem(range, seam: seam)
                seam = .sentence
                item = nil
            }
            if base == nil { base = indent }
            item = (item?.lowerBound ?? line.lowerBound)..<line.upperBound
        }
        if let item { appendItem(item, seam: seam) }
    }

    private mutating func appendItem(_ range: Range<Int>, seam: ChunkUnit.Seam) {
        if text.length(range) <= maximum {
            appendWhole(range, seam: seam)
        } else {
            appendSentences(range, seam: seam)
        }
    }

    private mutating func appendTableRows(_ range: Range<Int>, headerEnd: Int) {
        let header = range.lowerBound..<headerEnd
        appendWhole(header, seam: .block)
        let repeated = text.length(header) < maximum / 2 ? header : nil
        for row in text.lines(in: headerEnd..<range.upperBound) {
            appendWhole(row, seam: .line, tableHeader: repeated)
        }
    }

    /// Appends one unit, or words when it is too long for a chunk.
    private mutating func appendWhole(
        _ range: Range<Int>,
        kind: ChunkUnit.Kind = .whole,
        seam: ChunkUnit.Seam,
        tableHeader: Range<Int>? = nil
    ) {
        let range = text.trimmingEnd(range)
        let length = text.length(range)
        let limit = maximum - (tableHeader.map { text.length($0) + 1 } ?? 0)
        if length == 0 { return }
        if length <= limit {
            units.append(ChunkUnit(range: range, kind: kind, seam: seam, tableHeader: tableHeader))
        } else {
            appendWords(range, seam: seam, limit: limit, tableHeader: tableHeader)
        }
    }

    // MARK: Prose

    private mutating func appendSentences(_ range: Range<Int>, seam: ChunkUnit.Seam) {
        let scanner = SentenceScanner(text: text)
        var seam = seam
        var offset = text.skipBlank(from: range.lowerBound, to: range.upperBound)
        while offset < range.upperBound {
            let end = scanner.end(from: offset, to: range.upperBound)
            appendSentence(text.trimmingEnd(offset..<end), seam: seam)
            seam = .sentence
            offset = text.skipBlank(from: end, to: range.upperBound)
        }
    }

    private mutating func appendSentence(_ range: Range<Int>, seam: ChunkUnit.Seam) {
        if text.length(range) <= target {
            units.append(ChunkUnit(range: range, kind: .sentence, seam: seam, tableHeader: nil))
            return
        }
        var seam = seam
        for line in text.lines(in: range) {
            let line = text.trimming(line)
            if line.isEmpty { continue }
            if text.length(line) <= target {
                units.append(ChunkUnit(range: line, kind: .words, seam: seam, tableHeader: nil))
            } else {
                appendWords(line, seam: seam, limit: maximum, tableHeader: nil)
            }
            seam = .line
        }
    }

    /// Appends words, short ones a few together so that a long text does not become as many units.
    private mutating func appendWords(
        _ range: Range<Int>,
        seam: ChunkUnit.Seam,
        limit: Int,
        tableHeader: Range<Int>?
    ) {
        let together = max(1, min(target / 16, limit))
        var seam = seam
        var group: Range<Int>?
        func unit(_ range: Range<Int>, _ seam: ChunkUnit.Seam) -> ChunkUnit {
            ChunkUnit(range: range, kind: .words, seam: seam, tableHeader: tableHeader)
        }
        var offset = text.skipBlank(from: range.lowerBound, to: range.upperBound)
        while offset < range.upperBound {
            let word = offset..<wordEnd(from: offset, to: range.upperBound)
            offset = text.skipBlank(from: word.upperBound, to: range.upperBound)
            if let open = group, text.length(open.lowerBound..<word.upperBound) <= together {
                group = open.lowerBound..<word.upperBound
                continue
            }
            if let open = group {
                units.append(unit(open, seam))
                seam = .word
                group = nil
            }
            if text.length(word) <= limit {
                group = word
            } else {
                for piece in pieces(of: word, length: min(target, limit)) {
                    units.append(unit(piece, seam))
                    seam = .inWord
                }
                seam = .word
            }
        }
        if let open = group { units.append(unit(open, seam)) }
    }

    private func wordEnd(from start: Int, to end: Int) -> Int {
        var offset = start
        while offset < end, text.spaceWidth(at: offset) == 0 { offset += 1 }
        return offset
    }

    /// Cuts between grapheme clusters; inside of one only when it is longer than a piece by itself.
    private func pieces(of range: Range<Int>, length: Int) -> [Range<Int>] {
        var pieces: [Range<Int>] = []
        var start = range.lowerBound
        while start < range.upperBound {
            var end = text.offset(after: length, in: start..<range.upperBound)
            if end < range.upperBound {
                // One scalar more shows whether the last cluster goes on.
                let window = text.offset(after: length + 1, in: start..<range.upperBound)
                var boundary = start
                for character in String(decoding: text.bytes[start..<window], as: UTF8.self) {
                    let next = boundary + character.utf8.count
                    if next > end { break }
                    boundary = next
                }
                if boundary > start { end = boundary }
            }
            pieces.append(start..<end)
            start = end
        }
        return pieces
    }
}
