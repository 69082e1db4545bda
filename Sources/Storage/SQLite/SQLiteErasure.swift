import GRDBSQLite
import Synchronization

/// What may be left in the file of what erasing transactions have deleted, and how far its removal has come.
///
/// In memory: after a start all is taken for undone.
final class SQLiteErasure: Sendable {
    private struct State {
        /// Something was deleted since the log was truncated last.
        var isDirty = true
        /// Indexes that may hold deleted text that no merge has included yet; those that are not here may as well.
        var isClean: [String: Bool] = [:]
        /// Indexes whose merge has begun.
        var merging: Set<String> = []
    }

    private let state = Mutex(State())

    var isDirty: Bool { state.withLock { $0.isDirty } }

    /// Takes note of tables that have lost rows.
    ///
    /// Also of those whose transaction does not commit: at worst a merge is made for nothing.
    func deleted(from tables: Set<String>) {
        guard !tables.isEmpty else { return }
        state.withLock { state in
            state.isDirty = true
            for table in tables { state.isClean["\(table)_search"] = false }
        }
    }

    enum MergeStep { case begin, goOn, none }

    /// What is to be done about an index next.
    ///
    /// A merge comes to its end before the next begins, so that an index that is deleted from all the time is not begun
    /// anew for ever.
    func next(for index: String) -> MergeStep {
        state.withLock { state in
            if state.merging.contains(index) { return .goOn }
            guard state.isClean[index] != true else { return .none }
            state.isClean[index] = true
            return .begin
        }
    }

    func merged(_ index: String, completely isComplete: Bool) {
        state.withLock { state in
            if isComplete { state.merging.remove(index) } else { state.merging.insert(index) }
        }
    }

    func failed(_ index: String) { state.withLock { $0.isClean[index] = false } }

    func begin() { state.withLock { $0.isDirty = false } }

    func end(isComplete: Bool) { if !isComplete { state.withLock { $0.isDirty = true } } }
}

extension SQLiteDatabase {
    /// How much of an index one step merges, in pages of FTS5, which have 4 KB.
    ///
    /// Measured: up to 7 ms, in which nobody else writes.
    private static let pagesPerStep = 100
    /// How many steps one call takes at most: 1.6 GB of indexes.
    private static let stepsPerCall = 4_000
    /// How often the log is tried to be truncated, and how long each try waits for readers, in milliseconds.
    private static let truncations = 20
    private static let truncationPatience: Int32 = 100

    /// Removes what deleted rows have left elsewhere: words in the text indexes, old pages, the log.
    ///
    /// In short steps, between which others write. The merge of an index rewrites all of it; it is done for those whose
    /// table has lost rows since.
    package func finishErasing() async throws -> Bool {
        guard erasure.isDirty else { return true }
        erasure.begin()
        var isComplete = false
        defer { erasure.end(isComplete: isComplete) }
        let isMerged = try await mergeTextIndexes()
        // Pages that ordinary transactions have given up are not overwritten; they leave the file.
        var steps = 0
        try await releaseFreePages {
            steps += 1
            return steps <= Self.stepsPerCall
        }
        let isTruncated = try await truncateLog()
        isComplete = isMerged && isTruncated
        return isComplete
    }

    private func mergeTextIndexes() async throws -> Bool {
        var steps = 0
        for index in try await upkeep({ connection in try SQLiteTextIndex.names(on: connection) }) {
            while true {
                let step = erasure.next(for: index)
                if case .none = step { break }
                let isFirst = if case .begin = step { true } else { false }
                guard steps < Self.stepsPerCall else {
                    if isFirst { erasure.failed(index) }
                    return false
                }
                steps += 1
                do {
                    let isComplete = try await upkeep { connection in
                        try SQLiteTextIndex.merge(index, pages: Self.pagesPerStep, isFirst: isFirst, on: connection)
                    }
                    erasure.merged(index, completely: isComplete)
                } catch {
                    if isFirst { erasure.failed(index) }
                    throw error
                }
            }
        }
        return true
    }

    /// Moves the log into the file and cuts it off, which needs a moment in which nobody reads from it.
    private func truncateLog() async throws -> Bool {
        for attempt in 1...Self.truncations {
            let isBusy = try await upkeep { connection in
                sqlite3_busy_timeout(connection.handle, Self.truncationPatience)
                defer { sqlite3_busy_timeout(connection.handle, SQLiteDatabase.lockPatience) }
                return try connection.integer("PRAGMA wal_checkpoint(TRUNCATE)") != 0
            }
            if !isBusy { return true }
            if attempt < Self.truncations { try await Task.sleep(for: .milliseconds(250)) }
        }
        return false
    }
}
