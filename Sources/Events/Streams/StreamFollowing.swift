package import Kernel
package import Storage

/// Tells a reader that entries are missing before the next one: what the stream is about is to be read anew.
package struct StreamReset: Sendable, Hashable {
    package enum Reason: String, Sendable, CaseIterable {
        /// Entries after the place that was seen are deleted; the stream goes on with the oldest that is still there.
        case purged
        /// The place that was seen is none of this stream; it goes on from now.
        case unknown
        /// The place that was seen is beyond the newest entry: the database is older than it was. It goes on from now.
        case ahead
    }

    /// The name of the event that says it.
    package static let name = "stream.reset"

    package let reason: Reason
    /// The place after which the stream goes on.
    package let id: StreamEntryID

    package init(_ reason: Reason, at id: StreamEntryID) {
        self.reason = reason
        self.id = id
    }

    package var data: JSON { ["reason": .string(reason.rawValue), "last_event_id": .string(id.description)] }
}

/// Where a reader begins to follow a stream.
package struct StreamStart: Sendable, Hashable {
    /// Entries after it are handed over.
    let sequence: Int64
    /// The newest entry that is known to have been there.
    let newest: Int64
    /// Why it is not the place that the reader asked for.
    let reset: StreamReset?

    /// After an entry that is known to have been there.
    package init(after sequence: Int64) {
        self.sequence = sequence
        newest = sequence
        reset = nil
    }

    /// After the place that a reader names; without one from now.
    ///
    /// - Parameters:
    ///   - text: What the reader sends back; text that is no place at all is told like that of another stream.
    ///   - mark: That of the stream's subject.
    ///   - newest: The newest entry of the stream.
    package init(after text: String?, mark: StreamMark, newest: Int64) {
        self.newest = newest
        let place = text.map { StreamPlace($0) }
        let (sequence, reason): (Int64, StreamReset.Reason?) =
            switch place {
            case nil: (newest, nil)
            case .entry(let id)? where id.mark == mark: (id.sequence, nil)
            case .sequence(let sequence)?: (sequence, nil)
            case .some: (newest, .unknown)
            }
        self.sequence = min(sequence, newest)
        let found = sequence > newest ? .ahead : reason
        reset = found.map { StreamReset($0, at: StreamEntryID(mark, newest)) }
    }
}

extension LiveStream {
    /// What a follower is given.
    package enum Item: Sendable {
        case entry(Entry)
        case reset(StreamReset)

        /// What a reader sends back to go on after it.
        package var id: StreamEntryID {
            switch self {
            case .entry(let entry): entry.id
            case .reset(let reset): reset.id
            }
        }

        /// The name of its event: `message.created`.
        package var name: String {
            switch self {
            case .entry(let entry): entry.kind.rawValue
            case .reset: StreamReset.name
            }
        }

        /// Encoded JSON.
        package var data: [UInt8] {
            switch self {
            case .entry(let entry): entry.data
            case .reset(let reset): reset.data.bytes
            }
        }
    }

    /// The names of all events that a follower can be given.
    package static var names: [String] { Subject.EntryKind.allCases.map(\.rawValue) + [StreamReset.name] }

    /// Hands over the entries after a place as they come, and a reset where some are missing.
    ///
    /// Returns when `deliver` says that it has enough, when the subject is gone or when the task is cancelled.
    ///
    /// - Throws: What `deliver` throws, or a `StorageError`.
    package func follow(
        _ subject: SubjectID,
        in scope: OrganizationScope,
        from start: StreamStart,
        on database: any Database,
        deliver: @Sendable (Item) async throws -> Bool
    ) async throws {
        let waiter = database.signals.waiter(for: signal(subject))
        let mark = StreamMark(of: subject)
        var place = start.sequence
        // Of an earlier look, so what was there and is not found now is deleted.
        var newest = start.newest
        var looks = 0
        if let reset = start.reset, try await !deliver(.reset(reset)) { return }
        while !Task.isCancelled {
            let after = place
            let entries = try await patiently(for: patience) {
                try await database.fetch(self.entries(of: subject, after: after, limit: 100, in: scope), in: scope)
            }
            for entry in entries {
                if entry.id.sequence > place + 1 {
                    let reset = StreamReset(.purged, at: StreamEntryID(mark, entry.id.sequence - 1))
                    guard try await deliver(.reset(reset)) else { return }
                }
                guard try await deliver(.entry(entry)) else { return }
                place = entry.id.sequence
            }
            guard entries.isEmpty else { continue }
            if place < newest {
                place = newest
                guard try await deliver(.reset(StreamReset(.purged, at: StreamEntryID(mark, place)))) else { return }
            }
            await waiter.wait(atMost: pollingInterval)
            looks += 1
            guard looks % 20 == 0 else { continue }
            // From time to time, so that nobody waits for ever on a subject that was deleted with its organization.
            let found = try await patiently(for: patience) {
                try await database.fetch(self.newest(of: subject, in: scope), in: scope)
            }
            guard let found else { return }
            newest = found
            if place > found {
                place = found
                guard try await deliver(.reset(StreamReset(.ahead, at: StreamEntryID(mark, place)))) else { return }
            }
        }
    }
}
