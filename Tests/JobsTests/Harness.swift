import Jobs
import Kernel
import Logging
import Schema
import Storage
import Synchronization
import TestKit

/// A clock that stands still until it is moved.
final class TestClock: Sendable {
    private let time = Mutex(Timestamp(milliseconds: 1_800_000_000_000))

    var now: Timestamp { time.withLock { $0 } }

    func advance(by duration: Duration) { time.withLock { $0 = $0 + duration } }
}

/// A list that handlers append to.
final class Log<Element: Sendable>: Sendable {
    private let elements = Mutex<[Element]>([])

    var all: [Element] { elements.withLock { $0 } }

    func append(_ element: Element) { elements.withLock { $0.append(element) } }
}

protocol LabelledJob: Job {
    var label: String { get }
    init(label: String)
}

extension LabelledJob {
    var payload: JSON { ["label": .string(label)] }

    init(payload: JSON) throws {
        guard let label = payload["label"]?.string else { throw JobFailure.permanent("no label") }
        self.init(label: label)
    }
}

/// Three attempts; waits of 10 and 20 seconds between them.
struct ReplyWork: LabelledJob {
    static let kind = "test.reply"
    static let lane = Lane.interactive
    static let policy = RetryPolicy(
        maxAttempts: 3,
        base: .seconds(10),
        ceiling: .seconds(25),
        timeout: .seconds(60),
        lease: .seconds(30)
    )
    let label: String
}

/// One attempt, other times than `ReplyWork`, in the same lane.
struct FragileWork: LabelledJob {
    static let kind = "test.fragile"
    static let lane = Lane.interactive
    static let policy = RetryPolicy(maxAttempts: 1, timeout: .seconds(600), lease: .seconds(90))
    let label: String
}

/// Its lease makes signs of life frequent.
struct BriefWork: LabelledJob {
    static let kind = "test.brief"
    static let lane = Lane.bulk
    static let policy = RetryPolicy(lease: .milliseconds(60))
    let label: String
}

struct PurgeWork: PlatformJob {
    static let kind = "test.purge"
    static let lane = Lane.maintenance

    var payload: JSON { [:] }

    init() {}
    init(payload: JSON) {}
}

struct JobRow: RowDecodable, Sendable {
    let id: ID<JobEntity>
    let kind: String
    let state: String
    let attempt: Int
    let runAt: Timestamp
    let leaseEnd: Timestamp?
    let deadline: Timestamp?
    let lastError: String?

    init(row: inout Row) throws {
        id = try row.next()
        kind = try row.next()
        state = try row.next()
        attempt = try row.next()
        runAt = try row.next()
        leaseEnd = try row.next()
        deadline = try row.next()
        lastError = try row.next()
    }
}

/// Rises with each draw, from -1 by 0.1.
final class RisingJitter: Sendable {
    private let draws = Mutex(-10)

    func next() -> Double {
        draws.withLock { draws in
            defer { draws += 1 }
            return Double(draws) / 10
        }
    }
}

/// A database, a clock and words to ask about the queue.
struct Harness: Sendable {
    let database: any Database
    let clock = TestClock()
    let organization = OrganizationScope.job(of: ID())

    var now: Timestamp { clock.now }

    static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    func runner(
        _ slots: Int = 16,
        grace: Duration = .seconds(20),
        jitter: @escaping @Sendable () -> Double = { 0 },
        on database: (any Database)? = nil,
        _ register: (inout JobRegistry) -> Void
    ) throws -> JobRunner {
        var registry = JobRegistry()
        register(&registry)
        var configuration = JobRunner.Configuration(slots: [.interactive: slots])
        configuration.shutdownGrace = grace
        return try JobRunner(
            database: database ?? self.database,
            registry: registry,
            configuration: configuration,
            logger: Self.logger,
            now: { [clock] in clock.now },
            jitter: jitter
        )
    }

    func enqueue<Work: Job>(
        _ jobs: [Work],
        in scope: OrganizationScope? = nil,
        runAt: Timestamp? = nil,
        uniqueKey: String? = nil
    ) async throws {
        let (scope, now) = (scope ?? organization, now)
        try await database.write(scope) { tx in
            for job in jobs { try tx.enqueue(job, in: scope, runAt: runAt, uniqueKey: uniqueKey, now: now) }
        }
    }

    func jobs() async throws -> [JobRow] {
        try await database.read(for: .queue) { tx in
            try tx.all(
                """
                SELECT id, kind, state, attempt, run_at, lease_expires_at, deadline_at, last_error FROM jobs ORDER BY id
                """
            )
        }
    }
}

func withHarness(on kind: TestDatabase.Kind, _ body: (Harness) async throws -> Void) async throws {
    try await withDatabase(on: kind, migrations: ProductSchema.migrations) { database in
        try await body(Harness(database: database))
    }
}
