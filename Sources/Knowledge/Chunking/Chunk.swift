/// A passage of a document, the unit that search finds and answers cite.
package struct Chunk: Hashable, Sendable {
    /// The text: never blank, without NUL, with LF line ends.
    ///
    /// It is the document between the offsets; a later part of an oversized table has the table's header before it.
    package let content: String

    /// The headings that lead to the passage, outermost first; empty before the first heading and in plain text.
    package let section: [String]

    /// Where the passage starts in the document's UTF-8, in bytes, the overlap with the chunk before included.
    ///
    /// It grows strictly from chunk to chunk.
    package let startOffset: Int

    /// The byte after the passage; grows strictly from chunk to chunk.
    package let endOffset: Int

    /// The place among the document's chunks, from 0.
    package let ordinal: Int
}

/// How a document marks its structure.
package enum DocumentFormat: Hashable, Sendable {
    case markdown
    case plainText

    // A format with a structure of its own (HTML, PDF, DOCX) becomes a case here and a reader that yields its blocks.
    func blocks(of text: DocumentText) -> [DocumentBlock] {
        switch self {
        case .markdown: MarkdownReader(text).blocks()
        case .plainText: PlainTextReader(text).blocks()
        }
    }
}
