import Events

/// Tells when the stream that a posted message began has shown all of its answer.
///
/// An answer that had begun before the message is one to an earlier message, so its end is not the end of this stream.
struct AnswerEnd: Sendable {
    private var hasBegun = false

    /// - Returns: Whether nothing of the answer follows `item`; so it is after a reset, among whose missing entries the end may
    ///   be.
    mutating func isReached(with item: LiveStream<Conversation>.Item) -> Bool {
        guard case .entry(let entry) = item else { return true }
        switch entry.kind {
        case .replyStarted:
            hasBegun = true
            return false
        case .replyCompleted: return hasBegun
        case .replyFailed, .replyCancelled: return true
        case .messageCreated, .replyDelta, .replyRetrying, .conversationUpdated: return false
        }
    }
}
