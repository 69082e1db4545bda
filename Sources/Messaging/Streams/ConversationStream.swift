package import Kernel
package import Storage

/// Follows a conversation from any place in its stream, on any node.
package struct ConversationStream: Sendable {
    let database: any Database

    package init(database: any Database) { self.database = database }

    /// How long a follower sleeps without a signal before it looks by itself: signals can be lost.
    static let pollingInterval = Duration.milliseconds(500)
    /// How long followers are kept while the database is away.
    static let patience = Duration.seconds(30)

    /// Hands over the entries after `sequence` as they come, until `deliver` says that it has enough or the task is
    /// cancelled.
    ///
    /// - Throws: `ConversationError.unknown`, what `deliver` throws, or a `StorageError`.
    package func follow(
        _ conversation: Conversation.Identifier,
        in scope: OrganizationScope,
        after sequence: Int64,
        deliver: @Sendable (StreamEntry) async throws -> Bool
    ) async throws {
        let waiter = database.signals.waiter(for: .conversation(conversation))
        var place = sequence
        var looks = 0
        while !Task.isCancelled {
            let after = place
            let entries = try await patiently(for: Self.patience) {
                try await database.fetch(
                    StreamStore.entries(of: conversation, after: after, limit: 100, in: scope),
                    in: scope
                )
            }
            for entry in entries {
                guard try await deliver(entry) else { return }
                place = entry.sequence
            }
            guard entries.isEmpty else { continue }
            await waiter.wait(atMost: Self.pollingInterval)
            looks += 1
            // From time to time, so that nobody waits for ever on an organization that was purged.
            if looks % 20 == 0, try await !exists(conversation, in: scope) { return }
        }
    }

    private func exists(_ id: Conversation.Identifier, in scope: OrganizationScope) async throws -> Bool {
        try await patiently(for: Self.patience) {
            try await database.fetch(ConversationStore.find(id, in: scope), in: scope) != nil
        }
    }
}
