import Kernel
import Storage
import Synchronization
import TestKit
import Testing

@Suite("Queries")
struct QueryTests {
    private static let names = Query<[String]>("SELECT name FROM parents ORDER BY name") { rows in
        var names: [String] = []
        while var row = try rows.next() { names.append(try row.next()) }
        return names
    }

    private struct Refusal: Error, Equatable {}

    @Test("a query sees what was committed before it", arguments: TestDatabase.kinds)
    func visible(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            #expect(try await database.fetch(Self.names, in: Conformance.scope) == [])
            for number in 1...20 {
                try await database.write(Conformance.scope) { tx in try tx.run(insertParent("\(number + 10)")) }
                #expect(try await database.fetch(Self.names, in: Conformance.scope).count == number)
            }
            let names = try await database.read(Conformance.scope) { tx in try tx.fetch(Self.names) }
            let expected = (11...30).map { String($0) }
            #expect(names == expected)
        }
    }

    @Test("hundreds at a time each get their own rows", arguments: TestDatabase.kinds)
    func together(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            try await database.write(Conformance.scope) { tx in
                for number in 0..<50 { try tx.run(insertParent("\(number)")) }
            }
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in 0..<600 {
                    let name = "\(number % 60)"
                    group.addTask {
                        let found = try await database.fetch(
                            .value("SELECT name FROM parents WHERE name = \(name)", as: String.self),
                            in: Conformance.scope
                        )
                        return found == (number % 60 < 50 ? name : nil)
                    }
                }
                for try await isRight in group { #expect(isRight) }
            }
        }
    }

    @Test("one that fails does not take its neighbours with it", arguments: TestDatabase.kinds)
    func neighbours(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            try await database.write(Conformance.scope) { tx in try tx.run(insertParent("a")) }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<400 {
                    group.addTask { () async throws in
                        switch number % 4 {
                        case 0:
                            await #expect(throws: StorageError.self) {
                                try await database.fetch(
                                    .value("SELECT missing FROM parents", as: String.self),
                                    in: Conformance.scope
                                )
                            }
                        case 1:
                            await #expect(throws: Refusal()) {
                                try await database.fetch(
                                    Query<Void>("SELECT name FROM parents") { _ in throw Refusal() },
                                    in: Conformance.scope
                                )
                            }
                        case 2:
                            await #expect(throws: StorageError.self) {
                                try await database.fetch(
                                    .value("SELECT name FROM parents WHERE name = \("a\u{0}")", as: String.self),
                                    in: Conformance.scope
                                )
                            }
                        default:
                            #expect(try await database.fetch(Self.names, in: Conformance.scope) == ["a"])
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test("a query that takes long is finished all the same, and delays nobody for long", arguments: TestDatabase.kinds)
    func slow(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            try await database.write(Conformance.scope) { tx in try tx.run(insertParent("a")) }
            let count: SQL =
                switch kind {
                case .sqlite:
                    """
                    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000)
                    SELECT count(*) FROM n
                    """
                case .postgres: "SELECT count(*) FROM generate_series(1, 3000000), pg_sleep(0.3)"
                }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<3 {
                    group.addTask {
                        let counted = try await database.fetch(.value(count, as: Int.self), in: Conformance.scope)
                        #expect(counted == 3_000_000)
                    }
                }
                for _ in 0..<50 {
                    group.addTask { () async throws in
                        #expect(try await database.fetch(Self.names, in: Conformance.scope) == ["a"])
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test("queries that are stuck do not keep others from the connections that are left")
    func stuck() async throws {
        try await Conformance.with(.postgres) { database in
            let release = Gate()
            let isHeld = Flag()
            let holder = Task {
                try await database.write(Conformance.scope) { tx in
                    _ = try tx.value("SELECT 1 FROM (SELECT pg_advisory_xact_lock(4711)) AS locked", as: Int.self)
                    isHeld.set()
                    try release.passInBody()
                }
            }
            // Whatever happens, as the database cannot be closed before.
            defer { release.open() }
            try await eventually("the lock is held") { isHeld.isSet ? () : nil }
            let waiting: SQL = """
                SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
                WHERE locktype = 'advisory' AND NOT granted AND d.datname = current_database()
                """
            var stuck: [Task<Int?, any Error>] = []
            for number in 1...2 {
                stuck.append(
                    Task {
                        try await database.fetch(
                            .value("SELECT 1 FROM (SELECT pg_advisory_xact_lock_shared(4711)) AS locked"),
                            in: Conformance.scope
                        )
                    }
                )
                try await eventually("\(number) queries wait for it") {
                    let count = try await database.read(Conformance.scope) { tx in try tx.value(waiting, as: Int.self) }
                    return count == number ? () : nil
                }
            }
            for _ in 0..<20 { #expect(try await database.fetch(Self.names, in: Conformance.scope) == []) }
            release.open()
            try await holder.value
            for query in stuck { #expect(try await query.value == 1) }
        }
    }

    @Test("a query cannot write", arguments: TestDatabase.kinds)
    func readOnly(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database async throws in
            let error = await storageError {
                _ = try await database.fetch(
                    .value("UPDATE counters SET value = 7 WHERE id = 1 RETURNING value", as: Int.self),
                    in: Conformance.scope
                )
            }
            #expect(error != nil)
            #expect(try await database.counter() == 0)
        }
    }

    @Test("pages say where the next one begins", arguments: TestDatabase.kinds)
    func pages(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let ids = (0..<5).map { _ in ID<Sample>() }.sorted()
            try await database.write(Conformance.scope) { tx in
                for (number, id) in ids.enumerated() { try tx.run(insertParent("\(number)", id: id)) }
            }
            func page(_ limit: Int) async throws -> JSON {
                let query = Query<[UInt8]>("SELECT id, name FROM parents ORDER BY id LIMIT \(limit: limit + 1)") {
                    rows in
                    try rows.page(from: try rows.next(), limit: limit) { row, json in
                        try row.copyID(to: &json)
                    } cursor: { row in
                        Cursor(time: .earliest, id: try ID<Sample>(column: 0, of: row.source))
                    }
                }
                return try JSON(parsing: try await database.fetch(query, in: Conformance.scope))
            }
            let two = try await page(2)
            #expect(two["data"] == .array(ids.prefix(2).map { .string($0.description) }))
            #expect(two["next_cursor"]?.string.flatMap { Cursor($0) }?.id(of: Sample.self) == ids[1])
            #expect(try await page(5)["next_cursor"] == .null)
            #expect(try await page(5)["data"]?.array?.count == 5)
        }
    }

    @Test("a closed database answers no query", arguments: TestDatabase.kinds)
    func closed(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            _ = try await database.fetch(Self.names, in: Conformance.scope)
            await database.close()
            let error = await storageError { _ = try await database.fetch(Self.names, in: Conformance.scope) }
            if case .closed? = error {} else { Issue.record("\(String(describing: error))") }
        }
    }
}

private final class Flag: Sendable {
    private let flag = Atomic(false)

    var isSet: Bool { flag.load(ordering: .acquiring) }

    func set() { flag.store(true, ordering: .releasing) }
}
