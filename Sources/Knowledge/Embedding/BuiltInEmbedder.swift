/// A vector made from the letters of a text, without a model.
///
/// It finds shared words, inflections and misspellings, not meaning.
///
/// Features are words, their character n-grams of 3 to 5 with marked word ends, and pairs of neighbouring words, all
/// folded (case, diacritics, width). Each is hashed to a dimension and a sign (Weinberger et al., "Feature Hashing for
/// Large Scale Multitask Learning", ICML 2009), weighs `1 + ln(occurrences)` times the weight of its kind, and the sum
/// has length 1. Function words of English and Albanian count little. Scripts without spaces between words are read
/// letter by letter and pair by pair.
///
/// Vectors are stored: the same text must give the same vector in every process and version. A change of anything here
/// needs a new name for the embedding and a new run over the documents.
package struct LexicalEmbedding: Sendable {
    package static let dimensions = 1_536

    package init() {}

    /// The normalised vector of a text; the **zero vector** when it has no letter, digit or pictograph.
    ///
    /// The time is linear in the length of the text.
    package func vector(for text: String) -> [Float] {
        var features = LexicalFeatures()
        for scalar in text.unicodeScalars { features.read(scalar) }
        features.endWord()

        // The terms are multiples of 2⁻¹⁶, so the sums are exact and do not depend on the order of a dictionary.
        var sums = [Double](repeating: 0, count: Self.dimensions)
        for (feature, count) in features.counts {
            let dimension = Int(((feature >> 32) * UInt64(Self.dimensions)) >> 32)
            let term = LexicalFeatures.weight(of: feature) * (1 + Self.logarithm(count))
            let rounded = (term * 65_536).rounded() / 65_536
            sums[dimension] += feature & 0x1000 == 0 ? rounded : -rounded
        }
        let length = sums.reduce(0) { $0 + $1 * $1 }.squareRoot()
        guard length > 0 else { return [Float](repeating: 0, count: Self.dimensions) }
        return sums.map { Float($0 / length) }
    }

    /// ln(*count*) to within 0.06, from exact operations only: libraries differ in the last bit of theirs.
    private static func logarithm(_ count: Int) -> Double {
        let count = Double(max(count, 1))
        return (Double(count.exponent) + count.significand - 1) * 0.6875
    }
}

/// Counts the features of a text as its scalars come in.
private struct LexicalFeatures {
    /// What a feature is; the raw value is the low bits of its hash.
    private enum Kind: UInt64 {
        case word, functionWord, gram, pair, functionPair, letter, letterPair
    }

    /// Occurrences by hash.
    private(set) var counts: [UInt64: Int] = [:]

    /// The folded scalars of the open word.
    private var word: [UInt32] = []

    /// An apostrophe came after the open word.
    private var isJoining = false

    private var previous: (hash: UInt64, kind: Kind)?

    static func weight(of feature: UInt64) -> Double {
        switch Kind(rawValue: feature & 7) {
        case .word, .letterPair: 1
        case .pair, .letter: 0.5
        case .gram: 0.25
        case .functionWord, .functionPair: 0.125
        case nil: 0
        }
    }

    // MARK: Words

    mutating func read(_ scalar: Unicode.Scalar) {
        switch ScalarFolding.role(of: scalar) {
        case .word:
            isJoining = false
            ScalarFolding.fold(scalar, into: &word)
        case .letter:
            endWord()
            finish(Self.hash([scalar.value]), .letter)
        case .mark:
            break
        case .apostrophe where !word.isEmpty && !isJoining:
            isJoining = true
        case .apostrophe, .separator:
            endWord()
        }
    }

    mutating func endWord() {
        isJoining = false
        guard !word.isEmpty else { return }
        let hash = Self.hash(word)
        let isFunctionWord = FunctionWords.hashes.contains(hash)
        if !isFunctionWord { countGrams() }
        word.removeAll(keepingCapacity: true)
        finish(hash, isFunctionWord ? .functionWord : .word)
    }

    /// Counts a word and its pair with the one before.
    private mutating func finish(_ hash: UInt64, _ kind: Kind) {
        count(hash, kind)
        if let previous {
            let pair: Kind =
                switch (previous.kind, kind) {
                case (.functionWord, _), (_, .functionWord): .functionPair
                case (.letter, .letter): .letterPair
                default: .pair
                }
            count(Self.extended(Self.mixed(previous.hash), with: hash), pair)
        }
        previous = (hash, kind)
    }

    /// Counts the runs of 3, 4 and 5 scalars of the word between its end marks, but for the whole.
    private mutating func countGrams() {
        let end = word.count + 2
        for start in 0..<end - 2 {
            var hash = Self.basis
            for offset in start..<min(start + 5, end) {
                let scalar = offset == 0 ? 0x3C : offset == end - 1 ? 0x3E : word[offset - 1]
                hash = Self.extended(hash, with: UInt64(scalar))
                let length = offset - start + 1
                if length >= 3, length < end { count(hash, .gram) }
            }
        }
    }

    // MARK: Hashes

    private mutating func count(_ hash: UInt64, _ kind: Kind) {
        counts[Self.mixed(hash ^ kind.rawValue << 56) & ~7 | kind.rawValue, default: 0] += 1
    }

    /// FNV-1a with whole scalars in place of bytes.
    static func hash(_ scalars: [UInt32]) -> UInt64 {
        scalars.reduce(basis) { extended($0, with: UInt64($1)) }
    }

    private static let basis: UInt64 = 0xCBF2_9CE4_8422_2325

    private static func extended(_ hash: UInt64, with value: UInt64) -> UInt64 {
        (hash ^ value) &* 0x0000_0100_0000_01B3
    }

    /// The finalizer of MurmurHash3, which spreads FNV's weak high bits.
    private static func mixed(_ hash: UInt64) -> UInt64 {
        var hash = hash
        hash = (hash ^ hash >> 33) &* 0xFF51_AFD7_ED55_8CCD
        hash = (hash ^ hash >> 33) &* 0xC4CE_B9FE_1A85_EC53
        return hash ^ hash >> 33
    }
}

/// Words that say little about a text, folded.
private enum FunctionWords {
    static let hashes = Set(
        """
        a about after all also am an and any are as at be been before but by can could did do does for from had has \
        have he her him his how i if in into is it its may me more most my no nor not of on or our out over she should \
        so some such than that the their them then there these they this those to too under up us very was we were \
        what when where which while who why will with would you your \
        dhe do e eshte i ishte ja jam jane ka kam kane kjo ky me nder ne nese nga nje o para pas per po por qe se si \
        te ti tek u une
        """
        .split(separator: " ").map { word in LexicalFeatures.hash(word.unicodeScalars.map(\.value)) }
    )
}

/// Folds case, diacritics and width with tables of its own, because those of a library change with its version.
private enum ScalarFolding {
    enum CharacterRole {
        /// Part of a word.
        case word
        /// A word by itself: ideographs, letters of scripts without spaces, pictographs.
        case letter
        /// A diacritic, which is dropped.
        case mark
        /// Dropped inside of a word.
        case apostrophe
        case separator
    }

    static func role(of scalar: Unicode.Scalar) -> CharacterRole {
        switch scalar.value {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: return .word
        case 0x27, 0x2019: return .apostrophe
        case 0x00...0x7F: return .separator
        case 0xAD, 0x0300...0x036F, 0x0591...0x05BD, 0x064B...0x065F, 0x0670, 0x1AB0...0x1AFF, 0x1DC0...0x1DFF,
            0x200B...0x200D, 0x20D0...0x20FF, 0xFE00...0xFE0F, 0xFE20...0xFE2F, 0xFEFF:
            return .mark
        case 0x00C0...0x024F: return scalar.value == 0xD7 || scalar.value == 0xF7 ? .separator : .word
        default: break
        }
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .nonspacingMark,
            .spacingMark, .decimalNumber, .letterNumber, .otherNumber:
            return isUnspaced(scalar.value) ? .letter : .word
        case .otherSymbol:
            return .letter
        default:
            return .separator
        }
    }

    /// Whether the script puts no spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
    private static func isUnspaced(_ value: UInt32) -> Bool {
        switch value {
        case 0x0E00...0x0EFF, 0x1000...0x109F, 0x1780...0x17FF, 0x3005...0x3007, 0x3040...0x30FF, 0x31F0...0x31FF,
            0x3400...0x4DBF, 0x4E00...0x9FFF, 0xF900...0xFAFF, 0x2_0000...0x3_FFFF:
            true
        default:
            false
        }
    }

    static func fold(_ scalar: Unicode.Scalar, into word: inout [UInt32]) {
        let value = scalar.value
        switch value {
        case 0x41...0x5A: word.append(value + 0x20)
        case 0x00...0x7F: word.append(value)
        case 0xFF21...0xFF3A: word.append(value - 0xFF21 + 0x61)
        case 0xFF10...0xFF19, 0xFF41...0xFF5A: word.append(value - 0xFEE0)
        default:
            for table in tables where value >= table.first && value - table.first < table.letters.count {
                append(table.letters[Int(value - table.first)], or: value, to: &word)
                return
            }
            for lower in scalar.properties.lowercaseMapping.unicodeScalars { word.append(lower.value) }
        }
    }

    private static func append(_ letter: UInt32, or value: UInt32, to word: inout [UInt32]) {
        switch letter {
        case 0x2D: word.append(value)
        case 0xDF: word += [0x73, 0x73]  // ß
        case 0xE6: word += [0x61, 0x65]  // æ
        case 0xFE: word += [0x74, 0x68]  // þ
        case 0x153: word += [0x6F, 0x65]  // œ
        default: word.append(letter)
        }
    }

    /// The letters of a block in lower case and without diacritics; `-` for what stays as it is.
    private struct FoldingTable {
        let first: UInt32
        let letters: [UInt32]

        init(first: UInt32, letters: String) {
            self.first = first
            self.letters = letters.unicodeScalars.map(\.value)
        }
    }

    /// From the canonical decompositions of Unicode 15.
    private static let tables = [
        FoldingTable(
            first: 0x00C0,
            letters: """
                aaaaaaæceeeeiiiidnooooo-ouuuuyþßaaaaaaæceeeeiiiidnooooo-ouuuuyþyaaaaaaccccccccddddeeeeeeeeeegggg\
                gggghhhhiiiiiiiiiiĳĳjjkkkllllllŀŀllnnnnnnnnnooooooœœrrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs\
                ƀɓƃƃƅƅɔƈƈɖɗƌƌƍǝəɛƒƒɠɣƕɩɨƙƙƚƛɯɲƞɵooƣƣƥƥʀƨƨʃƪƫƭƭʈuuʊʋƴƴƶƶʒƹƹƺƻƽƽƾƿǀǁǂǃǆǆǆǉǉǉǌǌǌaaiioouuuuuuuuuuǝaa\
                aaææǥǥggkkooooʒʒjǳǳǳggƕƿnnaaææooaaaaeeeeiiiioooorrrruuuussttȝȝhhƞȡȣȣȥȥaaeeooooooooyyȴȵȶȷȸȹⱥȼȼƚⱦȿ\
                ɀɂɂƀʉʌɇɇɉɉɋɋɍɍɏɏ
                """
        ),
        FoldingTable(
            first: 0x0370,
            letters: """
                ͱͱͳͳʹ-ͷͷ--ͺͻͼͽ-ϳ------α-εηι-ο-υωιαβγδεζηθικλμνξοπρ-στυφχψωιυαεηιυαβγδεζηθικλμνξοπρσστυφχψωιυουωϗ\
                ϐϑϒϒϒϕϖϗϙϙϛϛϝϝϟϟϡϡϣϣϥϥϧϧϩϩϫϫϭϭϯϯϰϱϲϳθϵ-ϸϸϲϻϻϼͻͼͽ
                """
        ),
        FoldingTable(
            first: 0x0400,
            letters: """
                ееђгєѕііјљњћкиуџабвгдежзииклмнопрстуфхцчшщъыьэюяабвгдежзииклмнопрстуфхцчшщъыьэюяееђгєѕііјљњћкиуџ
                """
        ),
        FoldingTable(
            first: 0x1E00,
            letters: """
                aabbbbbbccddddddddddeeeeeeeeeeffgghhhhhhhhhhiiiikkkkkkllllllllmmmmmmnnnnnnnnoooooooopppprrrrrrrr\
                ssssssssssttttttttuuuuuuuuuuvvvvwwwwwwwwwwxxxxyyzzzzzzhtwyẚsẜẝßẟaaaaaaaaaaaaaaaaaaaaaaaaeeeeeeee\
                eeeeeeeeiiiioooooooooooooooooooooooouuuuuuuuuuuuuuyyyyyyyyỻỻỽỽỿỿ
                """
        ),
        FoldingTable(
            first: 0x1F00,
            letters: """
                ααααααααααααααααεεεεεε--εεεεεε--ηηηηηηηηηηηηηηηηιιιιιιιιιιιιιιιιοοοοοο--οοοοοο--υυυυυυυυ-υ-υ-υ-υ\
                ωωωωωωωωωωωωωωωωααεεηηιιοουυωω--ααααααααααααααααηηηηηηηηηηηηηηηηωωωωωωωωωωωωωωωωααααα-ααααααα-ι-\
                --ηηη-ηηεεηηη---ιιιι--ιιιιιι----υυυυρρυυυυυυρ-----ωωω-ωωοοωωω---
                """
        ),
    ]
}
