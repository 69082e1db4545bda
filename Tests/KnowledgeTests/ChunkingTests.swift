import Knowledge
import Testing

@Suite("chunking")
struct ChunkingTests {
    @Test(
        "a blank document has no chunks",
        arguments: [
            "", " ", "\n\r\n\t", "\u{FEFF}", "\0\0", "\u{FEFF}\0 \u{3000}\u{A0}\n",
            String(repeating: "\n", count: 9_999),
        ]
    )
    func blank(document: String) {
        #expect(Chunker().chunks(of: document, format: .markdown).isEmpty)
        #expect(Chunker().chunks(of: document, format: .plainText).isEmpty)
    }

    @Test("headings of both kinds start sections and lead to their path")
    func headings() {
        let document = """
            Before.

            # Guide ##
            Hello.
            ## Setup
            Install it.
            ### Linux
            Use apt.
            ## Use #1
            Call it.

            Reference
            =========
            All of it.

            Limits of
            the house
            ---
            None.
            ####### seven is none
            #none either
            """
        let chunks = Chunker().chunks(of: document, format: .markdown)
        #expect(
            chunks.map(\.section) == [
                [], ["Guide"], ["Guide", "Setup"], ["Guide", "Setup", "Linux"], ["Guide", "Use #1"], ["Reference"],
                ["Reference", "Limits of the house"],
            ]
        )
        #expect(chunks[1].content == "# Guide ##\nHello.")
        #expect(chunks[6].content.hasSuffix("None.\n####### seven is none\n#none either"))
        #expect(chunks.map(\.ordinal) == Array(0..<7))
    }

    @Test("headings without text go with the next section, headings in code and quotes are text")
    func emptyHeadings() {
        let document = "# A\n\n## B\n\n### C\ntext\n\n```sh\n# comment\n```\n> # quoted\n\n~~~\n# open to the end"
        let chunks = Chunker().chunks(of: document, format: .markdown)
        #expect(chunks.map(\.section) == [["A", "B", "C"]])
        #expect(chunks.map(\.content) == [document])
        #expect(Chunker().chunks(of: "# only", format: .markdown).map(\.content) == ["# only"])
    }

    @Test("front matter is not a heading")
    func frontMatter() {
        let chunks = Chunker().chunks(of: "---\ntitle: Rates\n---\nText.\n\n# One\nTwo.", format: .markdown)
        #expect(chunks.map(\.section) == [[], ["One"]])
    }

    @Test("plain text has no sections")
    func plainText() {
        let chunks = Chunker().chunks(of: "# Not a heading\n\ntext", format: .plainText)
        #expect(chunks.map(\.content) == ["# Not a heading\n\ntext"])
        #expect(chunks.map(\.section) == [[]])
    }

    @Test("line ends become LF, NUL and the byte order mark go, offsets stay those of the document")
    func normalisation() throws {
        let document = "\u{FEFF}# T\r\n\r\nfo\0o\tbar\rbaz\r\n"
        let chunk = try #require(Chunker().chunks(of: document, format: .markdown).first)
        #expect(chunk.content == "# T\n\nfoo\tbar\nbaz")
        #expect(chunk.section == ["T"])
        #expect(chunk.startOffset == 3)
        #expect(chunk.endOffset == document.utf8.count - 2)
    }

    @Test("a code block, list or table that fits stays whole, even beyond the target")
    func wholeStructures() {
        let intro = String(repeating: "Some words of text. ", count: 45)
        let code = "```swift\n" + String(repeating: "let answer = 42\n\n", count: 80) + "```"
        let list = (1...55).map { "- item number \($0)\n  goes on" }.joined(separator: "\n")
        let table = "| a | b |\n|---|:-:|\n" + (1...80).map { "| row | \($0) |" }.joined(separator: "\n")
        for structure in [code, list, table] {
            let chunks = Chunker().chunks(of: intro + "\n\n" + structure + "\n\n" + intro, format: .markdown)
            #expect(chunks.contains { $0.content.contains(structure) })
        }
    }

    @Test("an oversized code block is cut at line ends")
    func largeCode() {
        let lines = (1...300).map { "    call(number: \($0))" }
        let document = "```\n" + lines.joined(separator: "\n") + "\n```"
        let chunks = Chunker().chunks(of: document, format: .markdown)
        #expect(chunks.count > 3)
        #expect(chunks.flatMap { $0.content.split(separator: "\n") } == document.split(separator: "\n"))
    }

    @Test("an oversized list is cut between its items")
    func largeList() {
        let items = (1...100).map { "\($0). item that has a name\n   - and a part. With two sentences." }
        let chunks = Chunker().chunks(of: items.joined(separator: "\n"), format: .markdown)
        #expect(chunks.count > 3)
        #expect(chunks.map(\.content).joined(separator: "\n") == items.joined(separator: "\n"))
        #expect(chunks.allSatisfy { $0.content.first?.isNumber == true })
    }

    @Test("an oversized table repeats its header")
    func largeTable() {
        let header = "| name | price |\n| :--- | ----: |"
        let rows = (1...200).map { "| thing \($0) | \($0).50 |" }
        let document = "Prices:\n" + header + "\n" + rows.joined(separator: "\n") + "\n\nafter"
        let chunks = Chunker().chunks(of: document, format: .markdown)
        #expect(chunks.count > 3)
        #expect(chunks.first?.content.hasPrefix("Prices:\n" + header) == true)
        #expect(chunks.dropFirst().allSatisfy { $0.content.hasPrefix(header + "\n| thing") })
        for row in rows { #expect(chunks.count { $0.content.contains(row) } == 1) }
        #expect(chunks.last?.content.hasSuffix("\n\nafter") == true)
    }

    @Test(
        "sentences end where they should",
        arguments: [
            ("It costs 3.50 euros. Pay now.", ["It costs 3.50 euros.", "Pay now."]),
            ("Use a tool, e.g. Make, or i.e. none. Then go.", ["Use a tool, e.g. Make, or i.e. none.", "Then go."]),
            (
                "Dr. Hoxha from the U.S. Army met J. Smith. He left.",
                ["Dr. Hoxha from the U.S. Army met J. Smith.", "He left."]
            ),
            ("Really?! \"Yes.\" (Of course.) Go...", ["Really?!", "\"Yes.\"", "(Of course.)", "Go..."]),
            ("wait... what? no.", ["wait... what? no."]),
            ("See kuvend.com. Visit 1.2.3. Done!", ["See kuvend.com.", "Visit 1.2.3.", "Done!"]),
            ("今日は。「元気？」はい！終わり", ["今日は。", "「元気？」", "はい！", "終わり"]),
            ("1. First. 2. Second.", ["1. First.", "2.", "Second."]),
            ("Çfarë është? Është mirë. Ëndrra.", ["Çfarë është?", "Është mirë.", "Ëndrra."]),
        ]
    )
    func sentences(text: String, expected: [String]) {
        // The smallest target that every sentence fits into, and no room for two.
        let longest = expected.map(\.unicodeScalars.count).max() ?? 1
        for index in expected.indices.dropLast() {
            let pair = expected[index].unicodeScalars.count + expected[index + 1].unicodeScalars.count
            let chunker = Chunker(targetSize: longest, maximumSize: longest, overlap: 0, minimumSize: 0)
            let chunks = chunker.chunks(of: text, format: .plainText).map(\.content)
            #expect(pair <= longest || chunks.contains { $0.hasSuffix(expected[index]) }, "\(chunks)")
            #expect(pair <= longest || chunks.contains { $0.hasPrefix(expected[index + 1]) }, "\(chunks)")
        }
    }

    @Test("a chunk repeats the last sentence of the one before, not across headings")
    func overlap() {
        let sentences = (1...80).map { "This is sentence number \($0) of the long text." }
        let document = sentences.joined(separator: " ") + "\n\n# Next\n\n" + sentences.joined(separator: " ")
        let chunks = Chunker().chunks(of: document, format: .markdown)
        for (before, after) in zip(chunks, chunks.dropFirst()) {
            if before.section == after.section {
                #expect(after.startOffset < before.endOffset)
                #expect(before.content.hasSuffix(after.content.prefix { $0 != "." } + "."))
            } else {
                #expect(after.content.hasPrefix("# Next"))
            }
        }
        let apart = Chunker(overlap: 0).chunks(of: document, format: .markdown)
        #expect(zip(apart, apart.dropFirst()).allSatisfy { $0.endOffset < $1.startOffset })
    }

    @Test("chunks of prose come close to the target")
    func proseSizes() {
        let paragraph = (1...9).map { "Sentence \($0) says a thing or two about the house and its guests." }
            .joined(separator: " ")
        let document = Array(repeating: paragraph, count: 60).joined(separator: "\n\n")
        let sizes = Chunker().chunks(of: document, format: .markdown).map(\.content.count)
        #expect(sizes.dropLast().allSatisfy { (600...1_050).contains($0) })
        let mean = sizes.reduce(0, +) / max(sizes.count, 1)
        #expect((700...1_000).contains(mean), "\(mean)")
    }

    @Test("a small rest joins the chunk before it")
    func smallRest() {
        let document = String(repeating: "word ", count: 195) + "end. A small rest of some words comes here."
        #expect(Chunker().chunks(of: document, format: .plainText).count == 1)
    }

    @Test("grapheme clusters stay whole, unless one alone is too long")
    func graphemes() {
        let flags = String(repeating: "🇦🇱🇽🇰", count: 3_000)
        for chunk in Chunker().chunks(of: flags, format: .plainText) {
            #expect(chunk.content.allSatisfy { $0 == "🇦🇱" || $0 == "🇽🇰" })
        }
        let zalgo = "a" + String(repeating: "\u{301}", count: 5_000)
        let chunks = Chunker().chunks(of: zalgo, format: .plainText)
        #expect(chunks.reduce(0) { $0 + $1.content.unicodeScalars.count } == 5_001)
    }
}
