import Foundation
import Kernel
import Logging
import Storage
import TestKit
import Testing

@Suite("SQLite")
struct SQLiteTests {
    private func with<Value: Sendable>(
        limits: TestDatabase.Limits = TestDatabase.Limits(),
        _ body: (SQLiteDatabase) async throws -> Value
    ) async throws -> Value {
        try await Conformance.with(.sqlite, limits: limits) { database in
            try await body(try #require(database as? SQLiteDatabase))
        }
    }

    @Test("writes that wait share a commit")
    func groupCommit() async throws {
        try await with { database in
            let before = database.groupCommits
            let (hasBegun, mayEnd) = (Gate(), Gate())
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    try await database.write(Conformance.scope) { tx in
                        try tx.run(insertParent("first"))
                        hasBegun.open()
                        try mayEnd.passInBody()
                    }
                }
                try await hasBegun.pass()
                for number in 0..<200 {
                    group.addTask {
                        try await database.write(Conformance.scope) { tx in try tx.run(insertParent("\(number)")) }
                    }
                }
                try await database.hasWaiting(200)
                mayEnd.open()
                try await group.waitForAll()
            }
            let commits = database.groupCommits.commits - before.commits
            #expect(database.groupCommits.bodies - before.bodies == 201)
            #expect(commits < 100)
            #expect(try await database.parents().count == 201)
        }
    }

    @Test("an interrupted change does not take its neighbours with it")
    func interruptedNeighbour() async throws {
        var limits = TestDatabase.Limits()
        limits.body = .seconds(5)
        try await with(limits: limits) { database in
            let (hasBegun, mayEnd) = (Gate(), Gate())
            async let first: Void = database.write(Conformance.scope) { tx in
                hasBegun.open()
                try mayEnd.passInBody()
                try tx.run(insertParent("first"))
            }
            try await hasBegun.pass()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<10 {
                    group.addTask {
                        try await database.write(Conformance.scope) { tx in try tx.run(insertParent("\(number)")) }
                    }
                    // An interrupted INSERT rolls back all of SQLite's transaction.
                    group.addTask {
                        do {
                            try await database.write(Conformance.scope) { tx in
                                try tx.run(
                                    """
                                    WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)
                                    INSERT INTO counters (id, value) SELECT i, i FROM n
                                    """
                                )
                            }
                            Issue.record("not interrupted")
                        } catch StorageError.timedOut {}
                    }
                    if number == 1 { break }
                }
                for number in 2..<10 {
                    group.addTask {
                        try await database.write(Conformance.scope) { tx in try tx.run(insertParent("\(number)")) }
                    }
                }
                try await database.hasWaiting(12)
                mayEnd.open()
                try await group.waitForAll()
            }
            try await first
            #expect(try await database.parents().count == 11)
        }
    }

    @Test("a body cannot end the transaction that it shares")
    func transactionControl() async throws {
        try await with { database in
            for command: SQL in ["COMMIT", " rollback", "BEGIN", "END", "SAVEPOINT x", "RELEASE member"] {
                await #expect(throws: StorageError.self) {
                    try await database.write(Conformance.scope) { tx in
                        try tx.run(insertParent("a"))
                        try tx.execute(command)
                    }
                }
            }
            let parents = try await database.parents()
            #expect(parents == [])
        }
    }

    @Test("every commit is synced, and the file is the owner's alone")
    func pragmas() async throws {
        try await with { database in
            let values = try await database.write(for: .maintenance) { tx in
                try ["synchronous", "foreign_keys", "auto_vacuum", "temp_store", "trusted_schema"].map { name in
                    try tx.value("\(SQL(trusted: "PRAGMA \(name)"))", as: Int.self)
                }
            }
            #expect(values == [2, 1, 2, 2, 1])
            let mode = try await database.read(for: .maintenance) { tx in
                try tx.value("PRAGMA journal_mode", as: String.self)
            }
            #expect(mode == "wal")
            for suffix in ["", "-wal", "-shm"] {
                let attributes = try FileManager.default.attributesOfItem(atPath: database.path + suffix)
                #expect(attributes[.posixPermissions] as? Int == 0o600)
            }
        }
    }

    @Test("statements are kept ready, but not without end")
    func manyTexts() async throws {
        try await with { database in
            let sum = try await database.read(Conformance.scope) { tx in
                try (0..<1_500).reduce(0) { sum, number in
                    sum + (try tx.value("\(SQL(trusted: "SELECT \(number)"))", as: Int.self) ?? 0)
                }
            }
            #expect(sum == 1_500 * 1_499 / 2)
        }
    }

    @Test("the same statement inside of its own rows")
    func nestedStatement() async throws {
        try await with { database in
            let pairs = try await database.write(Conformance.scope) { tx in
                try tx.run("INSERT INTO counters (id, value) VALUES (2, 2)")
                return try tx.rows("SELECT id FROM counters ORDER BY id") { row in
                    let outer = try row.next(Int.self)
                    return try tx.values("SELECT id FROM counters ORDER BY id", as: Int.self).map { [outer, $0] }
                }
            }
            #expect(pairs == [[[1, 1], [1, 2]], [[2, 1], [2, 2]]])
        }
    }

    @Test("a backup of a live database is whole")
    func backup() async throws {
        try await with { database in
            let copy = FileManager.default.temporaryDirectory.appendingPathComponent("kuvend-\(ID<Sample>()).sqlite")
                .path
            defer { for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: copy + suffix) } }
            let mayEnd = Gate()
            async let written: Int = {
                var count = 0
                while count < 2_000 {
                    try await database.write(Conformance.scope) { [count] tx in
                        try tx.run("INSERT INTO counters (id, value) VALUES (\(count + 2), 0)")
                        try tx.run("UPDATE counters SET value = value + 1 WHERE id = 1")
                    }
                    count += 1
                    if count == 100 { mayEnd.open() }
                }
                return count
            }()
            try await mayEnd.pass()
            try await database.backup(to: copy)
            let restored = try SQLiteDatabase(
                configuration: SQLiteConfiguration(path: copy),
                signals: SignalHub(),
                logger: Logger(label: "test")
            )
            let counted = try await restored.counter()
            let rows = try await restored.read(Conformance.scope) { tx in
                try tx.value("SELECT count(*) - 1 FROM counters", as: Int64.self)
            }
            #expect(counted == rows)
            #expect(try #require(rows) >= 100)
            #expect(try await restored.checkIntegrity() == [])
            // In use, so its log is there.
            await #expect(throws: BackupError.self) { try await database.backup(to: copy, replacing: true) }
            await restored.close()
            await #expect(throws: BackupError.self) { try await database.backup(to: copy) }
            await #expect(throws: BackupError.self) { try await database.backup(to: "/nonexistent/copy.sqlite") }
            await #expect(throws: BackupError.self) { try await database.backup(to: database.path, replacing: true) }
            _ = try await written
            try await database.backup(to: copy, replacing: true)
            let attributes = try FileManager.default.attributesOfItem(atPath: copy)
            #expect(attributes[.posixPermissions] as? Int == 0o600)
            let directory = URL(fileURLWithPath: copy).deletingLastPathComponent().path
            let leftovers = try FileManager.default.contentsOfDirectory(atPath: directory).filter {
                $0.hasPrefix(URL(fileURLWithPath: copy).lastPathComponent) && $0.hasSuffix("partial")
            }
            #expect(leftovers.isEmpty)
        }
    }

    @Test("damage is found")
    func integrity() async throws {
        try await with { database in
            #expect(try await database.checkIntegrity() == [])
            try await database.migrate { tx in
                try tx.run("CREATE TABLE orphans (id TEXT, parent TEXT REFERENCES samples (id))")
            }
            await expectViolation(.foreignKey) {
                try await database.migrate { tx in try tx.run("INSERT INTO orphans (id, parent) VALUES ('a', 'b')") }
            }
            await expectViolation(.foreignKey) {
                try await database.write(for: .maintenance) { tx in
                    try tx.run("INSERT INTO orphans (id, parent) VALUES ('a', 'b')")
                }
            }
        }
    }

    @Test("a migration can rebuild a table that others refer to")
    func rebuild() async throws {
        try await with { database in
            let parent = ID<Sample>()
            try await database.write(Conformance.scope) { tx in
                try tx.run(insertParent("p", id: parent))
                try tx.run(
                    """
                    INSERT INTO children (organization_id, id, parent_id)
                    VALUES (\(Conformance.organization), \(ID<Sample>()), \(parent))
                    """
                )
            }
            try await database.migrate { tx in
                try tx.execute(
                    "CREATE TABLE new_parents (organization_id TEXT, id TEXT, name TEXT, PRIMARY KEY (organization_id, id))"
                )
                try tx.execute("INSERT INTO new_parents SELECT organization_id, id, name FROM parents")
                try tx.execute("DROP TABLE parents")
                try tx.execute("ALTER TABLE new_parents RENAME TO parents")
            }
            let children = try await database.read(Conformance.scope) { tx in
                try tx.value("SELECT count(*) FROM children", as: Int.self)
            }
            #expect(children == 1)
            // Foreign keys are enforced again.
            let deleted = try await database.write(Conformance.scope) { tx in
                try tx.run("DELETE FROM parents")
                return try tx.value("SELECT count(*) FROM children", as: Int.self)
            }
            #expect(deleted == 0)
        }
    }

    @Test("migrators of two processes apply each step once")
    func twoMigrators() async throws {
        try await with { database in
            // A second set of connections to the file, as another process would have.
            let other = try SQLiteDatabase(
                configuration: SQLiteConfiguration(path: database.path),
                signals: SignalHub(),
                logger: Logger(label: "test")
            )
            let more = (4..<8).map { Migration($0, "more", ["CREATE TABLE \(SQL(trusted: "more_\($0)")) (id BIGINT)"]) }
            let migrator = try Migrator(Conformance.migrations + more)
            async let first = migrator.apply(to: database)
            async let second = migrator.apply(to: other)
            let applied = try await first + second
            await other.close()
            #expect(applied.sorted() == more.map(\.id))
        }
    }

    @Test("upkeep gives free pages back")
    func upkeep() async throws {
        try await with { database in
            try await database.write(for: .maintenance) { tx in
                for number in 0..<300 {
                    try tx.run(
                        "INSERT INTO samples (id, raw) VALUES (\("\(number)"), \(SQLValue.bytes(Array(repeating: 1, count: 9_000))))"
                    )
                }
            }
            try await database.write(for: .maintenance) { tx in try tx.run("DELETE FROM samples") }
            func freePages() async throws -> Int? {
                try await database.read(for: .maintenance) { tx in try tx.value("PRAGMA freelist_count", as: Int.self) }
            }
            #expect(try await freePages() ?? 0 > 500)
            try await database.tend(isThorough: true)
            #expect(try await freePages() == 0)
        }
    }

    @Test("what cannot be opened is refused")
    func unopenable() throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("kuvend-\(ID<Sample>()).txt")
        try Data("this is a text, not a database, and long enough to be looked at as one".utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        for path in ["/nonexistent/kuvend.sqlite", file.path] {
            #expect(throws: StorageError.self) {
                _ = try SQLiteDatabase(
                    configuration: SQLiteConfiguration(path: path),
                    signals: SignalHub(),
                    logger: Logger(label: "test")
                )
            }
        }
    }

    @Test("a database that nobody closes ends by itself")
    func dropped() async throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("kuvend-\(ID<Sample>()).sqlite")
        defer {
            for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: file.path + suffix) }
        }
        for _ in 0..<20 {
            let database = try SQLiteDatabase(
                configuration: SQLiteConfiguration(path: file.path),
                signals: SignalHub(),
                logger: Logger(label: "test")
            )
            try await database.migrate { tx in try tx.run("CREATE TABLE IF NOT EXISTS t (id BIGINT)") }
        }
    }
}
