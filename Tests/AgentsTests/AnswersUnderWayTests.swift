import Testing

@testable import Agents

@Suite("Answers under way")
struct AnswersUnderWayTests {
    @Test(
        "the more there are, the rarer each stores a piece",
        arguments: [(0, 60), (1, 60), (16, 60), (17, 63), (136, 530), (256, 1_000), (1_000, 1_000), (-3, 60)]
            as [(Int, Int)]
    )
    func interval(answers: Int, milliseconds: Int) {
        #expect(AnswersUnderWay.interval(of: answers) == .milliseconds(milliseconds))
    }

    @Test("counts those that have begun and not ended")
    func count() {
        let answers = AnswersUnderWay()
        for _ in 0..<256 { answers.begin() }
        #expect(answers.interval == .seconds(1))
        for _ in 0..<250 { answers.end() }
        #expect(answers.interval == .milliseconds(60))
    }
}
