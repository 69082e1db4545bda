import Kernel
import Storage
import Synchronization
import TestKit
import Testing

@Suite("Migrations")
struct MigrationTests {
    private static let first = Migration(
        100,
        "first",
        TestDatabase.preparation + ["CREATE TABLE one (id BIGINT PRIMARY KEY)"]
    )
    private static let second = Migration(
        110,
        "second",
        [
            "CREATE TABLE two (id BIGINT PRIMARY KEY, name \(.text))",
            "INSERT INTO two (id, name) VALUES (1, \("it's"))",
            "\(Fragment(sqlite: "  \n", postgres: "GRANT SELECT ON two TO kuvend_app"))",
        ]
    )
    private static let now = Timestamp(milliseconds: 1_700_000_000_000)

    private func tables(_ database: any Database) async throws -> [String] {
        try await database.migrate { tx in
            let all = Fragment(
                sqlite: "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name",
                postgres: "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            )
            return try tx.values("\(all)", as: String.self)
        }
    }

    private func migrationError(_ body: () async throws -> Void) async -> MigrationError? {
        do {
            try await body()
        } catch {
            return error as? MigrationError
        }
        return nil
    }

    @Test("what is pending is applied once, in order", arguments: TestDatabase.kinds)
    func apply(on kind: TestDatabase.Kind) async throws {
        try await withDatabase(on: kind, migrations: []) { database in
            #expect(try await tables(database) == [])
            let early = try Migrator([Self.first])
            #expect(try await early.pending(in: database).map(\.id) == ["100_first"])
            #expect(try await early.apply(to: database, at: Self.now) == ["100_first"])
            let full = try Migrator([Self.first, Self.second])
            #expect(
                try await full.status(of: database) == [
                    MigrationStatus(id: "100_first", appliedAt: Self.now),
                    MigrationStatus(id: "110_second", appliedAt: nil),
                ]
            )
            let progress = Mutex<[String]>([])
            #expect(
                try await full.apply(to: database) { step in progress.withLock { $0.append(step.id) } } == [
                    "110_second"
                ]
            )
            #expect(progress.withLock { $0 } == ["110_second"])
            #expect(try await full.apply(to: database) == [])
            #expect(try await full.pending(in: database).isEmpty)
            #expect(try await tables(database) == ["one", "schema_migrations", "two"])
            let name = try await database.migrate { tx in try tx.value("SELECT name FROM two", as: String.self) }
            #expect(name == "it's")
        }
    }

    @Test("all or nothing", arguments: TestDatabase.kinds)
    func atomic(on kind: TestDatabase.Kind) async throws {
        try await withDatabase(on: kind, migrations: []) { database in
            let broken = Migration(120, "broken", ["CREATE TABLE three (id BIGINT)", "CREATE TABLE three (id BIGINT)"])
            let error = await migrationError {
                try await Migrator([Self.first, Self.second, broken]).apply(to: database)
            }
            guard case .failed("120_broken", 2, _)? = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            let tables = try await tables(database)
            #expect(tables == [])
        }
    }

    @Test("two commands in a statement are refused", arguments: TestDatabase.kinds)
    func oneCommand(on kind: TestDatabase.Kind) async throws {
        try await withDatabase(on: kind, migrations: []) { database in
            let double = Migration(1, "double", ["CREATE TABLE a (id BIGINT); CREATE TABLE b (id BIGINT)"])
            await #expect(throws: MigrationError.self) { try await Migrator([double]).apply(to: database) }
            let tables = try await tables(database)
            #expect(tables == [])
        }
    }

    @Test("a dry run changes nothing", arguments: TestDatabase.kinds)
    func dryRun(on kind: TestDatabase.Kind) async throws {
        try await withDatabase(on: kind, migrations: []) { database in
            let migrator = try Migrator([Self.first, Self.second])
            #expect(try await migrator.dryRun(on: database) == ["100_first", "110_second"])
            #expect(try await tables(database) == [])
            try await migrator.apply(to: database)
            #expect(try await migrator.dryRun(on: database) == [])
            let broken = Migration(120, "broken", ["INSERT INTO one (id) VALUES (1), (1)"])
            await #expect(throws: MigrationError.self) {
                _ = try await Migrator([Self.first, Self.second, broken]).dryRun(on: database)
            }
        }
    }

    @Test("a changed step is noticed, whichever database its change is for", arguments: TestDatabase.kinds)
    func drift(on kind: TestDatabase.Kind) async throws {
        try await withDatabase(on: kind, migrations: [Self.first]) { database in
            let changed = [
                Fragment(sqlite: "CREATE TABLE one (id TEXT)", postgres: "CREATE TABLE one (id BIGINT PRIMARY KEY)"),
                Fragment(sqlite: "CREATE TABLE one (id BIGINT PRIMARY KEY)", postgres: "CREATE TABLE one (id text)"),
            ]
            for fragment in changed {
                let migrator = try Migrator([Migration(100, "first", TestDatabase.preparation + ["\(fragment)"])])
                for attempt: () async throws -> Void in [
                    { try await migrator.apply(to: database) }, { _ = try await migrator.status(of: database) },
                ] {
                    let error = await migrationError(attempt)
                    if case .changed("100_first")? = error {} else { Issue.record("\(String(describing: error))") }
                }
            }
            _ = try await Migrator([Self.first]).status(of: database)
        }
    }

    @Test("a database of a newer version is left alone", arguments: TestDatabase.kinds)
    func newer(on kind: TestDatabase.Kind) async throws {
        try await withDatabase(on: kind, migrations: [Self.first, Self.second]) { database in
            let error = await migrationError {
                try await Migrator([Self.first]).apply(to: database)
            }
            if case .unknown(["110_second"])? = error {} else { Issue.record("\(String(describing: error))") }
        }
    }

    @Test("migrators that meet apply each step once", arguments: TestDatabase.kinds)
    func concurrent(on kind: TestDatabase.Kind) async throws {
        try await withDatabase(on: kind, migrations: []) { database in
            let migrator = try Migrator([Self.first, Self.second])
            let applied = try await withThrowingTaskGroup(of: [String].self) { group in
                for _ in 0..<4 { group.addTask { try await migrator.apply(to: database) } }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(applied.sorted() == ["100_first", "110_second"])
        }
    }

    @Test("the numbers must rise")
    func order() {
        #expect(throws: MigrationError.self) { _ = try Migrator([Self.second, Self.first]) }
        #expect(throws: MigrationError.self) { _ = try Migrator([Self.first, Self.first]) }
    }

    @Test("the script is the same steps with the values in them")
    func script() throws {
        let values = Migration(
            1,
            "values",
            [
                """
                INSERT INTO t VALUES (\(SQLValue.null), \(true), \(Int64.min), \(0.5), \("it's \\ '\u{301}"),
                \(SQLValue.bytes([0, 255])), \(SQLValue.textArray(["a'b"])), \(SQLValue.vector([1, -0.5])),
                \(DecimalText("1.5")), \(InetText("::1")), \(SQLValue.json("{}")), \(Self.now))
                """
            ]
        )
        let migrator = try Migrator([Self.second, values].sorted { $0.number < $1.number })
        let sqlite = migrator.print(for: .sqlite, at: Self.now)
        #expect(
            sqlite.contains(
                """
                INSERT INTO t VALUES (NULL, 1, (-9223372036854775807 - 1), 0.5, 'it''s \\ ''\u{301}',
                x'00ff', '["a''b"]', x'0000803f000000bf',
                '1.5', '::1', '{}', '2023-11-14T22:13:20.000Z');
                """
            )
        )
        #expect(!sqlite.contains("GRANT"))
        let postgres = migrator.print(for: .postgres, at: Self.now)
        #expect(
            postgres.contains(
                """
                INSERT INTO t VALUES (NULL, TRUE, (-9223372036854775807 - 1), '0.5'::double precision, \
                E'it''s \\\\ ''\u{301}',
                '\\x00ff'::bytea, ARRAY['a''b']::text[], '[1.0,-0.5]'::vector,
                '1.5'::numeric, '::1'::inet, '{}'::jsonb, '2023-11-14T22:13:20.000Z'::timestamptz);
                """
            )
        )
        #expect(postgres.contains("GRANT SELECT ON two TO kuvend_app;"))
    }
}
