import Knowledge
import Testing

/// What holds for every document and every setting.
@Suite("properties of chunking")
struct ChunkingPropertyTests {
    @Test("documents put together at random", arguments: 0..<24 as Range<UInt64>)
    func random(seed: UInt64) {
        var generator = SplitMix(state: seed)
        let document = randomDocument(using: &generator)
        let target = Int.random(in: 1...300, using: &generator)
        let settings = [
            Chunker(),
            Chunker(
                targetSize: target,
                maximumSize: target + Int.random(in: 0...200, using: &generator),
                overlap: Int.random(in: 0...100, using: &generator),
                minimumSize: Int.random(in: 0...100, using: &generator)
            ),
        ]
        for chunker in settings {
            check(document, with: chunker, format: .markdown)
            check(document, with: chunker, format: .plainText)
        }
    }

    @Test(
        "hostile documents",
        arguments: [
            "a", ">", "#", "# ", "# a\n", "# a\nb\n", "- ", "-", "- a\n", "  - a\n    b\n", "`", "```\n",
            "- a\n  ```\n",
            "|", "|a|b|\n|-|-|\n", "a|b\n-|-\n", "|-", "a. ", ".", "!", "。", "\n", "a\n\n", "\r", "\t", "\0", "a\0 ",
            "=\n", "a\n=\n", "---\n", "\u{301}", "👨‍👩‍👧", "🇦🇱", "\u{3000}あ", "\u{A0}x", "\u{FEFF}", "    a\n", "e.g. ",
            "1. ",
            "\u{85}", "\u{2028}a", "\\|", "> - # ", "é", "[", "\"", "*",
        ]
    )
    func hostile(piece: String) {
        let document = String(repeating: piece, count: 12_000 / piece.utf8.count)
        check(document, with: Chunker(), format: .markdown)
        check(document, with: Chunker(), format: .plainText)
        let few = String(repeating: piece, count: 40)
        for target in [1, 2, 3, 7] {
            let chunker = Chunker(targetSize: target, maximumSize: target, overlap: 2, minimumSize: 1)
            check(few, with: chunker, format: .markdown)
        }
    }

    @Test("settings out of range are moved into it", arguments: [Int.min, -1, 0, 1, Int.max])
    func settings(size: Int) {
        let chunker = Chunker(targetSize: size, maximumSize: size, overlap: size, minimumSize: size)
        #expect(chunker.targetSize >= 1 && chunker.maximumSize >= chunker.targetSize)
        check("| a | b |\n|---|---|\n| c | d |\n\n# e\n\nf. g. h.", with: chunker, format: .markdown)
    }

    @Test("a document of very many tiny sections does not become as many chunks")
    func manySections() {
        let document = String(repeating: "# a\nb\n", count: 5_000)
        #expect(Chunker().chunks(of: document, format: .markdown).count < 400)
        let fewer = String(repeating: "# a\nb\n", count: 500)
        #expect(Chunker().chunks(of: fewer, format: .markdown).count == 500)
    }

    @Test(
        "a megabyte takes moments",
        .timeLimit(.minutes(5)),
        arguments: ["a", ">", "# a\n", "a ", "- a\n  ```\n", "\u{301}"]
    )
    func linearTime(piece: String) {
        let document = "|a|b|\n|-|-|\n" + String(repeating: piece, count: 1_000_000 / piece.utf8.count)
        #expect(!Chunker().chunks(of: document, format: .markdown).isEmpty)
    }

    // MARK: The properties

    private func check(_ document: String, with chunker: Chunker, format: DocumentFormat) {
        let chunks = chunker.chunks(of: document, format: format)
        #expect(chunks == chunker.chunks(of: document, format: format))
        #expect(chunks.map(\.ordinal) == Array(chunks.indices))
        let bytes = Array(document.utf8)
        var before: Chunk?
        for chunk in chunks {
            #expect(chunk.content.unicodeScalars.count <= chunker.maximumSize)
            #expect(!words(of: chunk.content).isEmpty)
            #expect(!chunk.content.utf8.contains(0))
            #expect(chunk.startOffset >= 0 && chunk.startOffset < chunk.endOffset && chunk.endOffset <= bytes.count)
            if let before {
                #expect(before.startOffset < chunk.startOffset)
                #expect(before.endOffset < chunk.endOffset)
            }
            let source = normalised(String(decoding: bytes[chunk.startOffset..<chunk.endOffset], as: UTF8.self))
            #expect(Array(chunk.content.utf8.suffix(source.utf8.count)) == Array(source.utf8))
            before = chunk
        }
        checkCoverage(of: document, by: chunks, maximum: chunker.maximumSize)
    }

    /// Every word that fits is whole in a chunk, and no scalar lies between chunks.
    private func checkCoverage(of document: String, by chunks: [Chunk], maximum: Int) {
        var found: Set<String> = []
        for chunk in chunks { found.formUnion(words(of: chunk.content)) }
        let body = document.unicodeScalars.first == "\u{FEFF}" ? String(document.unicodeScalars.dropFirst()) : document
        for word in Set(words(of: normalised(body))) where word.unicodeScalars.count * 2 <= maximum {
            #expect(found.contains(word), "\(word)")
        }
        var covered = 0
        var gaps: [UInt8] = []
        let bytes = Array(document.utf8)
        for chunk in chunks {
            if chunk.startOffset > covered { gaps += bytes[covered..<chunk.startOffset] }
            covered = chunk.endOffset
        }
        gaps += bytes[covered...]
        let rest = String(decoding: gaps, as: UTF8.self).unicodeScalars
        let isDropped = rest.allSatisfy { $0.properties.isWhitespace || $0.value == 0 || $0.value == 0xFEFF }
        #expect(isDropped)
    }

    private func words(of text: String) -> [String] {
        text.unicodeScalars.split { $0.properties.isWhitespace }.map { String($0) }
    }

    private func normalised(_ text: String) -> String {
        var result = String.UnicodeScalarView()
        var afterReturn = false
        for scalar in text.unicodeScalars {
            if scalar == "\n" && afterReturn { result.removeLast() }
            if scalar.value != 0 { result.append(scalar == "\r" ? "\n" : scalar) }
            afterReturn = scalar == "\r"
        }
        return String(result)
    }

    // MARK: Documents

    private func randomDocument(using generator: inout SplitMix) -> String {
        let words = [
            "word", "e.g.", "3.14", "Kuvendi", "është", "日本語。", "👩‍👩‍👧‍👦", "a\u{301}\u{302}", "`code`", "U.S.", "end.",
            "why?", "\0x",
            "|", "#", "-", "https://kuvend.com/a?b=c", "\u{FEFF}", "—", String(repeating: "x", count: 400), "ﷺ", "نص",
            "(so.)",
        ]
        let spaces = [" ", " ", " ", " ", "\n", "\r\n", "\t", "\u{3000}", "\u{A0}", "  \n", "\r"]
        let starts = [
            "", "", "", "# ", "## ", "###### ", "- ", "1. ", "> ", ">> ", "```\n", "~~~~\n", "    ",
            "| a | b |\n|---|---|\n| ",
            "---\n", "===\n", "* * *\n", "\t", "  - ", "|",
        ]
        var document = Bool.random(using: &generator) ? "" : "\u{FEFF}"
        for _ in 0..<Int.random(in: 0...60, using: &generator) {
            let start = starts.randomElement(using: &generator) ?? ""
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                document += start
                for _ in 0..<Int.random(in: 0...40, using: &generator) {
                    document += words.randomElement(using: &generator) ?? ""
                    document += spaces.randomElement(using: &generator) ?? ""
                }
                document += "\n"
            }
            if Bool.random(using: &generator) { document += "\n" }
        }
        return document
    }
}

private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
