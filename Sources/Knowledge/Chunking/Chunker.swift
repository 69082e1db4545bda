/// Cuts documents into passages for search.
///
/// A passage stays within one section and ends, in this order of preference, between blocks, sentences, lines, words
/// and, inside a word longer than a chunk, grapheme clusters. Lists, tables and code are cut only when larger than
/// `maximumSize`: lists between items, code between lines, tables between rows, with the header repeated. A heading
/// without text of its own goes with the section that follows.
///
/// All sizes are in characters, counted as Unicode scalars. The result depends on the input alone, and the time grows
/// linearly with its length.
package struct Chunker: Sendable {
    /// The size that chunks of prose come close to.
    package let targetSize: Int

    /// The size that no chunk exceeds.
    package let maximumSize: Int

    /// The longest sentence, or end of a torn one, that a chunk repeats from the chunk before in its section.
    package let overlap: Int

    /// The rest of a section that is smaller joins the chunk before it where that fits.
    package let minimumSize: Int

    /// Settings out of range are moved to the nearest sensible value.
    ///
    /// - Parameters:
    ///   - targetSize: At least 1.
    ///   - maximumSize: At least `targetSize`.
    ///   - overlap: At most half of `targetSize`; 0 for none.
    ///   - minimumSize: At most `targetSize`.
    package init(targetSize: Int = 1_000, maximumSize: Int = 1_600, overlap: Int = 150, minimumSize: Int = 200) {
        let target = min(max(targetSize, 1), 1_000_000)
        self.targetSize = target
        self.maximumSize = min(max(maximumSize, target), 2_000_000)
        self.overlap = min(max(overlap, 0), target / 2)
        self.minimumSize = min(max(minimumSize, 0), target)
    }

    /// The passages of a document in its order; none when it is blank.
    ///
    /// Every word of the document is in one of them, whole unless it is longer than `maximumSize`. NUL and a byte
    /// order mark are dropped, line ends become LF.
    package func chunks(of document: String, format: DocumentFormat) -> [Chunk] {
        let text = DocumentText(document)
        var units = ChunkUnits(text: text, target: targetSize, maximum: maximumSize)
        var outline = Outline()
        for block in format.blocks(of: text) {
            if case .heading(let level, let title) = block.kind {
                outline.open(level: level, title: title, at: units.units.count)
            }
            units.append(block)
        }
        let packer = Packer(chunker: self, text: text, units: units.units)
        var chunks: [Chunk] = []
        for section in packer.merged(outline.sections(upTo: units.units.count)) {
            for part in packer.parts(of: section.units) {
                chunks.append(packer.chunk(part, section: section.path, ordinal: chunks.count))
            }
        }
        return chunks
    }
}

/// A heading's path and the units from it to the next heading.
private struct Section {
    var path: [String]
    var units: Range<Int>
}

/// Follows the headings of a document.
private struct Outline {
    private var headings: [(level: Int, title: String)] = []
    private var sections: [Section] = []
    private var path: [String] = []
    private var start = 0

    mutating func open(level: Int, title: String, at unit: Int) {
        close(at: unit)
        while let last = headings.last, last.level >= level { headings.removeLast() }
        headings.append((level, title))
        path = headings.map(\.title).filter { !$0.isEmpty }
    }

    func sections(upTo end: Int) -> [Section] {
        var whole = self
        whole.close(at: end)
        return whole.sections
    }

    private mutating func close(at unit: Int) {
        if unit > start { sections.append(Section(path: path, units: start..<unit)) }
        start = unit
    }
}

/// Puts units together to chunks.
private struct Packer {
    /// The units of a chunk that the chunk before does not have, and the byte where it starts.
    struct Part {
        var units: Range<Int>
        let start: Int
    }

    /// More sections than this, small on average, are merged as well: a document must not become a chunk per line.
    private static let manySections = 1_000

    let chunker: Chunker
    let text: DocumentText
    let units: [ChunkUnit]

    // MARK: Sections

    /// Joins headings that have no text to the section after them.
    func merged(_ sections: [Section]) -> [Section] {
        let isCrowded =
            sections.count > Self.manySections && text.bytes.count / sections.count < chunker.minimumSize
        var result: [Section] = []
        var open: Section?
        for section in sections {
            var section = section
            if let before = open {
                if !isHeading(before) {
                    section.path = Array(zip(before.path, section.path).prefix { $0 == $1 }.map(\.0))
                }
                section.units = before.units.lowerBound..<section.units.upperBound
                open = nil
            }
            let size = text.length(span(section.units))
            if isHeading(section) ? size < chunker.targetSize / 2 : isCrowded && size < chunker.minimumSize {
                open = section
            } else {
                result.append(section)
            }
        }
        if let open { result.append(open) }
        return result
    }

    private func isHeading(_ section: Section) -> Bool {
        units[section.units.upperBound - 1].kind == .heading
    }

    private func span(_ range: Range<Int>) -> Range<Int> {
        units[range.lowerBound].range.lowerBound..<units[range.upperBound - 1].range.upperBound
    }

    // MARK: Parts

    func parts(of section: Range<Int>) -> [Part] {
        var parts: [Part] = []
        var next = section.lowerBound
        while next < section.upperBound {
            let start = start(of: next, after: parts.last)
            let end = end(from: next, startingAt: start, in: section)
            if let last = parts.last, end == section.upperBound, joins(next..<end, to: last) {
                parts[parts.count - 1].units = last.units.lowerBound..<end
            } else {
                parts.append(Part(units: next..<end, start: start))
            }
            next = end
        }
        return parts
    }

    /// Where the chunk of a unit starts: earlier by a sentence, or by the last words of a torn one.
    private func start(of unit: Int, after part: Part?) -> Int {
        let start = units[unit].range.lowerBound
        guard let part, units[unit].tableHeader == nil else { return start }
        let end = units[unit - 1].range.upperBound
        var first = unit
        while first - 1 > part.units.lowerBound {
            let earlier = units[first - 1]
            guard earlier.kind == .sentence || earlier.kind == .words, earlier.tableHeader == nil else { break }
            guard text.length(earlier.range.lowerBound..<end) <= chunker.overlap else { break }
            first -= 1
            if earlier.kind == .sentence || earlier.seam >= .line { break }
        }
        let early = units[first].range.lowerBound
        let fits = text.length(early..<units[unit].range.upperBound) <= chunker.maximumSize
        return fits ? early : start
    }

    private func headerLength(of unit: Int) -> Int {
        units[unit].tableHeader.map { text.length($0) + 1 } ?? 0
    }

    private func size(from start: Int, first: Int, through last: Int) -> Int {
        headerLength(of: first) + text.length(start..<units[last].range.upperBound)
    }

    private func end(from first: Int, startingAt start: Int, in section: Range<Int>) -> Int {
        var end = first + 1
        var size = size(from: start, first: first, through: first)
        while end < section.upperBound {
            let next = self.size(from: start, first: first, through: end)
            guard next <= chunker.targetSize || next <= chunker.maximumSize && size < chunker.targetSize / 2 else {
                return bestEnd(from: first, startingAt: start, upTo: end)
            }
            size = next
            end += 1
        }
        return end
    }

    /// The best seam in the last three tenths of a chunk, the latest of equals.
    private func bestEnd(from first: Int, startingAt start: Int, upTo end: Int) -> Int {
        var best = end
        var candidate = end - 1
        while candidate > first, units[best].seam < .section {
            guard size(from: start, first: first, through: candidate - 1) >= chunker.targetSize * 7 / 10 else { break }
            if units[candidate].seam > units[best].seam { best = candidate }
            candidate -= 1
        }
        return best
    }

    private func joins(_ rest: Range<Int>, to part: Part) -> Bool {
        text.length(span(rest)) < chunker.minimumSize
            && size(from: part.start, first: part.units.lowerBound, through: rest.upperBound - 1)
                <= chunker.maximumSize
    }

    // MARK: Chunks

    func chunk(_ part: Part, section: [String], ordinal: Int) -> Chunk {
        let end = units[part.units.upperBound - 1].range.upperBound
        var content = text.content(of: part.start..<end)
        if let header = units[part.units.lowerBound].tableHeader { content = text.content(of: header) + "\n" + content }
        return Chunk(content: content, section: section, startOffset: part.start, endOffset: end, ordinal: ordinal)
    }
}
