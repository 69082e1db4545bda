import GRDBSQLite

/// How FTS5 keeps one full-text index: segments, in levels.
///
/// What is deleted stays in its segment until that is merged with all others.
///
/// Read from the record that FTS5 keeps of it, in the format of SQLite's `ext/fts5/fts5_index.c` ("Structure record"): four
/// bytes of a cookie, the numbers of levels, segments and writes, then for each level the number of segments that are being
/// merged, the number of all, and three numbers for each.
struct SQLiteTextIndex: Equatable {
    struct Level: Equatable {
        /// How many of its segments are being merged into the next level.
        let merging: Int
        /// The number and the first and last page of each.
        let segments: [[UInt64]]
    }

    private let cookie: [UInt8]
    private let segmentCount: UInt64
    private let writes: UInt64
    private(set) var levels: [Level]

    /// nil for what is not in the format.
    init?(_ bytes: [UInt8]) {
        var rest = bytes.dropFirst(4)
        func next() -> UInt64? { Self.number(&rest) }
        guard bytes.count > 4, let levelCount = next(), levelCount <= 2_000, let segmentCount = next(),
            let writes = next()
        else { return nil }
        cookie = Array(bytes.prefix(4))
        self.segmentCount = segmentCount
        self.writes = writes
        levels = []
        for _ in 0..<levelCount {
            guard let merging = next(), let count = next(), merging <= count, count <= segmentCount else { return nil }
            var segments: [[UInt64]] = []
            for _ in 0..<count {
                guard let number = next(), let first = next(), let last = next() else { return nil }
                segments.append([number, first, last])
            }
            levels.append(Level(merging: Int(merging), segments: segments))
        }
        guard rest.isEmpty, levels.reduce(0, { $0 + $1.segments.count }) == Int(segmentCount) else { return nil }
    }

    var bytes: [UInt8] {
        var bytes = cookie
        for number in [UInt64(levels.count), segmentCount, writes] { Self.append(number, to: &bytes) }
        for level in levels {
            Self.append(UInt64(level.merging), to: &bytes)
            Self.append(UInt64(level.segments.count), to: &bytes)
            for number in level.segments.joined() { Self.append(number, to: &bytes) }
        }
        return bytes
    }

    /// Whether a merge into the last level that holds something has not come to its end.
    var isBeingMerged: Bool {
        guard let last = levels.lastIndex(where: { !$0.segments.isEmpty }) else { return false }
        return levels[last].merging > 0 || last > 0 && levels[last - 1].merging > 0
    }

    /// Drops the empty levels before the first that holds something; one level stays.
    mutating func dropEmptyLevels() {
        let first = levels.firstIndex { $0.merging > 0 || !$0.segments.isEmpty } ?? levels.count - 1
        levels.removeFirst(max(0, first))
    }

    // MARK: SQLite's numbers of variable length

    /// Seven bits a byte, the highest first; the ninth byte, which counts of this size never need, would hold eight.
    private static func number(_ bytes: inout ArraySlice<UInt8>) -> UInt64? {
        var number: UInt64 = 0
        for _ in 0..<8 {
            guard let byte = bytes.popFirst() else { return nil }
            number = number << 7 | UInt64(byte & 0x7F)
            if byte & 0x80 == 0 { return number }
        }
        return nil
    }

    private static func append(_ number: UInt64, to bytes: inout [UInt8]) {
        var groups = [UInt8(number & 0x7F)]
        var rest = number >> 7
        while rest > 0 {
            groups.append(UInt8(rest & 0x7F) | 0x80)
            rest >>= 7
        }
        bytes += groups.reversed()
    }
}

extension SQLiteTextIndex {
    /// The full-text indexes of the database.
    static func names(on connection: SQLiteConnection) throws -> [String] {
        try connection.withStatement(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL TABLE%USING fts5%' ORDER BY name",
            []
        ) { statement in
            var names: [String] = []
            while try statement.step() { names.append(String(decoding: try statement.text(0), as: UTF8.self)) }
            return names
        }
    }

    static func read(_ name: String, on connection: SQLiteConnection) throws -> SQLiteTextIndex {
        let bytes = try connection.withStatement("SELECT block FROM \"\(name)_data\" WHERE id = 10", []) { statement in
            try statement.step() ? Array(try statement.bytes(0)) : []
        }
        guard let index = SQLiteTextIndex(bytes) else {
            throw StorageError.database(code: "fts5", message: "the format of \(name) is not known")
        }
        return index
    }

    /// Does a piece of the work of merging all segments into one, in a transaction of its own.
    ///
    /// - Parameters:
    ///   - pages: How many pages to write, roughly.
    ///   - isFirst: Whether to include all segments that there are now.
    /// - Returns: Whether all is merged.
    static func merge(_ name: String, pages: Int, isFirst: Bool, on connection: SQLiteConnection) throws -> Bool {
        try connection.beginWriting()
        try connection.beginErasing()
        defer { _ = connection.endErasing() }
        func merge(_ pages: Int) throws -> Bool {
            let before = sqlite3_total_changes64(connection.handle)
            try connection.execute("INSERT INTO \"\(name)\" (\"\(name)\", rank) VALUES ('merge', \(pages))")
            // A step without work counts as one change.
            return sqlite3_total_changes64(connection.handle) - before >= 2
        }
        var hasWorked = try merge(isFirst ? -pages : pages)
        var index = try read(name, on: connection)
        if index.isBeingMerged, !hasWorked {
            // Newer segments of an earlier level keep FTS5 from going on with those of ours until all are taken together.
            hasWorked = try merge(-pages)
            index = try read(name, on: connection)
        }
        if !index.isBeingMerged, index.levels.count > largestDepth {
            // Each merge of all adds levels, none ever goes, and with 2,000 FTS5 takes the index for damaged (seen with
            // 3.40.1 after 998 merges). It keeps what it knows of the index until a merge makes it read it again.
            var shallow = index
            shallow.dropEmptyLevels()
            try connection.withStatement("UPDATE \"\(name)_data\" SET block = ? WHERE id = 10", [.bytes(shallow.bytes)])
            {
                while try $0.step() {}
            }
            _ = try merge(1)
            index = try read(name, on: connection)
        }
        guard index.levels.count < 1_000 else {
            throw StorageError.database(code: "fts5", message: "\(name) has \(index.levels.count) levels")
        }
        try connection.commit()
        return !index.isBeingMerged
    }

    private static let largestDepth = 64
}
