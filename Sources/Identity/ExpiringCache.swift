import Kernel
import Synchronization

/// Answers of the database that may be used again for a while.
///
/// Shortly before an answer ends one caller is told to ask anew while the others still use it, so that a busy credential
/// does not make all its requests wait at once. An answer that was asked for before something was removed is not kept,
/// as it may show what was there before.
///
/// Memory is bounded by two generations: when the young one is full it becomes the old one, whose entries are lost unless
/// they are used before the next turn.
final class ExpiringCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    /// Proves when the question was asked.
    struct Ticket: Sendable {
        fileprivate let removals: UInt64
    }

    enum CacheAnswer: Sendable {
        case found(Value)
        case ask(Ticket)
    }

    private struct Entry {
        let value: Value
        let renewAt: Timestamp
        let endsAt: Timestamp
        var isBeingRenewed = false
    }

    private struct State {
        var young: [Key: Entry] = [:]
        var old: [Key: Entry] = [:]
        var removals: UInt64 = 0
    }

    private let capacity: Int
    private let state = Mutex(State())

    /// - Parameter capacity: The most entries to keep, at least 2.
    init(capacity: Int) { self.capacity = max(2, capacity) }

    func look(for key: Key, at now: Timestamp) -> CacheAnswer {
        state.withLock { state in
            let isYoung = state.young[key] != nil
            guard var entry = state.young[key] ?? state.old[key], now < entry.endsAt else {
                return .ask(Ticket(removals: state.removals))
            }
            if !entry.isBeingRenewed, now >= entry.renewAt {
                entry.isBeingRenewed = true
                insert(key, entry, &state)
                return .ask(Ticket(removals: state.removals))
            }
            if !isYoung { insert(key, entry, &state) }
            return .found(entry.value)
        }
    }

    func keep(_ value: Value, for key: Key, renewAt: Timestamp, until endsAt: Timestamp, _ ticket: Ticket) {
        state.withLock { state in
            guard ticket.removals == state.removals else { return }
            insert(key, Entry(value: value, renewAt: renewAt, endsAt: endsAt), &state)
        }
    }

    func remove(_ key: Key) {
        state.withLock { state in
            state.removals &+= 1
            state.young[key] = nil
            state.old[key] = nil
        }
    }

    func removeAll(where isGone: @Sendable (Value) -> Bool) {
        state.withLock { state in
            state.removals &+= 1
            state.young = state.young.filter { !isGone($0.value.value) }
            state.old = state.old.filter { !isGone($0.value.value) }
        }
    }

    var count: Int { state.withLock { $0.young.count + $0.old.count } }

    private func insert(_ key: Key, _ entry: Entry, _ state: inout State) {
        if state.young.count >= capacity / 2, state.young[key] == nil {
            state.old = state.young
            state.young = [:]
        }
        state.old[key] = nil
        state.young[key] = entry
    }
}
