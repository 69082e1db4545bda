package import Jobs
package import Kernel
package import Messaging
import Storage

/// Answers the latest messages of a conversation.
///
/// There is one such job for a conversation at a time.
package struct ReplyJob: Job {
    package static let kind = "reply.generate"
    package static let lane = Lane.interactive
    package static let policy = RetryPolicy(
        maxAttempts: 6,
        base: .seconds(2),
        ceiling: .seconds(60),
        timeout: .seconds(120),
        lease: .seconds(15),
        // A contact who has waited for an hour is better told that there will be no answer.
        longestRetryAfter: .seconds(3_600)
    )

    let conversation: ID<ConversationEntity>
    /// Whether it takes the place of a job that was given up.
    let isAnew: Bool

    package init(conversation: ID<ConversationEntity>, isAnew: Bool = false) {
        self.conversation = conversation
        self.isAnew = isAnew
    }

    package var payload: JSON {
        ["conversation_id": .string(conversation.description), "is_anew": .bool(isAnew)]
    }

    package init(payload: JSON) throws {
        guard let id = payload["conversation_id"]?.string.flatMap({ ID<ConversationEntity>($0) }) else {
            throw JobFailure.permanent("the payload names no conversation")
        }
        conversation = id
        isAnew = payload["is_anew"]?.bool ?? false
    }

    /// Makes an answer due, in the transaction that stores the message.
    ///
    /// While a job for the conversation waits or runs this adds none: the job looks for newer messages, under the lock
    /// of the conversation, before it ends.
    package static let request: ReplyRequest = { tx, conversation, isAnew, scope, now in
        try tx.enqueue(
            ReplyJob(conversation: conversation, isAnew: isAnew),
            in: scope,
            uniqueKey: conversation.description,
            now: now
        )
    }
}
