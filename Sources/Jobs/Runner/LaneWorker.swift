import Kernel
import Metrics
import Storage
import Synchronization

/// The slots of one lane on this node, who holds them, and whose turn it is.
final class LaneWorker: Sendable {
    private struct State {
        var occupancy: Occupancy
        /// There was more to claim than there were slots for it.
        var isStarved = false
        /// How many slots were freed since the start, so that a claim knows whether one was freed meanwhile.
        var releases: UInt64 = 0
        var turn = Turn()
    }

    let lane: Lane
    let plan: ClaimPlan
    let wait: Timer
    private let state: Mutex<State>
    private let heldSlots: Gauge

    init(lane: Lane, plan: ClaimPlan, slots: Int) {
        self.lane = lane
        self.plan = plan
        state = Mutex(State(occupancy: Occupancy(size: slots)))
        wait = Timer(label: "kuvend_job_wait_seconds", dimensions: [("lane", lane.name)])
        heldSlots = Gauge(label: "kuvend_lane_slots_held", dimensions: [("lane", lane.name)])
        Gauge(label: "kuvend_lane_slots", dimensions: [("lane", lane.name)]).record(slots)
        heldSlots.record(0)
    }

    var signal: Signal { .jobs(lane) }

    /// Whether a slot is free for work that this node can do.
    ///
    /// When there is none, whoever frees one is told to wake the lane.
    var hasRoom: Bool {
        guard !plan.kinds.isEmpty else { return false }
        return state.withLock { state in
            state.isStarved = state.occupancy.free == 0
            return !state.isStarved
        }
    }

    /// Takes the slots of jobs that were claimed.
    func begin(_ claims: [Claim]) {
        guard !claims.isEmpty else { return }
        let total = state.withLock { state in
            for claim in claims { state.occupancy.take(1, for: claim.organization) }
            return state.occupancy.total
        }
        heldSlots.record(total)
    }

    /// Frees the slot of a job.
    ///
    /// - Returns: Whether the lane waits for a slot.
    func end(_ claim: Claim) -> Bool {
        let (total, isStarved) = state.withLock { state in
            state.occupancy.release(claim.organization)
            state.releases &+= 1
            defer { state.isStarved = false }
            return (state.occupancy.total, state.isStarved)
        }
        heldSlots.record(total)
        return isStarved
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
        /// An organization with due jobs holds all the slots that it may.
        var hasFull = false
        /// Rows that could not be read and were set aside.
        var unreadable: [UnreadableJob] = []
        var turn: Turn
    }

    /// Claims due jobs for the free slots, in equal shares of the organizations whose turn it is.
    ///
    /// - Parameter limit: So many jobs at most.
    func claim(from database: any Database, limit: Int = .max, now: Timestamp) async throws -> Catch {
        let plan = plan
        let (turn, occupancy, releases) = state.withLock { ($0.turn, $0.occupancy, $0.releases) }
        let limit = min(limit, occupancy.free)
        guard limit > 0 else { return Catch(turn: turn) }
        let token = ID<JobTokenEntity>()
        var result = try await database.write(for: .queue, isolation: .readCommitted) { tx in
            try Self.claim(plan, turn: turn, occupancy, limit: limit, token: token, now: now, in: tx)
        }
        state.withLock { state in
            state.turn = result.turn
            // A slot of its own that becomes free is what its jobs wait for. One that did so during the claim woke nobody.
            guard result.hasFull else { return }
            if state.releases == releases { state.isStarved = true } else { result.mayHaveMore = true }
        }
        return result
    }

    private static func claim(
        _ plan: ClaimPlan,
        turn: Turn,
        _ occupancy: Occupancy,
        limit: Int,
        token: ID<JobTokenEntity>,
        now: Timestamp,
        in tx: any Transaction
    ) throws -> Catch {
        try tx.stayOnIndexesWithoutWaitingForDisk()
        var result = Catch(turn: turn)
        let found = try organizations(plan, occupancy, limit: limit, now: now, in: tx, &result)
        let shares = occupancy.shares(among: found, limit: limit)
        let served = zip(found, shares).filter { $0.1 > 0 }.map { (organization: $0.0, limit: $0.1) }
        if served.count < found.count { result.hasFull = true }
        guard !served.isEmpty else { return result }
        let rows = try tx.batch(
            served.map { JobStore.claim(plan, of: $0.organization, limit: $0.limit, token: token, now: now) }
        ) { index, row in ClaimedRow(organization: served[index].organization, token: token, now: now, row: &row) }
        for row in rows.joined() {
            switch row {
            case .claim(let claim): result.claims.append(claim)
            case .unreadable(let job): result.unreadable.append(job)
            }
        }
        for job in result.unreadable { try tx.run(JobStore.setAside(job, now: now)) }
        result.claims.sort { ($0.runAt, $0.id) < ($1.runAt, $1.id) }
        let isFull = zip(rows, served).contains { $0.count == $1.limit }
        if !result.claims.isEmpty || !result.unreadable.isEmpty, found.count == limit || isFull {
            result.mayHaveMore = true
        }
        return result
    }

    /// At most `limit` organizations with due jobs, and whose turn it is after them.
    ///
    /// As a rule the round goes on behind the last one served. While many jobs are due and most organizations have none of
    /// them, the walk may end for want of steps. The next claim goes on there, so that everybody is come to; and this one
    /// makes up with the first due jobs, whose organizations have a round of their own. Organizations that hold all the
    /// slots they may are passed over.
    private static func organizations(
        _ plan: ClaimPlan,
        _ occupancy: Occupancy,
        limit: Int,
        now: Timestamp,
        in tx: any Transaction,
        _ result: inout Catch
    ) throws -> [ID<OrganizationEntity>] {
        let (turn, full) = (result.turn, occupancy.full.sorted())
        var walks = [
            JobStore.dueOrganizations(plan, after: turn.walk, through: nil, but: full, limit: limit, now: now)
        ]
        if let place = turn.walk {
            walks.append(
                JobStore.dueOrganizations(plan, after: nil, through: place, but: full, limit: limit, now: now)
            )
        }
        var nextRunAt: Timestamp?
        let looks = [JobStore.nextRunAt(in: plan.lane, now: now), JobStore.firstOrganizations(plan, now: now)] + walks
        let found = try tx.batch(looks) { index, row -> Visit? in
            switch index {
            case 0:
                nextRunAt = try? row.next()
                return nil
            case 1: return (try? row.next()).map { Visit(organization: $0) }
            default:
                // An id that cannot be read has no jobs that anybody could do; they are set aside by `UnreadableJobs`.
                guard let organization = try? row.next(ID<OrganizationEntity>.self) else { return nil }
                return Visit(
                    organization: organization,
                    isDue: try row.next(Int.self) == 1,
                    isEnd: try row.next(Int.self) == 1
                )
            }
        }.map { $0.compactMap(\.self) }
        result.nextRunAt = nextRunAt

        let due = found[1].map(\.organization)
        let head = due.filter { !full.contains($0) }.sorted()
        if head.count < due.count { result.hasFull = true }
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
