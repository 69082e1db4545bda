import Kernel
import Testing

@testable import Storage

/// Bytes as people write them: `"0003 0001"`.
private func bytes(_ text: String) -> [UInt8] {
    let digits = text.filter { $0 != " " }
    return stride(from: 0, to: digits.count, by: 2).compactMap { UInt8(digits.dropFirst($0).prefix(2), radix: 16) }
}

private func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { byte in byte < 16 ? "0" + String(byte, radix: 16) : String(byte, radix: 16) }.joined()
}

/// What PostgreSQL 15 sends and takes, as `protocols/postgres-libpq.md` observed it.
@Suite("PostgreSQL's binary formats")
struct PostgresBinaryTests {
    @Test(
        "parameters",
        arguments: [
            (.bool(true), 16, 1, "01"), (.bool(false), 16, 1, "00"),
            (.integer(258), 20, 1, "0000000000000102"), (.integer(.min), 20, 1, "8000000000000000"),
            (.double(1.5), 701, 1, "3ff8000000000000"),
            (.text("hé"), 25, 1, "68c3a9"), (.text(""), 25, 1, ""),
            (.bytes([0, 255]), 17, 1, "00ff"), (.bytes([]), 17, 1, ""),
            (.uuid(high: 0x0123_4567_89ab_cdef, low: 1), 2950, 1, "0123456789abcdef0000000000000001"),
            (.timestamp(Timestamp(milliseconds: 0)), 1184, 1, "fffca2fec4c82000"),
            (.json("{}"), 3802, 1, "017b7d"),
            // As text, with 0 behind it.
            (.decimal("49.90"), 1700, 0, "34392e3930"), (.inet("::1"), 869, 0, "3a3a31"),
            (.textArray([]), 1009, 1, "000000000000000000000019"),
            (.textArray(["a", ""]), 1009, 1, "0000000100000000000000190000000200000001000000016100000000"),
            (.vector([1, -2.5, 3]), 99_999, 1, "000300003f800000c020000040400000"),
        ] as [(SQLValue, UInt32, Int32, String)]
    )
    func parameter(value: SQLValue, type: UInt32, format: Int32, expected: String) throws {
        var parameters = PostgresParameters()
        try parameters.append(.null, vectorType: 99_999)
        try parameters.append(value, vectorType: 99_999)
        #expect(parameters.types == [0, type])
        #expect(parameters.formats[1] == format)
        #expect(parameters.offsets[0] == -1)
        let length = Int(parameters.lengths[1])
        #expect(hexadecimal(parameters.bytes[parameters.offsets[1]...].prefix(length)) == expected)
        #expect(parameters.bytes[parameters.offsets[1] + length] == 0)
        parameters.withPointers { _, values, _, _ in
            #expect(values?[0] == nil)
            #expect(values?[1] != nil)
        }
    }

    @Test(
        "parameters that no column can keep",
        arguments: [
            .text("a\0b"), .json("\"\\u0000\""), .textArray(["\0"]), .vector([.nan]), .decimal("1\0"),
            .inet("10.0.0.1\0"),
            .vector([Float](repeating: 0, count: 70_000)),
        ] as [SQLValue]
    )
    func unstorable(value: SQLValue) {
        var parameters = PostgresParameters()
        #expect(throws: StorageError.self) { try parameters.append(value, vectorType: 99_999) }
        #expect(parameters.count == 0)
    }

    @Test(
        "numeric",
        arguments: [
            ("0000 0000 0000 0000", "0"), ("0000 0000 0000 0004", "0.0000"),
            ("0003 0001 0000 0003 0001 0929 1a7c", "12345.678"),
            ("0002 0000 4000 0004 0031 2328", "-49.9000"),
            // 1e20 and 1e-20 have one group each.
            ("0001 0005 0000 0000 0001", "100000000000000000000"),
            ("0001 fffb 0000 0014 0001", "0.00000000000000000001"),
            ("0001 ffff 0000 0004 0001", "0.0001"), ("0001 ffff 0000 0001 03e8", "0.1"),
        ]
    )
    func numeric(encoded: String, expected: String) {
        #expect(bytes(encoded).withUnsafeBufferPointer { PostgresBinary.decimal($0) } == expected)
    }

    @Test(
        "numeric that is no number, or no numeric",
        arguments: [
            "0000 0000 c000 0000", "0000 0000 d000 0000", "0000 0000 f000 0000", "", "0001 0000 0000 0000",
            "0001 0000 0000 0000 2710", "ffff 0000 0000 0000", "0000 0000 0000 0000 0001",
        ]
    )
    func noNumeric(encoded: String) {
        #expect(bytes(encoded).withUnsafeBufferPointer { PostgresBinary.decimal($0) } == nil)
    }

    @Test(
        "inet",
        arguments: [
            ("02 20 00 04 c0a80105", "192.168.1.5"), ("02 18 00 04 c0a80105", "192.168.1.5/24"),
            ("02 08 01 04 0a000000", "10.0.0.0/8"),
            ("03 80 00 10 20010db8000000000000000000000001", "2001:db8::1"),
            ("03 40 00 10 20010db8000000000000000000000000", "2001:db8::/64"),
            ("04 20 00 04 c0a80105", nil), ("02 21 00 04 c0a80105", nil), ("02 20 00 10 c0a80105", nil),
            ("02 20 00 04 c0a801", nil), ("", nil),
        ] as [(String, String?)]
    )
    func inet(encoded: String, expected: String?) {
        #expect(bytes(encoded).withUnsafeBufferPointer { PostgresBinary.inet($0) } == expected)
    }

    @Test(
        "times are cut to the millisecond before them; infinity and far years are none",
        arguments: [
            ("fffca2fec4c82000", 0), ("0000000000000000", 946_684_800_000), ("ffffffffffffffff", 946_684_799_999),
            ("00000000000003e8", 946_684_800_001), ("7fffffffffffffff", nil), ("8000000000000000", nil),
            ("7ffffffffffffff0", nil), ("00000000", nil), ("", nil),
        ] as [(String, Int64?)]
    )
    func timestamp(encoded: String, expected: Int64?) {
        let moment = bytes(encoded).withUnsafeBufferPointer { PostgresBinary.timestamp($0) }
        #expect(moment?.milliseconds == expected)
    }

    @Test(
        "times come back as they went",
        arguments: [Timestamp.earliest, .latest, .now(), Timestamp(milliseconds: -1)]
    )
    func timestampRoundTrip(moment: Timestamp) throws {
        var parameters = PostgresParameters()
        try parameters.append(.timestamp(moment), vectorType: 0)
        let read = parameters.bytes.prefix(8).withUnsafeBufferPointer { PostgresBinary.timestamp($0) }
        #expect(read == moment)
    }

    @Test(
        "text[]",
        arguments: [
            ("00000000 00000000 00000019", []),
            ("00000001 00000000 00000019 00000002 00000001 00000001 61 00000000", ["a", ""]),
            // NULL inside, two dimensions, more elements than bytes, a negative length, bytes left over.
            ("00000001 00000001 00000019 00000001 00000001 ffffffff", nil),
            ("00000002 00000000 00000019 00000001 00000001 00000001 00000001 00000001 61", nil),
            ("00000001 00000000 00000019 7fffffff 00000001 00000001 61", nil),
            ("00000001 00000000 00000019 00000001 00000001 fffffffe", nil),
            ("00000001 00000000 00000019 00000001 00000001 00000002 61", nil),
            ("00000000 00000000 00000019 00", nil), ("", nil),
        ] as [(String, [String]?)]
    )
    func textArray(encoded: String, expected: [String]?) {
        #expect(bytes(encoded).withUnsafeBufferPointer { PostgresBinary.textArray($0) } == expected)
    }

    @Test(
        "vector",
        arguments: [
            ("0003 0000 3f800000 c0200000 40400000", [1, -2.5, 3]), ("0000 0000", []), ("0001 0000", nil),
            ("0001 0001 3f800000", nil), ("0001 0000 3f800000 00", nil), ("00", nil), ("", nil),
        ] as [(String, [Float]?)]
    )
    func vector(encoded: String, expected: [Float]?) {
        #expect(bytes(encoded).withUnsafeBufferPointer { PostgresBinary.vector($0) } == expected)
    }

    @Test("no bytes end the process")
    func anything() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            let count = Int.random(in: 0...40, using: &generator)
            // Small numbers are the ones that look like lengths.
            let noise = (0..<count).map { _ in
                Bool.random(using: &generator) ? UInt8.random(in: 0...4) : UInt8.random(in: 0...255)
            }
            noise.withUnsafeBufferPointer { noise in
                _ = PostgresBinary.decimal(noise)
                _ = PostgresBinary.inet(noise)
                _ = PostgresBinary.textArray(noise)
                _ = PostgresBinary.vector(noise)
                _ = PostgresBinary.timestamp(noise)
                _ = PostgresBinary.uuid(noise)
                _ = PostgresBinary.fixed(noise, Int32.self)
            }
        }
    }
}

@Suite("Prepared statements of a connection")
struct PostgresStatementTests {
    @Test("statements that differ in which values are NULL become one")
    func nulls() {
        var cache = PostgresStatementCache()
        let (first, isNew) = cache.statement("x", types: [0, 25])
        #expect(isNew)
        first.isConfirmed = true
        let (again, isAgainNew) = cache.statement("x", types: [0, 0])
        #expect(!isAgainNew && again === first)
        let (second, isSecondNew) = cache.statement("x", types: [20, 0])
        #expect(isSecondNew && second.types == [20, 25])
        #expect(cache.discarded == [first.name])
        second.isConfirmed = true
        for types in [[0, 0], [20, 0], [0, 25], [20, 25]] as [[UInt32]] {
            let (statement, isNew) = cache.statement("x", types: types)
            #expect(!isNew && statement === second)
        }
        // Another type at the same place is another statement.
        let (third, isThirdNew) = cache.statement("x", types: [2950, 25])
        #expect(isThirdNew && third !== second)
    }

    @Test("what was used longest ago goes first, and the server is told of what it knows only")
    func limit() {
        var cache = PostgresStatementCache()
        for number in 0...PostgresStatementCache.limit {
            cache.statement("\(number)", types: [UInt32]()).0.isConfirmed = number != 1
            _ = cache.statement("0", types: [UInt32]())
        }
        #expect(cache.discarded.count == PostgresStatementCache.limit / 16)
        #expect(!cache.statement("0", types: [UInt32]()).isNew)
        #expect(!cache.statement("1", types: [UInt32]()).isNew)
        #expect(cache.statement("2", types: [UInt32]()).isNew)
    }

    @Test("a statement that failed is prepared again")
    func failed() {
        var cache = PostgresStatementCache()
        let (statement, _) = cache.statement("x", types: [25])
        cache.remove(statement)
        #expect(cache.statement("x", types: [25]).isNew)
        #expect(cache.discarded.isEmpty)
    }
}

@Suite("Signals between nodes")
struct PostgresSignalTests {
    @Test("payloads hold the sender, stay below the server's limit and lose nothing")
    func payloads() throws {
        let texts = (0..<2_000).map { "lane \($0)" }
        let payloads = PostgresSignals.payloads(from: "node", texts)
        #expect(payloads.count > 1)
        #expect(payloads.allSatisfy { $0.utf8.count <= PostgresSignals.maximumPayload })
        let heard = try payloads.flatMap { try #require(PostgresSignals.signals(in: $0, to: "other")).signals }
        #expect(heard == texts.map { Signal($0) })
        #expect(PostgresSignals.payloads(from: "node", []).isEmpty)
    }

    @Test("a node does not hear itself, and hands on what it does not know")
    func ownAndForeign() throws {
        #expect(PostgresSignals.signals(in: "me\ne", to: "me") == nil)
        let strange = try #require(PostgresSignals.signals(in: "you\nfuture:1\ne\n", to: "me"))
        #expect(strange.signals == [Signal("future:1"), Signal("e")] && !strange.isEverything)
        #expect(try #require(PostgresSignals.signals(in: "you\n*", to: "me")).isEverything)
        #expect(PostgresSignals.signals(in: "", to: "me")?.signals.isEmpty == true)
    }
}
