/// A stretch of whole lines that belong together.
struct DocumentBlock: Sendable {
    enum Kind: Sendable, Equatable {
        /// Level 1 is the outermost.
        case heading(level: Int, title: String)
        /// Text that may be cut between sentences.
        case prose
        /// Text whose lines count.
        case code
        case list
        /// The byte after the row of dashes.
        case table(headerEnd: Int)
    }

    let kind: Kind

    /// Bytes from the start of the first line to the end of the last, without its line end.
    let range: Range<Int>
}

/// Reads text whose only structure is the blank line.
struct PlainTextReader {
    private let text: DocumentText

    init(_ text: DocumentText) {
        self.text = text
    }

    func blocks() -> [DocumentBlock] {
        var blocks: [DocumentBlock] = []
        var open: Range<Int>?
        for line in text.lines(in: text.body) {
            if text.isBlank(line) {
                if let range = open { blocks.append(DocumentBlock(kind: .prose, range: range)) }
                open = nil
            } else {
                open = (open?.lowerBound ?? line.lowerBound)..<line.upperBound
            }
        }
        if let range = open { blocks.append(DocumentBlock(kind: .prose, range: range)) }
        return blocks
    }
}
