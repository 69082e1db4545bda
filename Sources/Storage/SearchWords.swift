package import Kernel

/// The words of a full-text query: letters and digits only, so no text from outside can reach the query languages of
/// the engines.
///
/// At most 32 words of at most 64 characters.
package struct SearchWords: Sendable {
    package static let maximumCount = 32

    package let words: [String]

    package init(_ text: String) {
        var words: [String] = []
        var word = ""
        func finish() {
            if !word.isEmpty, words.count < Self.maximumCount { words.append(word) }
            word = ""
        }
        for scalar in text.unicodeScalars.prefix(4_096) {
            if Self.isPartOfWord(scalar, after: word) {
                if word.unicodeScalars.count < 64 { word.unicodeScalars.append(scalar) }
            } else {
                finish()
            }
        }
        finish()
        self.words = words
    }

    /// Letters and digits, and marks that follow one.
    ///
    /// Other numbers, such as superscripts and fractions, are words for one engine and signs for the other.
    private static func isPartOfWord(_ scalar: Unicode.Scalar, after word: String) -> Bool {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .decimalNumber,
            .letterNumber:
            true
        case .nonspacingMark, .spacingMark, .enclosingMark: !word.isEmpty
        default: false
        }
    }

    package var isEmpty: Bool { words.isEmpty }

    /// Without the words that nearly every text holds, unless no others are left.
    package var withoutCommonWords: SearchWords {
        let rare = words.filter { !Self.commonWords.contains($0.lowercased()) }
        return rare.isEmpty ? self : SearchWords(rare.joined(separator: " "))
    }

    /// English and Albanian words without a meaning of their own.
    private static let commonWords: Set<String> = [
        "a", "about", "an", "and", "are", "as", "at", "be", "by", "can", "could", "did", "do", "does", "for", "from",
        "had", "has", "have", "how", "i", "if", "in", "is", "it", "its", "me", "my", "of", "on", "or", "our", "should",
        "so", "that", "the", "their", "them", "there", "these", "they", "this", "to", "was", "we", "were", "what",
        "when", "where", "which", "who", "why", "will", "with", "would", "you", "your",
        "dhe", "e", "është", "janë", "ka", "ku", "kur", "me", "më", "mund", "në", "nga", "një", "për", "po", "që", "së",
        "si", "te", "të", "u", "unë",
    ]

    /// How words combine.
    package enum Mode: Sendable {
        case all
        case any
    }

    /// A query for FTS5: the words in a column, and the organization's own word that each entry holds.
    ///
    /// Words match as prefixes when they have at least `prefixLength` characters.
    package func fts5(
        _ match: Mode,
        column: String,
        in scope: OrganizationScope,
        prefixLength: Int = 4
    ) -> String {
        let terms = words.map { $0.count >= prefixLength ? "\"\($0)\"*" : "\"\($0)\"" }
        let organization = scope.id.description.filter { $0 != "-" }
        let condition = terms.joined(separator: match == .all ? " AND " : " OR ")
        return "organization_id : \"\(organization)\" AND \(column) : (\(condition))"
    }

    /// The condition for `@@`: the words, and the organization's own word that each row's vector holds.
    ///
    /// Words that are none to PostgreSQL's parser match nothing, rather than everything of the organization.
    package func condition(_ match: Mode, in scope: OrganizationScope) -> SQL {
        let organization = "o" + scope.id.description.filter { $0 != "-" }
        let query = tsquery(match)
        return """
            (CASE WHEN numnode(to_tsquery('simple', \(query))) > 0
                THEN CAST(\(organization) AS tsquery) && to_tsquery('simple', \(query)) END)
            """
    }

    /// A query for `to_tsquery('simple', …)`, folded as the index is.
    package func tsquery(_ match: Mode, prefixLength: Int = 4) -> String {
        let terms = words.map { word in
            let folded = SearchFolding.fold(word)
            return folded.count >= prefixLength ? "'\(folded)':*" : "'\(folded)'"
        }
        return terms.joined(separator: match == .all ? " & " : " | ")
    }
}

/// Latin letters with marks and what they fold to, as FTS5's `remove_diacritics 2` does.
///
/// Both cases are listed because PostgreSQL's `lower` leaves them alone where the database has the C locale.
package enum SearchFolding {
    private static let lower = "àáâãäåāăąçćĉċčďèéêëēĕėęěĝğġģĥìíîïĩīĭįĵķĺļľñńņňòóôõöōŏőŕŗřśŝşšţťùúûüũūŭůűųŵýÿŷźżž"
    private static let upper = "ÀÁÂÃÄÅĀĂĄÇĆĈĊČĎÈÉÊËĒĔĖĘĚĜĞĠĢĤÌÍÎÏĨĪĬĮĴĶĹĻĽÑŃŅŇÒÓÔÕÖŌŎŐŔŖŘŚŜŞŠŢŤÙÚÛÜŨŪŬŮŰŲŴÝŸŶŹŻŽ"
    private static let base = "aaaaaaaaacccccdeeeeeeeeegggghiiiiiiiijklllnnnnoooooooorrrssssttuuuuuuuuuuwyyyzzz"

    /// Signs that PostgreSQL's parser would keep inside a word, such as an address or a version; FTS5 splits at them.
    package static let separators = "-./@:_+#&=?%~\\"

    /// The letters that `translate` replaces, and what it replaces them with, place by place.
    package static let marked = lower + upper
    package static let plain = base + base

    private static let folds = Dictionary(
        zip(marked.unicodeScalars, plain.unicodeScalars),
        uniquingKeysWith: { first, _ in first }
    )

    static func fold(_ word: String) -> String {
        var folded = String.UnicodeScalarView()
        for scalar in word.lowercased().unicodeScalars { folded.append(folds[scalar] ?? scalar) }
        return String(folded)
    }
}

extension Transaction {
    /// A condition on a table that has a full-text index (`Schema`): its rows hold the words, in the organization.
    package func matches(
        _ words: SearchWords,
        _ match: SearchWords.Mode,
        in table: String,
        column: String,
        of scope: OrganizationScope
    ) -> SQL {
        switch dialect {
        case .sqlite:
            let query = words.fts5(match, column: column, in: scope)
            let search = SQL(trusted: "\(table)_search")
            return """
                \(SQL(trusted: table)).entry IN (SELECT rowid FROM \(search) WHERE \(search) MATCH \(query))
                """
        case .postgres:
            return "\(SQL(trusted: table)).search_words @@ \(words.condition(match, in: scope))"
        }
    }
}
