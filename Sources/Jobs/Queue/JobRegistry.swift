import Kernel
import Logging
import Metrics

/// The kinds of job that this program can do, and who does them.
package struct JobRegistry: Sendable {
    struct Entry: Sendable {
        let kind: String
        let lane: Lane
        let policy: RetryPolicy
        let meters: JobMeters
        let run: @Sendable ([UInt8], JobAttempt) async throws -> Void
    }

    private(set) var entries: [String: Entry] = [:]
    private(set) var duplicates: [String] = []

    package init() {}

    /// Registers who does one kind of work for organizations.
    package mutating func handle<Work: Job>(
        _ type: Work.Type,
        _ body: @escaping @Sendable (Work, JobContext) async throws -> Void
    ) {
        add(type) { payload, attempt in
            let work = try Self.read(type, payload)
            try await body(work, JobContext(scope: .job(of: attempt.organization), current: attempt))
        }
    }

    /// Registers who does one kind of work for the product itself.
    package mutating func handle<Work: PlatformJob>(
        _ type: Work.Type,
        _ body: @escaping @Sendable (Work, PlatformJobContext) async throws -> Void
    ) {
        add(type) { payload, attempt in
            let work = try Self.read(type, payload)
            try await body(work, PlatformJobContext(current: attempt))
        }
    }

    private static func read<Work: QueuedWork>(_ type: Work.Type, _ payload: [UInt8]) throws -> Work {
        do {
            return try type.init(payload: JSON(parsing: payload))
        } catch {
            throw JobFailure.permanent("unreadable payload (\(JobReason.of(error)))")
        }
    }

    private mutating func add<Work: QueuedWork>(
        _ type: Work.Type,
        _ run: @escaping @Sendable ([UInt8], JobAttempt) async throws -> Void
    ) {
        let entry = Entry(
            kind: type.kind,
            lane: type.lane,
            policy: type.policy,
            meters: JobMeters(kind: type.kind),
            run: run
        )
        if entries.updateValue(entry, forKey: type.kind) != nil { duplicates.append(type.kind) }
    }
}

/// The metrics of one kind, made once: to look them up for each job costs more than to record them.
struct JobMeters: Sendable {
    enum Outcome: String, CaseIterable {
        case finished, retried, quarantined
        case handedBack = "handed_back"
        case lost
    }

    private let duration: Timer
    private let outcomes: [Outcome: Counter]

    init(kind: String) {
        duration = Timer(label: "kuvend_job_duration_seconds", dimensions: [("kind", kind)])
        outcomes = Dictionary(
            uniqueKeysWithValues: Outcome.allCases.map { outcome in
                (
                    outcome,
                    Counter(label: "kuvend_jobs_total", dimensions: [("kind", kind), ("outcome", outcome.rawValue)])
                )
            }
        )
    }

    func record(_ outcome: Outcome, after duration: Duration) {
        self.duration.record(duration: duration)
        outcomes[outcome]?.increment()
    }
}
