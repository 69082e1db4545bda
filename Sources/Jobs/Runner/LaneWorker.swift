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
        var turn = Turn()
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
        wait = Timer(label: "kuvend_job_wait_seconds", dimensions: [("lane", lane.name)])
    }

    var signal: Signal { .jobs(lane) }

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

    /// How far two rounds have come; nil is before the first organization.
    struct Turn: Sendable {
        /// In the walk over all organizations.
        var walk: ID<OrganizationEntity>?
        /// Among the organizations of the first due jobs.
        var head: ID<OrganizationEntity>?
    }

    struct Catch: Sendable {
        var claims: [Claim] = []
        var nextRunAt: Timestamp?
        /// Some organization, or the list of them, was longer than what was asked for.
        var mayHaveMore = false
        var turn: Turn
    }

    /// Claims up to `limit` due jobs, in equal shares of the organizations whose turn it is.
    func claim(from database: any Database, limit: Int, now: Timestamp) async throws -> Catch {
        let (plan, turn) = (plan, state.withLock { $0.turn })
        let token = ID<JobTokenEntity>()
        let result = try await database.write(for: .queue, isolation: .readCommitted) { tx in
            try Self.claim(plan, turn: turn, limit: limit, token: token, now: now, in: tx)
        }
        state.withLock { $0.turn = result.turn }
        return result
    }

    private static func claim(
        _ plan: ClaimPlan,
        turn: Turn,
        limit: Int,
        token: ID<JobTokenEntity>,
        now: Timestamp,
        in tx: any Transaction
    ) throws -> Catch {
        try tx.stayOnIndexesWithoutWaitingForDisk()
        var result = Catch(turn: turn)
        let organizations = try organizations(plan, limit: limit, now: now, in: tx, &result)
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
        if !result.claims.isEmpty,
            organizations.count == limit || zip(claims, limits).contains(where: { $0.count == $1 })
        {
            result.mayHaveMore = true
        }
        return result
    }

    /// At most `limit` organizations with due jobs, and whose turn it is after them.
    ///
    /// As a rule the round goes on behind the last one served. While many jobs are due and most organizations have none of
    /// them, the walk may end for want of steps. The next claim goes on there, so that everybody is come to; and this one
    /// makes up with the first due jobs, whose organizations have a round of their own.
    private static func organizations(
        _ plan: ClaimPlan,
        limit: Int,
        now: Timestamp,
        in tx: any Transaction,
        _ result: inout Catch
    ) throws -> [ID<OrganizationEntity>] {
        let turn = result.turn
        var walks = [JobStore.dueOrganizations(plan, after: turn.walk, through: nil, limit: limit, now: now)]
        if let place = turn.walk {
            walks.append(JobStore.dueOrganizations(plan, after: nil, through: place, limit: limit, now: now))
        }
        var nextRunAt: Timestamp?
        let looks = [JobStore.nextRunAt(in: plan.lane, now: now), JobStore.firstOrganizations(plan, now: now)] + walks
        let found = try tx.batch(looks) { index, row in
            switch index {
            case 0:
                nextRunAt = try row.next()
                return Visit(organization: .zero)
            case 1: return Visit(organization: try row.next())
            default:
                return Visit(
                    organization: try row.next(),
                    isDue: try row.next(Int.self) == 1,
                    isEnd: try row.next(Int.self) == 1
                )
            }
        }
        result.nextRunAt = nextRunAt

        let head = found[1].map(\.organization).sorted()
        var organizations: [ID<OrganizationEntity>] = []
        var isComplete = true
        for (index, visits) in found.dropFirst(2).enumerated() where isComplete {
            for visit in visits.prefix(limit - organizations.count) {
                if visit.isDue { organizations.append(visit.organization) }
                guard visit.isEnd else { continue }
                isComplete = false
                result.turn.walk = visit.organization
                // Once in a round the lane waits all the same, or it would walk for ever among jobs that only other nodes do.
                result.mayHaveMore = index == 0
            }
        }
        if organizations.isEmpty || !isComplete {
            let next = turn.head.flatMap { place in head.firstIndex { $0 > place } } ?? 0
            let others = (head[next...] + head[..<next]).filter { !organizations.contains($0) }
            organizations += others.prefix(limit - organizations.count)
        }
        if let last = organizations.last {
            result.turn.head = last
            if isComplete { result.turn.walk = last }
        }
        return organizations
    }

    private struct Visit: Sendable {
        let organization: ID<OrganizationEntity>
        var isDue = true
        /// There were no steps left to go further.
        var isEnd = false
    }
}
