import Events
package import Kernel
package import Storage

/// Appends to the live streams of conversations.
package struct StreamStore {
    package let tx: any Transaction
    package let scope: OrganizationScope

    package init(tx: any Transaction, scope: OrganizationScope) {
        self.tx = tx
        self.scope = scope
    }

    /// Appends an entry at the conversation's next place; the caller saves the conversation.
    package func append(
        _ kind: Conversation.EntryKind,
        to conversation: inout Conversation,
        message: ID<Message>? = nil,
        data: JSON = [:],
        at now: Timestamp
    ) throws {
        try Conversation.stream.append(kind, to: &conversation, link: message, data: data, in: scope, at: now, tx)
    }

    /// Appends a piece of an answer when the conversation is still in the epoch in which the answer was begun.
    ///
    /// - Returns: Whether it is.
    package func appendDelta(
        _ text: String,
        to conversation: Conversation.Identifier,
        epoch: Int64,
        at now: Timestamp
    ) throws -> Bool {
        try Conversation.stream.append(
            .replyDelta,
            to: conversation,
            where: "epoch = \(epoch)",
            data: ["text": .string(text)],
            in: scope,
            at: now,
            tx
        )
    }

    /// What the newest entry of a kind was appended with.
    package func latest(_ kind: Conversation.EntryKind, in conversation: Conversation.Identifier) throws -> JSON? {
        try Conversation.stream.latest(kind, in: conversation, of: scope, tx)
    }
}
