package import Kernel
package import Logging
import Metrics
import ServiceLifecycle
package import Storage
import Synchronization

/// Runs the jobs of this node: one loop for each lane, with slots of its own.
///
/// A loop is `runOnce()` repeated: claim what there are slots for, and let it run. Beside them one loop writes outcomes
/// down and four keep house, so that none waits for another: deadlines, leases, sweeping, statistics.
package final class JobRunner: Service {
    package struct Configuration: Sendable {
        /// Jobs that run at a time, by lane, at most 1,000; 0 leaves a lane to other nodes.
        package var slots: [Lane: Int]
        /// How long a lane waits for a signal before it looks by itself.
        package var pollInterval = Duration.seconds(1)
        package var sweepInterval = Duration.seconds(5)
        package var statisticsInterval = Duration.seconds(15)
        /// How long running jobs may go on after a shutdown was asked for.
        package var shutdownGrace = Duration.seconds(20)

        package static let defaultSlots: [Lane: Int] = [
            .interactive: 256, .delivery: 32, .workflow: 32, .bulk: 4, .maintenance: 2,
        ]

        package init(slots: [Lane: Int] = [:]) {
            self.slots = Self.defaultSlots.merging(slots) { _, chosen in min(max(chosen, 0), 1_000) }
        }
    }

    private enum Interruption: Sendable {
        case timedOut, leaseLost, shutdown
    }

    private struct Key: Hashable, Sendable {
        let id: ID<JobEntity>
        let token: ID<JobTokenEntity>
    }

    private struct Running: Sendable {
        let task: Task<Void, any Error>
        let deadline: Timestamp
        let lease: Duration
        let mark: SettlementMark
        var interruption: Interruption?
    }

    private struct State {
        var running: [Key: Running] = [:]
        /// No more claims.
        var isStopping = false
        /// No more running.
        var isCancelling = false
    }

    private let database: any Database
    private let configuration: Configuration
    private let entries: [String: JobRegistry.Entry]
    private let lanes: [LaneWorker]
    private let ledger: Ledger
    private let sweeper: Sweeper
    private let meters = QueueMeters()
    private let logger: Logger
    private let now: @Sendable () -> Timestamp
    private let jitter: @Sendable () -> Double
    private let state = Mutex(State())

    /// - Parameter jitter: From -1 to 1.
    /// - Throws: `JobError.duplicateKinds`.
    package init(
        database: any Database,
        registry: JobRegistry,
        configuration: Configuration = Configuration(),
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp = { .now() },
        jitter: @escaping @Sendable () -> Double = { .random(in: -1...1) }
    ) throws {
        guard registry.duplicates.isEmpty else { throw JobError.duplicateKinds(registry.duplicates) }
        self.database = database
        self.configuration = configuration
        self.logger = logger
        self.now = now
        self.jitter = jitter
        entries = registry.entries
        lanes = Lane.all.map { lane in
            LaneWorker(
                lane: lane,
                plan: ClaimPlan(lane: lane, entries: registry.entries.values),
                slots: configuration.slots[lane] ?? 0
            )
        }
        ledger = Ledger(database: database, logger: logger, now: now)
        sweeper = Sweeper(database: database, entries: registry.entries, logger: logger, now: now, jitter: jitter)
    }

    // MARK: Serving

    /// Serves all lanes until a graceful shutdown or ``stop()``; running jobs then have some time to end, and are handed
    /// back, as if they had not been claimed, when it is over.
    package func run() async throws {
        await withGracefulShutdownHandler {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await self.ledger.run() }
                group.addTask { await self.watchTheTime() }
                group.addTask {
                    await self.repeatedly(every: self.heartbeatInterval, "leases could not be extended") {
                        try await self.heartbeat()
                    }
                }
                group.addTask {
                    await self.repeatedly(every: self.configuration.sweepInterval, "expired jobs could not be swept") {
                        while try await self.sweep() == Sweeper.limit {}
                    }
                }
                group.addTask {
                    await self.repeatedly(every: self.configuration.statisticsInterval, "jobs could not be counted") {
                        self.meters.record(try await self.statistics())
                    }
                }
                await withDiscardingTaskGroup { lanes in
                    for lane in self.lanes { lanes.addTask { await self.serve(lane) } }
                }
                self.ledger.close()
                // The ledger ends once all is written; the house is kept until then.
                await group.next()
                group.cancelAll()
            }
        } onGracefulShutdown: {
            self.stop()
        }
        // After a cancellation, what has ended in the meantime. A task of its own, because the database refuses work for a
        // cancelled one.
        await Task { await ledger.writeOnce() }.value
    }

    /// Stops claiming.
    ///
    /// Running jobs go on for `shutdownGrace`.
    package func stop() {
        state.withLock { $0.isStopping = true }
        database.signals.publish(lanes.map(\.signal))
    }

    /// Cancels what runs, to be handed back.
    package func cancelRunning() {
        let tasks = state.withLock { state in
            state.isStopping = true
            state.isCancelling = true
            for key in state.running.keys where state.running[key]?.interruption == nil {
                state.running[key]?.interruption = .shutdown
            }
            return state.running.values.map(\.task)
        }
        for task in tasks { task.cancel() }
    }

    private var isStopping: Bool { state.withLock { $0.isStopping } || Task.isCancelled }

    private func serve(_ lane: LaneWorker) async {
        let waiter = database.signals.waiter(for: lane.signal)
        await withDiscardingTaskGroup { group in
            while !isStopping {
                guard lane.hasRoom, ledger.hasRoom else {
                    await waiter.wait(atMost: configuration.pollInterval)
                    continue
                }
                do {
                    let found = try await claim(from: lane)
                    for claim in found.claims {
                        group.addTask {
                            await self.perform(claim, in: lane)
                            if lane.end(claim) { self.database.signals.publish(CollectionOfOne(lane.signal)) }
                        }
                    }
                    guard !found.mayHaveMore else { continue }
                    let untilNext = found.nextRunAt.map { max($0 - now(), .zero) }
                    await waiter.wait(atMost: min(configuration.pollInterval, untilNext ?? configuration.pollInterval))
                } catch is CancellationError {
                    continue
                } catch {
                    logger.warning(
                        "jobs could not be claimed",
                        metadata: ["lane": "\(lane.lane.name)", "error": "\(error)"]
                    )
                    try? await Task.sleep(for: configuration.pollInterval)
                }
            }
        }
    }

    /// Claims once from a lane, runs what was claimed to its end and writes down what became of it.
    ///
    /// - Returns: How many jobs ran.
    @discardableResult
    package func runOnce(_ lane: Lane) async throws -> Int {
        guard let worker = lanes.first(where: { $0.lane == lane }), worker.hasRoom else { return 0 }
        let claims = try await claim(from: worker).claims
        await withDiscardingTaskGroup { group in
            for claim in claims {
                group.addTask {
                    await self.perform(claim, in: worker)
                    _ = worker.end(claim)
                }
            }
        }
        while try await ledger.write() > 0 {}
        return claims.count
    }

    private func claim(from lane: LaneWorker) async throws -> LaneWorker.Catch {
        let found = try await lane.claim(from: database, now: now())
        lane.begin(found.claims)
        for job in found.unreadable {
            logger.error(
                "a job that cannot be read is quarantined",
                metadata: [
                    "lane": "\(lane.lane.name)", "organization_id": "\(job.organization)", "reason": "\(job.reason)",
                ]
            )
        }
        return found
    }

    // MARK: One attempt

    private func perform(_ claim: Claim, in lane: LaneWorker) async {
        guard let entry = entries[claim.kind] else { return }
        let started = now()
        lane.wait.record(duration: max(started - claim.runAt, .zero))
        var logger = logger
        logger[metadataKey: "job_id"] = "\(claim.id)"
        logger[metadataKey: "job_kind"] = "\(claim.kind)"
        if claim.organization != .zero { logger[metadataKey: "organization_id"] = "\(claim.organization)" }
        let attempt = JobAttempt(
            id: claim.id,
            organization: claim.organization,
            kind: claim.kind,
            lane: lane.lane,
            policy: entry.policy,
            number: claim.attempt,
            maxAttempts: claim.maxAttempts,
            deadline: claim.deadline,
            logger: logger,
            jitter: jitter(),
            hasFollowUp: entry.hasFollowUp,
            token: claim.token
        )

        // A task of its own, so that it can be cancelled alone; it is waited for here and cancelled with its parent.
        let key = Key(id: claim.id, token: claim.token)
        let task = state.withLock { state in
            // Begun under the lock, so that no handler runs of which deadlines and leases know nothing.
            let task = Task { try await entry.run(claim.payload, attempt) }
            state.running[key] = Running(
                task: task,
                deadline: claim.deadline,
                lease: entry.policy.lease,
                mark: attempt.mark,
                interruption: state.isCancelling ? .shutdown : nil
            )
            if state.isCancelling { task.cancel() }
            return task
        }
        let result = await withTaskCancellationHandler {
            await task.result
        } onCancel: {
            self.interrupt([key], .shutdown)
        }
        let interruption = state.withLock { $0.running.removeValue(forKey: key)?.interruption }

        let (settlement, outcome) = settle(attempt, entry.policy, result, interruption)
        if let settlement {
            ledger.add(
                Ledger.Entry(
                    claim: claim,
                    lane: lane.lane,
                    settlement: settlement,
                    hasFollowUp: entry.hasFollowUp
                )
            )
        }
        entry.meters.record(outcome, after: max(now() - started, .zero))
    }

    private func settle(
        _ attempt: JobAttempt,
        _ policy: RetryPolicy,
        _ result: Result<Void, any Error>,
        _ interruption: Interruption?
    ) -> (Settlement?, JobMeters.Outcome) {
        let logger = attempt.logger
        func tell(_ reason: String) {
            let metadata: Logger.Metadata = ["attempt": "\(attempt.number)", "reason": "\(reason)"]
            if attempt.isLast {
                logger.error("a job is quarantined: its attempts are used up", metadata: metadata)
            } else {
                logger.notice("an attempt at a job failed", metadata: metadata)
            }
        }
        func failed(_ reason: String, retryAfter: Duration? = nil) -> (Settlement, JobMeters.Outcome) {
            tell(reason)
            guard !attempt.isLast else { return (.quarantine(reason), .quarantined) }
            let wait = policy.wait(afterAttempt: attempt.number, retryAfter: retryAfter, jitter: attempt.jitter)
            return (.retry(at: now() + wait, reason), .retried)
        }
        func lost() -> (Settlement?, JobMeters.Outcome) {
            logger.warning("the claim of a job was lost while it ran", metadata: ["attempt": "\(attempt.number)"])
            return (nil, .lost)
        }
        switch (result, interruption) {
        case (_, .leaseLost): return lost()
        // The handler has ended its job in a transaction of its own, perhaps as failed.
        case (.success, _) where attempt.mark.outcome != nil:
            if let reason = attempt.mark.reason { tell(reason) }
            return (nil, attempt.mark.outcome ?? .finished)
        // Writing it down checks the token, so a late end counts if the job is still ours.
        case (.success, _): return (.finish, .finished)
        case (.failure(JobFailure.permanent(let reason)), _):
            let reason = JobReason.clean(reason)
            logger.error(
                "a job is quarantined",
                metadata: ["attempt": "\(attempt.number)", "reason": "\(reason)"]
            )
            return (.quarantine(reason), .quarantined)
        case (.failure(JobFailure.retry(let wait, let reason)), _):
            return failed(JobReason.clean(reason), retryAfter: wait)
        case (.failure(JobError.leaseLost), _): return lost()
        case (.failure, .timedOut): return failed(JobReason.timedOut)
        case (.failure, .shutdown): return (.handBack, .handedBack)
        case (.failure(let error), nil): return failed(JobReason.of(error))
        }
    }

    private func interrupt(_ keys: some Sequence<Key>, _ interruption: Interruption) {
        let tasks = state.withLock { state in
            keys.compactMap { key -> Task<Void, any Error>? in
                guard state.running[key]?.interruption == nil else { return nil }
                state.running[key]?.interruption = interruption
                return state.running[key]?.task
            }
        }
        for task in tasks { task.cancel() }
    }

    // MARK: Keeping house

    /// A third of the shortest lease, so that two signs of life may fail.
    private var heartbeatInterval: Duration { (entries.values.map(\.policy.lease).min() ?? .seconds(30)) / 3 }

    /// Cancels what is overdue, and everything once the grace of a shutdown is over.
    ///
    /// Asks nothing of the database, which may be what everybody else is waiting for.
    private func watchTheTime() async {
        let clock = ContinuousClock()
        let interval = min(.milliseconds(250), heartbeatInterval)
        var stoppedAt: ContinuousClock.Instant?
        while !Task.isCancelled {
            cancelOverdue()
            if isStopping {
                let tick = clock.now
                stoppedAt = stoppedAt ?? tick
                if let stoppedAt, tick - stoppedAt >= configuration.shutdownGrace { cancelRunning() }
            }
            try? await Task.sleep(for: interval)
        }
    }

    /// Calls `body` at once and then after each interval, until the task is cancelled.
    private func repeatedly(
        every interval: Duration,
        _ failure: Logger.Message,
        _ body: () async throws -> Void
    ) async {
        while !Task.isCancelled {
            do { try await body() } catch is CancellationError {
                // The loop ends by itself.
            } catch { logger.warning(failure, metadata: ["error": "\(error)"]) }
            try? await Task.sleep(for: interval)
        }
    }

    /// Cancels the attempts whose deadline has passed.
    package func cancelOverdue() {
        let now = now()
        let overdue = state.withLock { state in state.running.filter { $0.value.deadline <= now }.map(\.key) }
        if !overdue.isEmpty { interrupt(overdue, .timedOut) }
    }

    /// Extends the leases of what runs here, and cancels what is no longer ours.
    package func heartbeat() async throws {
        let now = now()
        let running = state.withLock { $0.running.mapValues(\.lease) }
        guard !running.isEmpty else { return }
        let tokens = Array(Set(running.keys.map(\.token)))
        var tokensByLease: [Duration: Set<ID<JobTokenEntity>>] = [:]
        for (key, lease) in running { tokensByLease[lease, default: []].insert(key.token) }
        // Shorter leases first: jobs of one claim share a token, and a longer lease does no harm.
        let extensions = tokensByLease.sorted { $0.key < $1.key }.map { lease, tokens in
            JobStore.extend(JobStore.padded(tokens.sorted()), to: now + lease, now: now)
        }
        let held = try await database.write(for: .queue, isolation: .readCommitted) { tx in
            try tx.stayOnIndexesWithoutWaitingForDisk()
            return try tx.batch(extensions + [JobStore.held(JobStore.padded(tokens))]) { _, row -> Key? in
                row.skip()
                // A row that cannot be read is nobody's.
                guard let id = try? row.next(ID<JobEntity>.self), let token = try? row.next(ID<JobTokenEntity>.self)
                else { return nil }
                return Key(id: id, token: token)
            }
        }
        let gone = Set(running.keys).subtracting(held.joined().compactMap(\.self))
        let lost = state.withLock { state in
            gone.filter { key in state.running[key].map { $0.mark.outcome == nil } ?? false }
        }
        if !lost.isEmpty { interrupt(lost, .leaseLost) }
    }

    /// See ``Sweeper/sweep()``.
    @discardableResult
    package func sweep() async throws -> Int { try await sweeper.sweep() }

    /// How every lane stands, over all nodes.
    package func statistics() async throws -> [Lane: QueueStatistics] {
        try await QueueStatistics.all(in: database, now: now())
    }
}
