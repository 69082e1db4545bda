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

    /// Appends a piece of an answer when the conversation is still in the epoch in which the answer was begun.
    ///
    /// - Returns: Whether it is.
    package func appendDelta(
        _ text: String,
        to conversation: ID<ConversationEntity>,
        epoch: Int64,
        at now: Timestamp
    ) throws -> Bool {
        // Those who change hands hold the conversation: the next statement sees what they left.
        try tx.run(
            "SELECT id FROM conversations WHERE organization_id = \(scope.id) AND id = \(conversation) \(.forUpdate)"
        )
        return try Conversation.stream.append(
            .replyDelta,
            to: conversation,
            where: """
                EXISTS (SELECT 1 FROM answerings
                WHERE organization_id = \(scope.id) AND conversation_id = \(conversation) AND epoch = \(epoch))
                """,
            data: ["text": .string(text)],
            in: scope,
            at: now,
            tx
        )
    }
}
