import Kernel
import Logging
import Metrics

/// The kinds of job that this program can do, and who does them.
package struct JobRegistry: Sendable {
    struct Entry: Sendable {
        let kind: String
        let lane: Lane
        var policy: RetryPolicy
        /// Whether somebody wants to know when a job of this kind is quarantined.
        var hasFollowUp = false
        let meters: JobMeters
        let run: @Sendable ([UInt8], JobAttempt) async throws -> Void
    }

    private(set) var entries: [String: Entry] = [:]
    private(set) var duplicates: [String] = []

    package init() {}

    /// Registers who does one kind of work for organizations.
    ///
    /// - Parameter timeout: How long an attempt may take, where settings say it and not the kind's policy; a job's own time
    ///   comes before both.
    package mutating func handle<Work: Job>(
        _ type: Work.Type,
        timeout: Duration? = nil,
        _ body: @escaping @Sendable (Work, JobContext) async throws -> Void
    ) {
        add(type) { payload, attempt in
            let work = try Self.read(type, payload)
            try await body(work, JobContext(scope: .job(of: attempt.organization), current: attempt))
        }
        if let timeout { entries[type.kind]?.policy.timeout = timeout }
    }

    /// Registers who does one kind of work for organizations, and what happens when it is given up.
    ///
    /// `abandoned` is a job of its own, asked for in the transaction that puts the first one into quarantine, whoever
    /// does that: the handler, the runner after the last attempt, or the sweeper after a worker died. So it happens even
    /// when nobody is left to do it at the time. It may run later than new work for the same thing was asked for:
    /// ``Transaction/isQueued(_:uniqueKey:in:)`` tells.
    package mutating func handle<Work: Job>(
        _ type: Work.Type,
        timeout: Duration? = nil,
        abandoned: @escaping @Sendable (Work, _ reason: String, JobContext) async throws -> Void,
        _ body: @escaping @Sendable (Work, JobContext) async throws -> Void
    ) {
        handle(type, timeout: timeout, body)
        entries[type.kind]?.hasFollowUp = true
        let kind = type.kind + JobStore.abandonedSuffix
        add(kind: kind, lane: type.lane, policy: JobStore.followUpPolicy) { payload, attempt in
            let note = (try? JSON(parsing: payload)) ?? .null
            let work = try Self.read(type, (note["payload"] ?? .null).bytes)
            let context = JobContext(scope: .job(of: attempt.organization), current: attempt)
            try await abandoned(work, note["reason"]?.string ?? "", context)
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
        add(kind: type.kind, lane: type.lane, policy: type.policy, run)
    }

    private mutating func add(
        kind: String,
        lane: Lane,
        policy: RetryPolicy,
        _ run: @escaping @Sendable ([UInt8], JobAttempt) async throws -> Void
    ) {
        let entry = Entry(kind: kind, lane: lane, policy: policy, meters: JobMeters(kind: kind), run: run)
        if entries.updateValue(entry, forKey: kind) != nil { duplicates.append(kind) }
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
        count(outcome)
    }

    func count(_ outcome: Outcome) { outcomes[outcome]?.increment() }
}
