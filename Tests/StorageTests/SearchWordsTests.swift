import Storage
import Testing

@Suite("Words of a search")
struct SearchWordsTests {
    @Test(
        "letters and digits make words, every other sign divides them",
        arguments: [
            ("Where is my parcel?", ["Where", "is", "my", "parcel"]), ("a-b.c@d", ["a", "b", "c", "d"]),
            ("Përshëndetje", ["Përshëndetje"]), ("e\u{301}t\u{E9}", ["e\u{301}t\u{E9}"]), ("\u{301}x", ["x"]),
            ("m² ½ ①", ["m"]), ("Ⅷ 42", ["Ⅷ", "42"]), ("\"drop'; * NEAR(", ["drop", "NEAR"]), ("²", []), ("", []),
        ]
    )
    func divided(text: String, words: [String]) {
        #expect(SearchWords(text).words == words)
    }

    @Test("what is too much is left out")
    func bounded() {
        #expect(SearchWords(String(repeating: "a ", count: 1_000)).words.count == SearchWords.maximumCount)
        #expect(SearchWords(String(repeating: "a", count: 1_000)).words.first?.count == 64)
    }
}
