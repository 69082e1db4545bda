import Outbound

/// The language model that needs no key: it quotes the sentences of the passages that hold the words of the question,
/// each with its citation, and says so when there are none.
///
/// It understands nothing. Words are compared by their beginnings, so that inflections of English and Albanian meet;
/// rare words count more than common ones; a question in a passage lends its words to the sentence that answers it.
/// The same request always gives the same answer.
package struct ExtractiveModel: LanguageModel {
    package static let modelName = "built-in extractive"

    package let name = Self.modelName

    private static let mostSentences = 3
    private static let mostBytes = 900

    package init() {}

    package func offers(_ name: String) -> Bool { name == self.name }

    package func reply(
        to request: ModelRequest,
        deliver: @escaping @Sendable (String) async throws -> Void
    ) async throws -> ModelCompletion {
        if let model = request.model, !offers(model) {
            throw ProviderError(.badRequest("unknown model"), provider: "builtin")
        }
        let answer = Self.answer(to: request)
        for piece in Self.pieces(of: answer) {
            if Task.isCancelled { throw ProviderError(.cancelled, provider: "builtin") }
            try await deliver(piece)
        }
        let input =
            request.instructions.utf8.count + request.messages.reduce(0) { $0 + $1.content.utf8.count }
            + request.passages.reduce(0) { $0 + $1.content.utf8.count }
        return ModelCompletion(
            reason: .stop,
            usage: TokenUsage(
                input: TokenEstimate.tokens(bytes: input),
                output: TokenEstimate.tokens(in: answer),
                isEstimated: true
            ),
            model: name
        )
    }

    /// Words with the white space after them: together exactly the text.
    static func pieces(of text: String) -> [String] {
        var pieces: [String] = []
        var piece = ""
        var hasEnded = false
        for character in text {
            if hasEnded, !character.isWhitespace {
                pieces.append(piece)
                piece = ""
                hasEnded = false
            }
            piece.append(character)
            if character.isWhitespace { hasEnded = true }
        }
        return piece.isEmpty ? pieces : pieces + [piece]
    }

    // MARK: The answer

    private struct Candidate {
        /// In the order of the passages.
        let position: Int
        let passage: Int
        let text: String
        let score: Int
    }

    static func answer(to request: ModelRequest) -> String {
        let question = request.question
        let terms = Terms.content(of: question)
        let candidates = candidates(for: terms, in: request.passages)
        guard let best = candidates.map(\.score).max(), best >= Score.weakest else { return nothing(for: question) }

        let floor = max(Score.weakest, best * 4 / 5)
        var bytes = 0
        var chosen: [Candidate] = []
        let mostBytes = min(Self.mostBytes, max(request.maximumTokens, 1) * 4)
        for candidate in candidates.sorted(by: { ($1.score, $0.position) < ($0.score, $1.position) }) {
            guard candidate.score >= floor, chosen.count < mostSentences else { break }
            // Neighbouring passages overlap.
            if chosen.contains(where: { $0.text == candidate.text }) { continue }
            bytes += candidate.text.utf8.count
            if bytes > mostBytes, !chosen.isEmpty { break }
            chosen.append(candidate)
        }
        chosen.sort { $0.position < $1.position }
        var answer = ""
        for (index, sentence) in chosen.enumerated() {
            if !answer.isEmpty { answer += " " }
            answer += sentence.text
            let isLastOfPassage = index + 1 == chosen.count || chosen[index + 1].passage != sentence.passage
            if isLastOfPassage { answer += " [\(sentence.passage)]" }
        }
        return answer
    }

    private static func candidates(for terms: [String], in passages: [RetrievedPassage]) -> [Candidate] {
        guard !terms.isEmpty else { return [] }
        let units = passages.map { PassageSentences.units(of: $0.content) }
        let texts = units.joined().map { Terms.words(of: $0.matched) }
        guard !texts.isEmpty else { return [] }
        // A word that every sentence has says little: weights go from 1,000 for those to 2,000 for the rarest.
        let weights = terms.map { term in
            let uses = texts.count { words in words.contains { Terms.match(term, $0) } }
            return 1_000 + 1_000 * (texts.count - uses) / texts.count
        }
        let whole = weights.reduce(0, +)
        var candidates: [Candidate] = []
        for (rank, passage) in passages.enumerated() {
            let title = Terms.words(of: passage.source + " " + (passage.section ?? ""))
            for unit in units[rank] {
                let words = texts[candidates.count]
                let heading = title + Terms.words(of: unit.heading)
                var score = 0
                for (term, weight) in zip(terms, weights) {
                    if words.contains(where: { Terms.match(term, $0) }) {
                        score += weight
                    } else if heading.contains(where: { Terms.match(term, $0) }) {
                        score += weight * 2 / 5
                    }
                }
                // Retrieval's own order settles near ties.
                let share = score * 1_000 / whole
                candidates.append(
                    Candidate(
                        position: candidates.count,
                        passage: passage.number,
                        text: unit.text,
                        score: share - min(rank, 20) * (share > 0 ? 2 : 0)
                    )
                )
            }
        }
        return candidates
    }

    private enum Score {
        /// In thousandths of the weight of the question's words: with less, a sentence is about something else.
        static let weakest = 420
    }

    private static func nothing(for question: String) -> String {
        Terms.isAlbanian(question)
            ? "Nuk gjeta asgjë për këtë në bazën e njohurive."
            : "I found nothing about this in the knowledge base."
    }
}

// MARK: - Sentences

/// Takes a passage apart into what can be quoted.
enum PassageSentences {
    struct Unit: Equatable {
        /// What is quoted.
        var text: String
        /// What is compared with the question: a question in the passage belongs to its answer.
        var matched: String
        /// The headings above it that are part of the passage.
        var heading: String
    }

    static func units(of content: String) -> [Unit] {
        var units: [Unit] = []
        var heading = ""
        var question = ""
        /// Whether the last unit announces the list that follows it.
        var isIntroducing = false
        for block in blocks(of: content) {
            guard !block.isHeading else {
                heading = block.text
                question = ""
                isIntroducing = false
                continue
            }
            for sentence in sentences(of: block.text) {
                let text = withoutMarks(sentence)
                if text.hasSuffix("?") {
                    question += (question.isEmpty ? "" : " ") + text
                } else if isIntroducing, block.isItem, let last = units.indices.last, units[last].text.utf8.count < 500
                {
                    units[last].text += (units[last].text.hasSuffix(":") ? " " : "; ") + text
                    units[last].matched += " " + text
                } else {
                    units.append(
                        Unit(text: text, matched: question.isEmpty ? text : question + " " + text, heading: heading)
                    )
                    question = ""
                    isIntroducing = text.hasSuffix(":")
                }
            }
        }
        // A question that nothing answers is better than nothing.
        if !question.isEmpty { units.append(Unit(text: question, matched: question, heading: heading)) }
        return units
    }

    private struct Block {
        var text: String
        var isHeading = false
        var isItem = false
    }

    /// Paragraphs, list items and headings, without their Markdown signs and with lines joined.
    private static func blocks(of content: String) -> [Block] {
        var blocks: [Block] = []
        var isOpen = false
        var isCode = false
        for line in content.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline) {
            let text = trimmed(line)
            if text.hasPrefix("```") || text.hasPrefix("~~~") {
                isCode.toggle()
                isOpen = false
            } else if text.isEmpty || (!isCode && text.allSatisfy { "-=*_|:+ ".contains($0) }) {
                isOpen = false
            } else if !isCode, text.hasPrefix("#") {
                blocks.append(Block(text: String(trimmed(text.drop { $0 == "#" })), isHeading: true))
                isOpen = false
            } else if let item = item(text) {
                blocks.append(Block(text: String(item), isItem: true))
                isOpen = true
            } else if isOpen, !isCode, !text.hasPrefix("|"), let last = blocks.indices.last {
                blocks[last].text += " " + text
            } else {
                blocks.append(Block(text: String(trimmed(text.drop { $0 == ">" || $0 == "|" }))))
                isOpen = !isCode
            }
        }
        return blocks
    }

    private static func item(_ text: Substring) -> Substring? {
        if let first = text.first, "-*+•".contains(first), text.dropFirst().first?.isWhitespace == true {
            return trimmed(text.dropFirst())
        }
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        let rest = text[digits.endIndex...]
        guard (1...3).contains(digits.count), rest.first == "." || rest.first == ")",
            rest.dropFirst().first?.isWhitespace == true
        else { return nil }
        return trimmed(rest.dropFirst())
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text.drop(while: \.isWhitespace)
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }

    static func sentences(of text: String) -> [String] {
        let characters = Array(text)
        var sentences: [String] = []
        var start = 0
        var position = 0
        func close(at end: Int) {
            let sentence = trimmed(String(characters[start..<end])[...])
            if sentence.contains(where: { $0.isLetter || $0.isNumber }) { sentences.append(String(sentence)) }
            start = end
        }
        while position < characters.count {
            let mark = characters[position]
            position += 1
            if "。！？｡".contains(mark) {
                close(at: position)
                continue
            }
            guard ".!?…".contains(mark) else { continue }
            while position < characters.count, ".!?…\"'”’»)]*_".contains(characters[position]) { position += 1 }
            guard position < characters.count else { break }
            guard characters[position].isWhitespace else { continue }
            let next = characters[position...].first { !$0.isWhitespace }
            if next?.isLowercase == true { continue }
            if mark == ".", isAbbreviation(characters[start..<(position - 1)]) { continue }
            close(at: position)
        }
        close(at: characters.count)
        return sentences
    }

    /// An initial, letters with inner stops, or a title of two letters.
    private static func isAbbreviation(_ characters: ArraySlice<Character>) -> Bool {
        let word = characters.suffix(8).split(whereSeparator: { $0.isWhitespace || $0 == "(" }).last ?? []
        guard word.first?.isLetter == true else { return false }
        return word.count == 1 || word.dropFirst().contains(".") || (word.count == 2 && word.first?.isUppercase == true)
    }

    /// Emphasis goes, and numbers in square brackets would look like citations.
    private static func withoutMarks(_ text: String) -> String {
        var result = ""
        var rest = text[...]
        while let character = rest.first {
            if rest.hasPrefix("**") || rest.hasPrefix("__") {
                rest = rest.dropFirst(2)
            } else if character == "[" {
                let number = rest.dropFirst().prefix { $0.isASCII && $0.isNumber }
                if !number.isEmpty, rest[number.endIndex...].first == "]" {
                    result += "(\(number))"
                    rest = rest[number.endIndex...].dropFirst()
                } else {
                    result.append(character)
                    rest = rest.dropFirst()
                }
            } else {
                result.append(character)
                rest = rest.dropFirst()
            }
        }
        return result
    }
}

// MARK: - Words

/// The words of a text, folded for comparison.
enum Terms {
    private static let folded: [Character: String] = {
        var folded: [Character: String] = ["ß": "ss", "æ": "ae", "œ": "oe"]
        let groups = [
            "a": "àáâãäåāăą", "c": "çćč", "d": "đď", "e": "èéêëēėęě", "g": "ğ", "i": "ìíîïīı", "l": "łľ", "n": "ñńň",
            "o": "òóôõöøōő", "r": "řŕ", "s": "śşš", "t": "ţť", "u": "ùúûüūůű", "y": "ýÿ", "z": "źżž",
        ]
        for (letter, forms) in groups {
            for form in forms { folded[form] = letter }
        }
        return folded
    }()

    /// Words that say little about a question, in English and Albanian, folded.
    private static let common = Set(
        """
        a about after all also am an and any are as at be been before best but by can could did do does doing done else \
        find for from get give go got had has have he hello help her hey hi him his how i if in info information into is \
        it its just know like long many may me mean more most much must my need no not of on or our out over please \
        possible say she should show so some tell than thank thanks that the their them then there these they thing \
        things this those to too under up us use very want was we were what when where which while who whose why will \
        with work would yes you your \
        ajo ama apo as ashtu asnje ata ato cfare cila cilat cilen cili cka ca dhe dicka do dua duhet e edhe eshte faleminderit \
        gjate i ishin ishte ja jam jane jeni jo ju jua juaj ka kam kane kemi keni keto kjo ku kur kush ky me mos mua mund \
        mundem na ne nese nga nje nuk o para pas per perse pershendetje po por pra pse qe sa se sepse si te tek ti tij tu \
        tuaj tyre u une
        """
        .split(separator: " ").map(String.init)
    )

    private static let albanian = Set(
        """
        apo cfare cila cili cka dhe dua duhet edhe eshte faleminderit ishte jam jane jeni jo juaj kam kane kemi keni keto \
        kjo ku kur kush mua mund nese nga nje nuk per perse pershendetje po por pse qe sa sepse si tek tuaj une
        """
        .split(separator: " ").map(String.init)
    )

    private static let english = Set(
        """
        about am an and are can could do does for from have hello how i in is it my of on please the there they this to \
        was we what when where which who why will with would you your
        """
        .split(separator: " ").map(String.init)
    )

    static func words(of text: String) -> [String] {
        var words: [String] = []
        var word = ""
        for character in text.lowercased() {
            if character.isLetter || character.isNumber {
                if isIdeograph(character) {
                    if !word.isEmpty { words.append(word) }
                    words.append(String(character))
                    word = ""
                } else {
                    word += folded[character] ?? String(character)
                }
            } else if character != "'", character != "’" {
                if !word.isEmpty { words.append(word) }
                word = ""
            }
        }
        return word.isEmpty ? words : words + [word]
    }

    /// The words that a question is about, each once.
    static func content(of text: String) -> [String] {
        var terms: [String] = []
        for word in words(of: text) where !common.contains(word) {
            guard word.count > 1 || word.first?.isNumber == true || word.first.map(isIdeograph) == true,
                !terms.contains(where: { match($0, word) })
            else { continue }
            terms.append(word)
            // More words make no better answer, and the work grows with them.
            if terms.count == 40 { break }
        }
        return terms
    }

    /// Whether two folded words are likely forms of one: equal, or alike but for their ends.
    static func match(_ left: String, _ right: String) -> Bool {
        if left == right { return true }
        let left = left.utf8
        let right = right.utf8
        let shorter = min(left.count, right.count)
        guard shorter >= 4, max(left.count, right.count) - shorter <= 4 else { return false }
        var shared = 0
        for (one, other) in zip(left, right) {
            guard one == other else { break }
            shared += 1
        }
        return shared >= max(4, shorter - 2)
    }

    static func isAlbanian(_ text: String) -> Bool {
        let words = words(of: text)
        let albanian = words.count { Self.albanian.contains($0) } + (text.contains { "ëËçÇ".contains($0) } ? 2 : 0)
        return albanian > words.count { Self.english.contains($0) }
    }

    private static func isIdeograph(_ character: Character) -> Bool {
        switch character.unicodeScalars.first?.value ?? 0 {
        case 0x3040...0x30FF, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xF900...0xFAFF, 0x2_0000...0x3_FFFF: true
        default: false
        }
    }
}
