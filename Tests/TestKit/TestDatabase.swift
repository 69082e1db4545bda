import Foundation
import Kernel
import Logging
package import Storage
import Synchronization

/// A fresh, migrated database for each test, on both engines.
///
/// ```swift
/// @Test("…", arguments: TestDatabase.kinds)
/// func something(on kind: TestDatabase.Kind) async throws {
///     try await withDatabase(on: kind, migrations: Schema.migrations) { database in … }
/// }
/// ```
/// The migrations run once per process (SQLite) or once per cluster (PostgreSQL), into a template of which each test
/// gets a copy.
package enum TestDatabase {
    package enum Kind: String, Sendable, CaseIterable {
        case sqlite
        case postgres
    }

    /// PostgreSQL is the one that `KUVEND_TEST_DATABASE_URL` names; without it its tests fail.
    package static var kinds: [Kind] { Kind.allCases }

    /// What tests of the limits themselves change.
    package struct Limits: Sendable {
        /// How long a call waits for its turn.
        package var patience: Duration = .seconds(30)
        /// How long a body may take.
        package var body: Duration = .seconds(30)
        /// Readers of SQLite, connections of PostgreSQL.
        package var connections = 4

        package init() {}
    }

    /// Statements for the first migration of a test: the role that transactions run as on PostgreSQL, and vectors there.
    package static let preparation: [SQL] = [
        onPostgres(
            """
            DO $$ BEGIN
                CREATE ROLE kuvend_app NOLOGIN;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END $$
            """
        ),
        onPostgres("CREATE EXTENSION IF NOT EXISTS vector"),
    ]

    /// A statement for the last migration of a test: lets that role use all tables.
    package static let grants: [SQL] = [
        onPostgres("GRANT USAGE ON SCHEMA public TO kuvend_app"),
        onPostgres("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO kuvend_app"),
        onPostgres("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO kuvend_app"),
    ]

    private static func onPostgres(_ text: String) -> SQL { "\(Fragment(sqlite: "", postgres: text))" }

    static let logger: Logger = {
        var logger = Logger(label: "test")
        logger.logLevel = .error
        return logger
    }()

    /// A name for the template of a list of migrations, the same in every process.
    static func fingerprint(of migrations: [Migration]) -> String {
        let ids = SQL(trusted: migrations.map(\.id).joined(separator: ","))
        let all = Migration(0, "all") { dialect in [ids] + migrations.flatMap { $0.statements(dialect) } }
        return String(all.checksum.split(separator: ":").last ?? "")
    }
}

/// Runs `body` with a fresh database of its own, and deletes it afterwards.
package func withDatabase<Value>(
    on kind: TestDatabase.Kind,
    migrations: [Migration],
    limits: TestDatabase.Limits = TestDatabase.Limits(),
    signals: SignalHub = SignalHub(),
    isolation: isolated (any _Concurrency.Actor)? = #isolation,
    _ body: (any Database) async throws -> Value
) async throws -> Value {
    let copy: TestDatabaseCopy =
        switch kind {
        case .sqlite: try await SQLiteTestDatabase.copy(of: migrations)
        case .postgres: try await PostgresTestDatabase.copy(of: migrations)
        }
    let result: Result<Value, any Error>
    do {
        let database = try await copy.open(limits, signals)
        do {
            result = .success(try await body(database))
        } catch {
            result = .failure(error)
        }
        await database.close()
    } catch {
        result = .failure(error)
    }
    switch result {
    case .success(let value):
        try await copy.delete()
        return value
    case .failure(let error):
        // What went wrong first is what counts.
        try? await copy.delete()
        throw error
    }
}

/// Runs `body` with the URL of a fresh database of its own, as `KUVEND_DATABASE_URL` takes it, and deletes it afterwards.
///
/// For tests that start other processes or open it more than once.
package func withDatabaseURL<Value>(
    on kind: TestDatabase.Kind,
    migrations: [Migration],
    isolation: isolated (any _Concurrency.Actor)? = #isolation,
    _ body: (String) async throws -> Value
) async throws -> Value {
    let copy: TestDatabaseCopy =
        switch kind {
        case .sqlite: try await SQLiteTestDatabase.copy(of: migrations)
        case .postgres: try await PostgresTestDatabase.copy(of: migrations)
        }
    let value: Value
    do {
        value = try await body(copy.url)
    } catch {
        // What went wrong first is what counts.
        try? await copy.delete()
        throw error
    }
    try await copy.delete()
    return value
}

/// A copy that exists already and must be deleted.
struct TestDatabaseCopy: Sendable {
    let url: String
    let open: @Sendable (TestDatabase.Limits, SignalHub) async throws -> any Database
    let delete: @Sendable () async throws -> Void
}

/// What is made once and then shared: concurrent callers wait for the first.
actor TestTemplates {
    private var templates: [String: Task<Void, any Error>] = [:]

    func make(_ name: String, _ body: @escaping @Sendable () async throws -> Void) async throws {
        if let template = templates[name] { return try await template.value }
        let template = Task { try await body() }
        templates[name] = template
        do {
            try await template.value
        } catch {
            // The next who needs it tries again.
            templates[name] = nil
            throw error
        }
    }
}

private enum SQLiteTestDatabase {
    private static let templates = TestTemplates()

    /// One directory per process, removed when it ends.
    private static let directory: Result<URL, any Error> = Result {
        let directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("kuvend-tests-\(ProcessInfo.processInfo.processIdentifier)", isDirectory: true)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        atexit {
            if case .success(let directory) = SQLiteTestDatabase.directory {
                try? FileManager.default.removeItem(at: directory)
            }
        }
        return directory
    }

    static func copy(of migrations: [Migration]) async throws -> TestDatabaseCopy {
        let directory = try directory.get()
        let fingerprint = TestDatabase.fingerprint(of: migrations)
        let template = directory.appendingPathComponent("template-\(fingerprint).sqlite")
        try await templates.make(fingerprint) {
            let database = try open(template, TestDatabase.Limits(), SignalHub())
            do {
                try await Migrator(migrations).apply(to: database)
            } catch {
                await database.close()
                throw error
            }
            await database.close()
        }
        let file = directory.appendingPathComponent("test-\(ID<TestDatabaseCopy>()).sqlite")
        try FileManager.default.copyItem(at: template, to: file)
        return TestDatabaseCopy(
            url: "sqlite:\(file.path)",
            open: { limits, signals in try open(file, limits, signals) },
            delete: {
                for suffix in ["", "-wal", "-shm"] where FileManager.default.fileExists(atPath: file.path + suffix) {
                    try FileManager.default.removeItem(atPath: file.path + suffix)
                }
            }
        )
    }

    private static func open(_ file: URL, _ limits: TestDatabase.Limits, _ signals: SignalHub) throws -> SQLiteDatabase
    {
        try SQLiteDatabase(
            configuration: SQLiteConfiguration(
                path: file.path,
                readers: limits.connections,
                patience: limits.patience,
                readLimit: limits.body,
                writeLimit: limits.body
            ),
            signals: signals,
            logger: TestDatabase.logger
        )
    }
}
