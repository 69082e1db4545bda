import Knowledge
import Testing

@Suite("rank fusion")
struct RankFusionTests {
    typealias Ranking = RankFusion.Ranking<String>

    @Test("scores are sums of reciprocal ranks")
    func scores() {
        let matches = RankFusion().fuse([Ranking(["a", "b", "c"]), Ranking(["c", "a"])])
        #expect(matches.map(\.id) == ["a", "c", "b"])
        #expect(matches.map(\.score) == [1 / 61.0 + 1 / 62.0, 1 / 63.0 + 1 / 61.0, 1 / 62.0])
    }

    @Test("equal scores are ordered by id, whatever the order of the lists")
    func ties() {
        let lists = [Ranking(["d", "b"]), Ranking(["a", "c"])]
        #expect(RankFusion().fuse(lists).map(\.id) == ["a", "d", "b", "c"])
        #expect(RankFusion().fuse(lists.reversed()).map(\.id) == ["a", "d", "b", "c"])
    }

    @Test("weights multiply; lists without a usable weight are left out")
    func weights() {
        let lists = [
            Ranking(["a"]), Ranking(["b"], weight: 2), Ranking(["c"], weight: 0), Ranking(["d"], weight: -1),
            Ranking(["e"], weight: .nan), Ranking(["f"], weight: .infinity),
        ]
        #expect(RankFusion().fuse(lists).map(\.id) == ["b", "a"])
    }

    @Test("a repeated id counts once and takes no rank")
    func repetition() {
        let matches = RankFusion().fuse([Ranking(["a", "a", "a", "b"])])
        let scores: [Double] = [1 / 61, 1 / 62]
        #expect(matches.map(\.score) == scores)
    }

    @Test("the limit cuts, and nothing gives nothing", arguments: [(-1, 0), (0, 0), (1, 1), (2, 2), (9, 3), (.max, 3)])
    func limits(limit: Int, count: Int) {
        #expect(RankFusion().fuse([Ranking(["a", "b", "c"])], limit: limit).count == count)
        #expect(RankFusion().fuse([Ranking([])], limit: limit).isEmpty)
        #expect(RankFusion().fuse([Ranking](), limit: limit).isEmpty)
    }

    @Test("the constant flattens the ranks", arguments: [-1, .nan, .infinity, 60])
    func constant(value: Double) {
        #expect(RankFusion(constant: value).constant == 60)
        #expect(RankFusion(constant: 0).fuse([Ranking(["a", "b"])]).map(\.score) == [1, 0.5])
    }
}
