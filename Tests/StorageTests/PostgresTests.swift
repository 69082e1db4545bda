import Foundation
import Kernel
import Logging
import Storage
import Synchronization
import TestKit
import Testing

/// What only PostgreSQL has: connections that break, other nodes, row level security's role.
@Suite("PostgreSQL")
struct PostgresTests {
    /// The database of a test, and how to open it once more, as another node or as the user who may do everything.
    private struct Place {
        let database: PostgresDatabase
        let name: String

        func open(role: String? = "kuvend_app", connections: Int = 2) async throws -> PostgresDatabase {
            let text = try #require(ProcessInfo.processInfo.environment["KUVEND_TEST_DATABASE_URL"])
            var url = try #require(URLComponents(string: text))
            url.path = "/\(name)"
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            return try await PostgresDatabase(
                configuration: PostgresConfiguration(
                    url: Secret(try #require(url.string)),
                    maximumConnections: connections,
                    role: role,
                    acquireTimeout: .seconds(60),
                    connectTimeout: .seconds(60)
                ),
                signals: SignalHub(),
                logger: logger
            )
        }
    }

    private func with(
        limits: TestDatabase.Limits = TestDatabase.Limits(),
        _ body: (Place) async throws -> Void
    ) async throws {
        try await Conformance.with(.postgres, limits: limits) { database in
            let name = try await database.read(Conformance.scope) { tx in
                try tx.value("SELECT current_database()::text", as: String.self)
            }
            try await body(
                Place(database: try #require(database as? PostgresDatabase), name: try #require(name))
            )
        }
    }

    enum Moment: CaseIterable {
        case waiting
        case beforeDeferred
        case idle
    }

    @Test("a body whose connection is lost runs again on another one", arguments: Moment.allCases)
    func lostConnection(moment: Moment) async throws {
        try await with { place in
            let owner = try await place.open(role: nil)
            let killer = try await place.open(role: nil)
            let runs = Mutex<[Int]>([])
            let (isIdle, isKilled) = (Gate(), Gate())
            async let killed: Void = {
                guard case .idle = moment else { return }
                try await isIdle.pass()
                let victim = runs.withLock { $0.first ?? 0 }
                let isGone = try await killer.write(for: .maintenance) { tx in
                    try tx.value("SELECT pg_terminate_backend(\(victim)::bigint::int, 20000)", as: Bool.self)
                }
                #expect(isGone == true)
                isKilled.open()
            }()
            try await owner.write(for: .maintenance) { tx in
                let backend = try tx.value("SELECT pg_backend_pid()", as: Int.self) ?? 0
                let isFirst = runs.withLock { runs in
                    runs.append(backend)
                    return runs.count == 1
                }
                try tx.execute("UPDATE counters SET value = value + 1 WHERE id = 1")
                guard isFirst else { return }
                switch moment {
                case .waiting: try tx.execute("SELECT pg_terminate_backend(pg_backend_pid())")
                case .beforeDeferred:
                    try tx.run("SELECT pg_terminate_backend(pg_backend_pid())")
                    try tx.run("SELECT 1")
                case .idle:
                    isIdle.open()
                    try isKilled.passInBody()
                }
            }
            try await killed
            #expect(Set(runs.withLock { $0 }).count == 2)
            #expect(try await place.database.counter() == 1)
            await owner.close()
            await killer.close()
        }
    }

    @Test("a statement that ends its backend does not end all of them")
    func poison() async throws {
        try await with { place in
            let owner = try await place.open(role: nil)
            let runs = Atomic(0)
            let error = await storageError {
                _ = try await owner.write(for: .maintenance) { tx in
                    runs.wrappingAdd(1, ordering: .relaxed)
                    return try tx.execute("SELECT pg_terminate_backend(pg_backend_pid())")
                }
            }
            if case .unavailable? = error {} else { Issue.record("\(String(describing: error))") }
            #expect(runs.load(ordering: .relaxed) == 4)
            await owner.close()
        }
    }

    @Test("a query that ends its backend does not end all of them, and its neighbours are answered")
    func poisonousQuery() async throws {
        try await with { place in
            let owner = try await place.open(role: nil)
            let value = Query<Int?>.value("SELECT value FROM counters WHERE id = 1")
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    let error = await storageError {
                        _ = try await owner.fetch(
                            .value("SELECT pg_terminate_backend(pg_backend_pid())", as: Bool.self),
                            in: .system(.maintenance)
                        )
                    }
                    if case .unavailable? = error {} else { Issue.record("\(String(describing: error))") }
                }
                for _ in 0..<40 {
                    group.addTask { () async throws in
                        #expect(try await owner.fetch(value, in: .system(.maintenance)) == 0)
                    }
                }
                try await group.waitForAll()
            }
            await owner.close()
        }
    }

    @Test("a connection that breaks inside COMMIT leaves an unknown outcome, and is not tried again")
    func unknownCommit() async throws {
        try await with { place in
            let owner = try await place.open(role: nil)
            try await owner.migrate { tx in
                try tx.run(
                    """
                    CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
                    BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(5); RETURN NULL; END $$
                    """
                )
                try tx.run(
                    """
                    CREATE CONSTRAINT TRIGGER die AFTER UPDATE ON counters DEFERRABLE INITIALLY DEFERRED
                    FOR EACH ROW EXECUTE FUNCTION die()
                    """
                )
            }
            let error = await storageError {
                try await owner.write(for: .maintenance) { tx in try tx.run("UPDATE counters SET value = 5") }
            }
            if case .commitUnknown? = error {} else { Issue.record("\(String(describing: error))") }
            #expect(try await place.database.counter() == 0)
            await owner.close()
        }
    }

    @Test("a schema that changes under prepared statements is no failure")
    func changedSchema() async throws {
        try await with { place in
            let owner = try await place.open(role: nil, connections: 1)
            func ids() async throws -> [Int] {
                try await owner.read(for: .maintenance) { tx in
                    try tx.rows("SELECT * FROM counters") { row in try row.next(Int.self) }
                }
            }
            #expect(try await ids() == [1])
            try await owner.migrate { tx in try tx.run("ALTER TABLE counters ADD note text") }
            #expect(try await ids() == [1])
            _ = try await owner.read(for: .maintenance) { tx in try tx.execute("DEALLOCATE ALL") }
            #expect(try await ids() == [1])
            await owner.close()
        }
    }

    @Test("COPY, which would never end, is refused")
    func copy() async throws {
        try await with { place in
            for sql in ["COPY counters TO STDOUT", "COPY counters FROM STDIN"] as [SQL] {
                _ = await storageError { try await place.database.write(Conformance.scope) { tx in try tx.run(sql) } }
            }
            let counter = try await place.database.counter()
            #expect(counter == 0)
        }
    }

    @Test("much goes out while much comes in")
    func bothDirections() async throws {
        try await with { place in
            let text = String(repeating: "z", count: 100_000)
            let sizes = try await place.database.read(Conformance.scope) { tx in
                try tx.batch((0..<100).map { "SELECT \(text), \($0)" }) { _, row in
                    (try row.next(String.self).utf8.count, try row.next(Int.self))
                }
            }
            #expect(sizes.map { $0.first?.0 } == Array(repeating: 100_000, count: 100))
            #expect(sizes.map { $0.first?.1 } == Array(0..<100))
        }
    }

    @Test("a node hears the signals of another one")
    func otherNode() async throws {
        try await with { place in
            let other = try await place.open()
            let (lane, conversation) = ("j:bulk", "c:one")
            let jobs = other.signals.subscribe(to: Signal(lane))
            let stream = other.signals.subscribe(to: Signal(conversation))
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await other.run() }
                // The listener wakes everybody when it has connected.
                for await _ in jobs { break }
                for await _ in stream { break }
                let (jobsAgain, streamAgain) = (
                    other.signals.subscribe(to: Signal(lane)),
                    other.signals.subscribe(to: Signal(conversation))
                )
                try await place.database.write(Conformance.scope) { tx in
                    tx.signal(Signal(lane))
                    tx.signal(Signal(conversation))
                }
                for await _ in jobsAgain { break }
                for await _ in streamAgain { break }
                group.cancelAll()
                try await group.waitForAll()
            }
            await other.close()
        }
    }

    @Test("the role's report tells who row level security holds for")
    func roleReport() async throws {
        try await with { place in
            let report = try await place.database.roleReport()
            #expect(report.role == "kuvend_app")
            #expect(report.isConfined && !report.isSuperuser && report.ownedTables == 0)
            #expect(report.serverVersionNumber >= 150_000)
            #expect(report.vectorVersion != nil)
            let owner = try await place.open(role: nil)
            let owning = try await owner.roleReport()
            #expect(!owning.isConfined && owning.ownedTables > 0)
            await owner.close()
        }
    }

    @Test("a URL that cannot be read is not repeated in the complaint")
    func unreadableURL() async {
        let error = await storageError {
            _ = try await PostgresDatabase(
                configuration: PostgresConfiguration(url: Secret("postgresql//kuvend:hunter2@host/name")),
                signals: SignalHub(),
                logger: Logger(label: "test")
            )
        }
        if case .unavailable(let reason)? = error {
            #expect(!reason.contains("hunter2"))
        } else {
            Issue.record("\(String(describing: error))")
        }
    }
}
