import Synchronization

/// How many answers this node writes at the moment, and how often each of them stores what has come.
final class AnswersUnderWay: Sendable {
    private let count = Atomic(0)

    func begin() { count.add(1, ordering: .relaxed) }
    func end() { count.subtract(1, ordering: .relaxed) }

    /// The time between two pieces of an answer.
    var interval: Duration { Self.interval(of: count.load(ordering: .relaxed)) }

    /// As often as a reader can notice while there are few answers; rarer with more of them, so that the database has to
    /// store about as many pieces a second: 60 ms up to 16 answers, one second from 256 on, and evenly between.
    static func interval(of answers: Int) -> Duration {
        let (fewest, most) = (16, 256)
        let step = min(max(answers, fewest), most) - fewest
        return .milliseconds(60 + (1_000 - 60) * step / (most - fewest))
    }
}
