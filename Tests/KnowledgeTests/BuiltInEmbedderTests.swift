import Knowledge
import Testing

@Suite("lexical embedding")
struct BuiltInEmbedderTests {
    private let embedding = LexicalEmbedding()

    @Test(
        "vectors have 1,536 dimensions and length 1",
        arguments: ["a", "Refunds take 14 days.", "我", "👍", "the of and", "1"]
    )
    func normalised(text: String) {
        let vector = embedding.vector(for: text)
        #expect(vector.count == 1_536)
        #expect(abs(dot(vector, vector) - 1) < 1e-5)
    }

    @Test(
        "a text without letters gives the zero vector",
        arguments: ["", " \n\t", "\0", "?!… --- ###", "\u{301}", "''"]
    )
    func zero(text: String) {
        #expect(embedding.vector(for: text) == [Float](repeating: 0, count: 1_536))
    }

    @Test("case, diacritics, width and apostrophes are folded")
    func folding() {
        for (left, right) in [
            ("Përgjigje ÇMIMI", "pergjigje cmimi"), ("e\u{308}nde\u{308}rr", "ëndërr"), ("ＫＵＶＥＮＤ ４２", "kuvend 42"),
            ("Straße Œuvre", "strasse oeuvre"), ("don’t", "dont"), ("ΆΝΘΡΩΠΟΣ", "ανθρωπος"), ("Đường", "duong"),
            ("ЁЖИК", "ежик"),
        ] {
            #expect(embedding.vector(for: left) == embedding.vector(for: right), "\(left) \(right)")
        }
    }

    @Test(
        "similar texts score higher than others",
        arguments: [
            ("How do I get a refund?", "Refunds are paid within 14 days.", "Our office is open on Mondays."),
            ("recieve the invocie", "receive the invoice", "delete the account"),
            ("cancelling subscriptions", "You can cancel a subscription here.", "Agents answer messages of contacts."),
            ("Si ta anuloj abonimin?", "Anulimi i abonimit bëhet këtu.", "Zyra është e hapur të hënën."),
            (
                "webhook delivery failed", "Failed deliveries of webhooks are retried.",
                "The failed student of the of the school."
            ),
            ("返金の方法", "返金は十四日以内に行われます。", "営業時間は月曜日です。"),
            ("what is the price of the plan", "Plan prices", "what is the name of the dog"),
        ]
    )
    func similarity(query: String, near: String, far: String) {
        let vector = embedding.vector(for: query)
        let (high, low) = (dot(vector, embedding.vector(for: near)), dot(vector, embedding.vector(for: far)))
        #expect(high > low + 0.05, "\(high) \(low)")
    }

    @Test("a text is nearest to itself, and its order matters a little")
    func order() {
        let vector = embedding.vector(for: "dog bites man")
        let same = dot(vector, vector)
        let other = dot(vector, embedding.vector(for: "man bites dog"))
        #expect(same > other && other > 0.6)
    }

    @Test("repetition counts less and less")
    func repetition() {
        let vector = embedding.vector(for: "refund invoice")
        let skewed = embedding.vector(for: String(repeating: "refund ", count: 50) + "invoice")
        #expect(dot(vector, skewed) > 0.5)
    }

    @Test("vectors are the same in every process and version")
    func golden() {
        let vector = embedding.vector(for: "Kuvend answers, përgjigje 42 返金 👍 the the the")
        let expected: [Int: Float] = [
            363: -0.292_514_12, 774: -0.292_514_12, 868: 0.292_514_12, 39: 0.073_128_53, 0: 0,
        ]
        for (dimension, value) in expected { #expect(abs(vector[dimension] - value) < 1e-6, "\(dimension)") }
        #expect(vector.count { $0 != 0 } == 72)
        // All bits of all dimensions.
        let digest = vector.reduce(14_695_981_039_346_656_037 as UInt64) { digest, value in
            (digest ^ UInt64(value.bitPattern)) &* 1_099_511_628_211
        }
        #expect(digest == 4_395_021_185_773_909_667)
    }

    @Test("a megabyte takes seconds at most, even unoptimised", .timeLimit(.minutes(5)))
    func large() {
        let text = (0..<120_000).map { "word\($0) " }.joined() + String(repeating: "x", count: 100_000)
        let vector = embedding.vector(for: text)
        #expect(abs(dot(vector, vector) - 1) < 1e-5)
    }

    private func dot(_ left: [Float], _ right: [Float]) -> Float {
        zip(left, right).reduce(0) { $0 + $1.0 * $1.1 }
    }
}
