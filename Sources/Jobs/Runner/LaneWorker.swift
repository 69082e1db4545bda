import Kernel
import Metrics
import Storage
import Synchronization

/// The slots of one lane on this node, and whose turn it is.
final class LaneWorker: Sendable {
    private struct State {
        var busy = 0
        /// There was more to claim than there were slots.
        var isStarved = false
        var lastServed: ID<OrganizationEntity>?
    }

    let lane: Lane
    let plan: ClaimPlan
    let concurrency: Int
    let wait: Timer
    private let state = Mutex(State())

    init(lane: Lane, plan: ClaimPlan, concurrency: Int) {
        self.lane = lane
        self.plan = plan
        self.concurrency = concurrency
        wait = Timer(label: "kuvend_job_wait_seconds", dimensions: [("lane", lane.rawValue)])
    }

    var signal: Signal { .jobs(lane: lane.rawValue) }

    /// Free slots.
    ///
    /// When there are none, whoever frees one is told to wake the lane.
    var free: Int {
        state.withLock { state in
            state.isStarved = state.busy >= concurrency
            return concurrency - state.busy
        }
    }

    func begin(_ count: Int) { state.withLock { $0.busy += count } }

    /// - Returns: Whether the lane waits for a slot.
    func end() -> Bool {
        state.withLock { state in
            state.busy -= 1
            defer { state.isStarved = false }
            return state.isStarved
        }
    }

    struct Catch: Sendable {
        var claims: [Claim] = []
        var nextRunAt: Timestamp?
        /// Some organization, or the list of them, was longer than what was asked for.
        var mayHaveMore = false
        var lastServed: ID<OrganizationEntity>?
    }

    /// Claims up to `limit` due jobs, in equal shares of the organizations whose turn it is.
    func claim(from database: any Database, limit: Int, now: Timestamp) async throws -> Catch {
        let (plan, lastServed) = (plan, state.withLock { $0.lastServed })
        let token = ID<JobTokenEntity>()
        let result = try await database.write(for: .queue, isolation: .readCommitted) { tx in
            try Self.claim(plan, after: lastServed, limit: limit, token: token, now: now, in: tx)
        }
        if let last = result.lastServed { state.withLock { $0.lastServed = last } }
        return result
    }

    private static func claim(
        _ plan: ClaimPlan,
        after lastServed: ID<OrganizationEntity>?,
        limit: Int,
        token: ID<JobTokenEntity>,
        now: Timestamp,
        in tx: any Transaction
    ) throws -> Catch {
        try tx.run(JobStore.bookkeeping)
        var scans = [JobStore.dueOrganizations(plan, after: lastServed, through: nil, limit: limit, now: now)]
        if let lastServed {
            scans.append(JobStore.dueOrganizations(plan, after: nil, through: lastServed, limit: limit, now: now))
        }
        var result = Catch()
        var nextRunAt: Timestamp?
        let found = try tx.batch([JobStore.nextRunAt(in: plan.lane, now: now)] + scans) { index, row in
            guard index > 0 else {
                nextRunAt = try row.next()
                return ID<OrganizationEntity>.zero
            }
            return try row.next()
        }
        result.nextRunAt = nextRunAt
        let organizations = Array(found.dropFirst().joined().prefix(limit))
        guard !organizations.isEmpty else { return result }
        let (share, rest) = limit.quotientAndRemainder(dividingBy: organizations.count)
        let limits = organizations.indices.map { share + ($0 < rest ? 1 : 0) }
        let claims = try tx.batch(
            zip(organizations, limits).map { JobStore.claim(plan, of: $0, limit: $1, token: token, now: now) }
        ) { index, row in
            Claim(
                organization: organizations[index],
                id: try row.next(),
                token: token,
                kind: try row.next(),
                payload: try row.nextJSONBytes().map { Array($0) } ?? [],
                attempt: try row.next(),
                maxAttempts: try row.next(),
                runAt: try row.next(),
                deadline: try row.next()
            )
        }
        result.claims = claims.joined().sorted { ($0.runAt, $0.id) < ($1.runAt, $1.id) }
        result.mayHaveMore =
            !result.claims.isEmpty
            && (organizations.count == limit || zip(claims, limits).contains { $0.count == $1 })
        result.lastServed = organizations.last
        return result
    }
}
