import Kernel
import Storage
import TestKit
import Testing

/// A row of `samples`.
private struct SampleRow: RowDecodable, Equatable {
    var id: ID<Sample> = ID()
    var flag: Bool?
    var number: Int64?
    var ratio: Double?
    var words: String?
    var raw: [UInt8]?
    var moment: Timestamp?
    var data: JSON?
    var price: String?
    var tags: [String]?
    var address: String?
    var embedding: [Float]?

    init() {}

    init(row: inout Row) throws {
        id = try row.next()
        flag = try row.next()
        number = try row.next()
        ratio = try row.next()
        words = try row.next()
        raw = try row.next()
        moment = try row.next()
        data = try row.next()
        price = try row.next(DecimalText?.self)?.text
        tags = try row.next()
        address = try row.next(InetText?.self)?.text
        embedding = try row.next()
    }

    static let columns: SQL = """
        id, flag, number, ratio, words, raw, moment, data, price, tags, address, embedding
        """

    var insertion: SQL {
        """
        INSERT INTO samples (\(Self.columns)) VALUES (
            \(id), \(flag), \(number), \(ratio), \(words), \(raw.map(SQLValue.bytes)), \(moment), \(data),
            \(price.map(SQLValue.decimal)), \(tags.map(SQLValue.textArray)), \(address.map(SQLValue.inet)),
            \(embedding.map(SQLValue.vector)))
        """
    }
}

@Suite("Types")
struct TypeTests {
    @Test("every type makes the round trip", arguments: TestDatabase.kinds)
    func roundTrip(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            var full = SampleRow()
            full.flag = true
            full.number = 42
            full.ratio = 0.1
            full.words = "Përshëndetje 👋🏽 'quoted' \\ \"double\" \u{1}\n\t"
            full.raw = [0, 1, 127, 128, 255]
            full.moment = Timestamp("2026-11-24T05:21:54.123Z")
            full.data = ["name": "Ana", "n": [1, 2.5, .null, true], "nested": ["ç": "\u{7F}"]]
            full.price = "49.9000"
            full.tags = ["a", "", "with \"quotes\", commas {} and \\", "ë", "NULL"]
            full.address = "192.168.0.1"
            full.embedding = [0.25, -1.5, 3e-20]
            var low = SampleRow()
            low.flag = false
            low.number = .min
            low.ratio = -.greatestFiniteMagnitude
            low.words = ""
            low.raw = []
            low.moment = .earliest
            low.data = [:]
            low.price = "-99999999.9999"
            low.tags = []
            low.address = "::1"
            low.embedding = [0, 0, 0]
            var high = SampleRow()
            high.number = .max
            high.ratio = .leastNonzeroMagnitude
            high.words = String(repeating: "ë", count: 200_000)
            high.raw = (0..<300_000).map { UInt8(truncatingIfNeeded: $0) }
            high.moment = .latest
            high.data = .array((0..<1_000).map { .integer($0) })
            high.price = "0.0001"
            high.tags = (0..<500).map(String.init)
            high.address = "2001:db8::ff00:42:8329"
            high.embedding = [.greatestFiniteMagnitude, -.leastNonzeroMagnitude, 1]
            let rows = [full, low, high, SampleRow()]
            try await database.write(Conformance.scope) { [rows] tx in
                for row in rows { try tx.run(row.insertion) }
            }
            let read: [SampleRow] = try await database.read(Conformance.scope) { tx in
                try tx.all("SELECT \(SampleRow.columns) FROM samples ORDER BY id")
            }
            #expect(read == rows)
            for row in rows {
                let found = try await database.read(Conformance.scope) { tx in
                    try tx.values("SELECT id FROM samples WHERE id = \(row.id)", as: ID<Sample>.self)
                }
                #expect(found == [row.id])
            }
        }
    }

    @Test("infinite numbers are kept", arguments: TestDatabase.kinds)
    func infinity(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            var row = SampleRow()
            row.ratio = -.infinity
            try await database.write(Conformance.scope) { [row] tx in try tx.run(row.insertion) }
            let ratio = try await database.read(Conformance.scope) { tx in
                try tx.value("SELECT ratio FROM samples", as: Double.self)
            }
            #expect(ratio == -.infinity)
        }
    }

    @Test("values find their rows", arguments: TestDatabase.kinds)
    func comparison(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            var row = SampleRow()
            row.moment = Timestamp("2026-02-03T04:05:06.007Z")
            row.words = "x"
            row.flag = true
            row.raw = [1, 2]
            row.address = "10.1.2.3"
            row.price = "12.5000"
            try await database.write(Conformance.scope) { [row] tx in try tx.run(row.insertion) }
            let found = try await database.read(Conformance.scope) { [row] tx in
                try tx.value(
                    """
                    SELECT count(*) FROM samples WHERE moment = \(row.moment) AND moment < \(Timestamp.latest)
                    AND moment > \(Timestamp.earliest) AND words = \(row.words) AND flag = \(true)
                    AND raw = \(SQLValue.bytes([1, 2])) AND address = \(InetText("10.1.2.3"))
                    AND price = \(DecimalText("12.5000")) AND number IS NOT DISTINCT FROM \(row.number)
                    """,
                    as: Int.self
                )
            }
            #expect(found == 1)
        }
    }

    @Test("text sorts byte by byte", arguments: TestDatabase.kinds)
    func order(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let words = [
                "Zebra", "apple", "Apple", "ëndërr", "e", "zebra", "10", "9", "_", "-", "a b", "ab", "🐘", "\u{FFFD}",
            ]
            try await database.write(Conformance.scope) { tx in
                for word in words { try tx.run(insertParent(word)) }
            }
            let sorted = words.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            #expect(try await database.parents() == sorted)
        }
    }

    @Test("both refuse what one could not keep", arguments: TestDatabase.kinds)
    func unstorable(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let values: [SQLValue] = [
                .text("a\u{0}b"), .json("{\"a\":\"\\u0000\"}"), .json("{\"a\":\"\\\\\\u0000\"}"),
                .textArray(["a", "\u{0}"]),
                .double(.nan), .vector([1, .infinity, 2]), .vector([.nan, 0, 0]), .decimal("1e5"), .decimal("NaN"),
                .decimal(""), .decimal("1.23456"), .inet("10.0.0.0/8"), .inet("localhost"), .inet("1.2.3"),
            ]
            for value in values {
                let error = await storageError {
                    try await database.write(Conformance.scope) { tx in
                        try tx.run("INSERT INTO counters (id, value) VALUES (2, 2)")
                        try tx.run("INSERT INTO samples (id, words) VALUES (\(ID<Sample>()), \(value))")
                    }
                }
                guard case .unstorable? = error else {
                    Issue.record("\(value): \(error.map(String.init(describing:)) ?? "nothing")")
                    continue
                }
            }
            #expect(try await database.counter(2) == nil)
            // Backslashes that only look like it.
            var row = SampleRow()
            row.data = ["a": "\\u0000"]
            try await database.write(Conformance.scope) { [row] tx in try tx.run(row.insertion) }
        }
    }

    @Test("an unexpected type or NULL is an error", arguments: TestDatabase.kinds)
    func unexpected(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            try await database.write(Conformance.scope) { tx in
                try tx.run("INSERT INTO samples (id, words) VALUES (\(ID<Sample>()), 'text')")
            }
            func expectUnexpected<Value: ColumnDecodable & Sendable>(_ column: SQL, as: Value.Type) async {
                let error = await storageError {
                    _ = try await database.read(Conformance.scope) { tx in
                        try tx.value("SELECT \(column) FROM samples", as: Value.self)
                    }
                }
                guard case .unexpectedValue? = error else {
                    Issue.record("\(Value.self): \(error.map(String.init(describing:)) ?? "nothing")")
                    return
                }
            }
            await expectUnexpected("words", as: Int.self)
            await expectUnexpected("words", as: Bool.self)
            await expectUnexpected("words", as: Double.self)
            await expectUnexpected("words", as: Timestamp.self)
            await expectUnexpected("words", as: ID<Sample>.self)
            await expectUnexpected("words", as: [Float].self)
            await expectUnexpected("words", as: [UInt8].self)
            await expectUnexpected("number", as: Int.self)
            await expectUnexpected("flag", as: Bool.self)
            await expectUnexpected("moment", as: Timestamp.self)
            // More columns than there are.
            await #expect(throws: StorageError.self) {
                _ = try await database.read(Conformance.scope) { tx in
                    try tx.rows("SELECT id FROM samples") { row in
                        row.skip()
                        return try row.next(Int.self)
                    }
                }
            }
        }
    }

    @Test("columns become JSON without a value in between", arguments: TestDatabase.kinds)
    func copied(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            var row = SampleRow()
            row.words = "\"ç\"\n"
            row.number = -7
            row.moment = Timestamp("2026-11-24T05:21:54.123Z")
            row.data = ["k": [1, .null]]
            try await database.write(Conformance.scope) { [row] tx in
                try tx.run(row.insertion)
                try tx.run(SampleRow().insertion)
            }
            let texts = try await database.read(Conformance.scope) { tx in
                try tx.rows("SELECT words, number, id, moment, data FROM samples ORDER BY id") { row in
                    var json = JSONWriter()
                    json.beginArray()
                    try row.copyText(to: &json)
                    try row.copyInteger(to: &json)
                    try row.copyID(to: &json)
                    try row.copyTimestamp(to: &json)
                    try row.copyJSON(to: &json)
                    json.endArray()
                    return try JSON(parsing: json.bytes)
                }
            }
            #expect(
                texts.first == [
                    "\"ç\"\n", -7, .string(row.id.description), "2026-11-24T05:21:54.123Z", ["k": [1, .null]],
                ]
            )
            #expect(texts.last?.array?.count == 5)
            #expect(texts.last?.array?[0] == .null && texts.last?.array?[1] == .null && texts.last?.array?[4] == .null)
        }
    }

    @Test("encoded JSON is readable in place", arguments: TestDatabase.kinds)
    func inPlace(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            var row = SampleRow()
            row.data = ["k": 1]
            try await database.write(Conformance.scope) { [row] tx in try tx.run(row.insertion) }
            let read = try await database.read(Conformance.scope) { tx in
                try tx.rows("SELECT data, tags FROM samples") { row in
                    let data = try row.nextJSONBytes().map { try JSON(parsing: $0) }
                    return (data, try row.nextJSONBytes() == nil)
                }
            }
            #expect(read.first?.0 == ["k": 1])
            #expect(read.first?.1 == true)
        }
    }

    @Test("values are never taken for SQL", arguments: TestDatabase.kinds)
    func injection(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let attempts = [
                "'; DROP TABLE parents; --", "' OR '1'='1", "\\'; DELETE FROM parents; --", "$1", "?", "?1", ":name",
                "/* */", "\"", "%00", "''", "E'\\x'", "\u{02BC} OR 1=1", "'\u{301}; DROP TABLE parents; --",
            ]
            try await database.write(Conformance.scope) { tx in
                for attempt in attempts { try tx.run(insertParent(attempt)) }
            }
            for attempt in attempts {
                let found = try await database.read(Conformance.scope) { tx in
                    try tx.values(
                        "SELECT name FROM parents WHERE name = \(attempt) AND name IN \(list: [attempt, "other"])",
                        as: String.self
                    )
                }
                #expect(found == [attempt])
            }
            #expect(try await database.parents().count == attempts.count)
        }
    }

    @Test("an empty list matches nothing", arguments: TestDatabase.kinds)
    func emptyList(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let none: [ID<Sample>] = []
            let (matching, others) = try await database.write(Conformance.scope) { tx in
                try tx.run(insertParent("a"))
                return (
                    try tx.value("SELECT count(*) FROM parents WHERE id IN \(list: none)", as: Int.self),
                    try tx.value("SELECT count(*) FROM counters WHERE id IN \(list: [1, 2, 3])", as: Int.self)
                )
            }
            #expect(matching == 0)
            #expect(others == 1)
        }
    }

    @Test("more rows than fit in 16 bits", arguments: TestDatabase.kinds)
    func manyRows(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let count: Int64 = 70_000
            let inserted = try await database.write(Conformance.scope) { tx in
                try tx.execute(
                    """
                    WITH RECURSIVE n(i) AS (SELECT CAST(2 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i <= \(count))
                    INSERT INTO counters (id, value) SELECT i, i FROM n
                    """
                )
            }
            #expect(inserted == 70_000)
            let ids = try await database.read(Conformance.scope) { tx in
                try tx.values("SELECT id FROM counters WHERE id > 1 ORDER BY id", as: Int64.self)
            }
            #expect(ids == Array(2...count + 1))
            // And as many parameters as PostgreSQL's protocol can carry.
            let found = try await database.read(Conformance.scope) { tx in
                try tx.value(
                    "SELECT count(*) FROM counters WHERE id IN \(list: Array(ids.prefix(60_000)))",
                    as: Int.self
                )
            }
            #expect(found == 60_000)
        }
    }
}
