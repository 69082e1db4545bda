import Kernel
import Logging
import Metrics
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Connections, each with its own thread, and the one queue of work that they share.
///
/// Work is run in the order in which it came. A thread with nothing to do lies on a stack, and work that comes is
/// handed to the top one: exactly one thread is woken for it. Only queries may wait although a thread is idle: a few
/// threads take all that wait and send them together, so that many share a round trip. While the database is down one
/// thread alone keeps trying to connect, and waiting work fails by its own deadline.
final class PostgresPool: Sendable {
    /// Threads that stay when there is nothing to do.
    private static let minimumIdle = 2
    private static let idleNanoseconds: UInt64 = 60_000_000_000
    /// How many may wait; more are refused at once.
    private static let capacity = 20_000
    private static let tickNanoseconds: UInt64 = 50_000_000
    /// Threads that are woken for queries; others help, and new ones are made, when those are stuck for a tick.
    private static let queryWorkers = max(2, sysconf(Int32(_SC_NPROCESSORS_ONLN)) / 2)
    /// Queries that share a round trip at most, so that none waits for long behind slow ones.
    private static let queryBatch = 16
    /// How often a body may lose its connection.
    ///
    /// A statement that ends its backend must not end all of them.
    private static let maximumLosses = 3

    private final class Worker: Sendable {
        let parker = Parker()
        /// Work handed over while the worker was idle.
        ///
        /// Written and taken while the pool's state is locked.
        let handed = Mutex<Entry?>(nil)
    }

    private struct Entry {
        let work: PostgresWork
        let deadline: UInt64
        let isQuery: Bool
    }

    private struct State {
        var queue: [Entry] = []
        /// Entries before this one are gone.
        var head = 0
        var idle: [Worker] = []
        var all: [ObjectIdentifier: Worker] = [:]
        /// Workers without a connection yet.
        var connecting = 0
        var busy = 0
        /// Of the busy ones, those with queries.
        var querying = 0
        var isClosed = false

        // The circuit.
        var failures = 0
        var lastFailureMoment: UInt64 = 0
        var nextAttempt: UInt64 = 0
        var lastFailure = "no connection became free in time"
        var isProbing = false
        /// Connections that were last used before this moment may be dead.
        var suspectBefore: UInt64 = 0

        var isTickerRunning = false
        var isTickerAwake = false

        var waiting: Int { queue.count - head }

        mutating func popFirst() -> Entry? {
            guard head < queue.count else { return nil }
            let entry = queue[head]
            head += 1
            if head == queue.count {
                queue.removeAll(keepingCapacity: true)
                head = 0
            } else if head >= 256, head * 2 > queue.count {
                queue.removeFirst(head)
                head = 0
            }
            return entry
        }

        /// Notes that a worker begins with what it got.
        mutating func begin(_ entry: Entry) {
            busy += 1
            if entry.isQuery { querying += 1 }
        }
    }

    let threads: ThreadGroup
    private let configuration: PostgresConfiguration
    private let logger: Logger
    private let state = Mutex(State())
    private let tickerParker = Parker()
    private let waitTimer = Timer(label: "kuvend_db_pool_wait_seconds")
    private let busyGauge = Gauge(label: "kuvend_db_connections_in_use")

    init(configuration: PostgresConfiguration, threads: ThreadGroup, logger: Logger) {
        self.configuration = configuration
        self.threads = threads
        self.logger = logger
    }

    /// How many wait.
    var waiting: Int { state.withLock { $0.waiting } }

    // MARK: Work comes

    func submit(_ work: PostgresWork, _ job: PostgresWork.QueuedTransaction) {
        guard work.offer(job) else { return job.fail(CancellationError()) }
        let deadline = job.enqueued.addingSaturating(configuration.acquireTimeout.nanosecondsClamped)
        enqueue(Entry(work: work, deadline: deadline, isQuery: job.query != nil))
    }

    private enum PoolStep {
        case none
        case wake(Worker)
        case start(Worker)
        case refuse(StorageError)
    }

    private func enqueue(_ entry: Entry, isFirst: Bool = false) {
        let (step, startTicker, wakeTicker): (PoolStep, Bool, Bool) = state.withLock { state in
            if state.isClosed { return (.refuse(.closed), false, false) }
            let joinsOthers = entry.isQuery && !isFirst && state.querying >= Self.queryWorkers
            if !joinsOthers, let worker = state.idle.popLast() {
                worker.handed.withLock { $0 = entry }
                state.begin(entry)
                return (.wake(worker), false, false)
            }
            guard state.waiting < Self.capacity || isFirst else {
                return (.refuse(.unavailable("\(Self.capacity) others are waiting")), false, false)
            }
            if isFirst { state.queue.insert(entry, at: state.head) } else { state.queue.append(entry) }
            let step: PoolStep = joinsOthers ? .none : growth(of: &state).map { .start($0) } ?? .none
            let startTicker = !state.isTickerRunning
            let wakeTicker = !state.isTickerAwake
            state.isTickerRunning = true
            state.isTickerAwake = true
            return (step, startTicker, wakeTicker)
        }
        switch step {
        case .none: break
        case .wake(let worker): worker.parker.unpark()
        case .start(let worker): start(worker)
        case .refuse(let error): entry.work.take()?.fail(error)
        }
        if startTicker {
            if !threads.start("kuvend-db-tick", { [self] in tick() }) {
                state.withLock { state in
                    state.isTickerRunning = false
                    state.isTickerAwake = false
                }
            }
        } else if wakeTicker {
            tickerParker.unpark()
        }
    }

    /// A new worker, if the queue asks for one and the limit and the state of the database allow it.
    private func growth(of state: inout State) -> Worker? {
        guard state.all.count < configuration.maximumConnections, state.connecting < state.waiting,
            state.failures == 0 || !state.isProbing
        else { return nil }
        let worker = Worker()
        state.all[ObjectIdentifier(worker)] = worker
        state.connecting += 1
        return worker
    }

    private func start(_ worker: Worker) {
        guard !threads.start("kuvend-db", { [self] in serve(as: worker) }) else { return }
        state.withLock { state in
            state.all[ObjectIdentifier(worker)] = nil
            state.connecting -= 1
            state.lastFailure = "the system has no thread left"
        }
        logger.error("no thread for a database connection")
    }

    // MARK: The ticker

    /// Fails work whose time to wait is over, even while every connection is stuck.
    ///
    /// Sleeps while nothing waits.
    private func tick() {
        var quietTicks = 0
        while true {
            if quietTicks > 20 {
                quietTicks = 0
                // Awake once more before it sleeps: work may have come since the last look.
                let maySleep = state.withLock { state in
                    guard state.waiting == 0, !state.isClosed else { return false }
                    state.isTickerAwake = false
                    return true
                }
                if maySleep { tickerParker.park() }
            } else {
                tickerParker.park(until: monotonicNanoseconds() &+ Self.tickNanoseconds)
            }
            let now = monotonicNanoseconds()
            var helpers: [Worker] = []
            var fresh: [Worker] = []
            let (expired, reason, isQuiet, isClosed): ([PostgresWork], String, Bool, Bool) = state.withLock { state in
                guard state.waiting > 0 else { return ([], "", true, state.isClosed) }
                // Those whose work this is are stuck with something slow.
                while let helper = state.idle.last, let entry = state.popFirst() {
                    state.idle.removeLast()
                    helper.handed.withLock { $0 = entry }
                    state.begin(entry)
                    helpers.append(helper)
                }
                while let worker = growth(of: &state) { fresh.append(worker) }
                var expired: [PostgresWork] = []
                if state.queue[state.head...].contains(where: { $0.deadline <= now }) {
                    let entries = state.queue[state.head...]
                    expired = entries.filter { $0.deadline <= now }.map(\.work)
                    state.queue = entries.filter { $0.deadline > now }
                    state.head = 0
                }
                let reason = state.failures > 0 ? state.lastFailure : "no connection became free in time"
                return (expired, reason, false, state.isClosed)
            }
            for helper in helpers { helper.parker.unpark() }
            for worker in fresh { start(worker) }
            for work in expired { work.take()?.fail(StorageError.unavailable(reason)) }
            if isClosed { return }
            quietTicks = isQuiet ? quietTicks + 1 : 0
        }
    }

    // MARK: A worker's life

    private func serve(as worker: Worker) {
        var connection: PostgresConnection?
        while true {
            if connection == nil {
                connection = connect(as: worker)
                if connection == nil { return }
            }
            guard let current = connection else { return }
            switch next(for: worker, current) {
            case .work(let entry):
                defer { release(entry) }
                if entry.isQuery {
                    runQueries(from: entry, on: current)
                } else if let job = entry.work.take() {
                    run(job, entry.work, on: current)
                }
            case .reconnect: break
            case .end:
                current.close()
                return
            }
            if current.isBroken {
                current.close(using: threads)
                connection = nil
                state.withLock { $0.connecting += 1 }
            }
        }
    }

    private func run(_ job: PostgresWork.QueuedTransaction, _ work: PostgresWork, on connection: PostgresConnection) {
        let start = monotonicNanoseconds()
        if let deadline = job.progress.deadline {
            guard start < deadline else { return job.fail(StorageError.timedOut) }
        } else {
            waitTimer.recordNanoseconds(Int64(clamping: start &- job.enqueued))
        }
        checkSuspect(connection)
        var job = job
        let outcome: PostgresWork.Outcome
        if connection.isBroken {
            outcome = .lost("the server has closed the connection")
        } else {
            let losses = job.progress.losses
            outcome = job.run(connection, &job.progress)
            if case .lost = outcome { job.progress.losses = losses + 1 }
        }
        guard case .lost(let reason) = outcome else { return }
        state.withLock { $0.suspectBefore = monotonicNanoseconds() }
        guard job.progress.losses <= Self.maximumLosses else { return job.fail(StorageError.unavailable(reason)) }
        // It has waited for its turn before, so it is first in the line.
        let patience = monotonicNanoseconds().addingSaturating(configuration.acquireTimeout.nanosecondsClamped)
        guard work.offer(job) else { return job.fail(CancellationError()) }
        let deadline = min(patience, job.progress.deadline ?? .max)
        enqueue(Entry(work: work, deadline: deadline, isQuery: job.query != nil), isFirst: true)
    }

    private func checkSuspect(_ connection: PostgresConnection) {
        let now = monotonicNanoseconds()
        let isSuspect = state.withLock { state in
            now &- connection.lastUse > 1_000_000_000 || connection.lastUse < state.suspectBefore
        }
        if isSuspect { connection.checkAlive() }
    }

    /// Sends a query together with those that wait behind it, and hands out the rows.
    ///
    /// A query whose rows do not come goes on alone, as a transaction, which knows what to do about it.
    private func runQueries(from first: Entry, on connection: PostgresConnection) {
        var entries = [first]
        state.withLock { state in
            while entries.count < Self.queryBatch, state.waiting > 0, state.queue[state.head].isQuery,
                let entry = state.popFirst()
            {
                entries.append(entry)
            }
        }
        let batch = entries.compactMap { entry in entry.work.take().map { (job: $0, work: entry.work) } }
        guard !batch.isEmpty else { return }
        let now = monotonicNanoseconds()
        for (job, _) in batch { waitTimer.recordNanoseconds(Int64(clamping: now &- job.enqueued)) }
        let deadline = now.addingSaturating(configuration.transactionTimeout.nanosecondsClamped)
        checkSuspect(connection)
        let isSent = !connection.isBroken
        let results = isSent ? connection.rows(of: batch.map(\.job.query), until: deadline) : []
        var left: [(job: PostgresWork.QueuedTransaction, work: PostgresWork)] = []
        for (index, entry) in batch.enumerated() {
            if index < results.count, let rows = results[index], let query = entry.job.query {
                query.finish(rows)
                rows.close()
            } else {
                left.append(entry)
            }
        }
        let wasLost = isSent && connection.isBroken
        // Backwards, because each that has to wait again goes to the head of the line. The time is the first one's: when
        // it was lost, those behind it have not begun.
        for (place, (job, work)) in left.enumerated().reversed() {
            var job = job
            job.query = nil
            if place == 0 || !wasLost { job.progress.deadline = job.progress.deadline ?? deadline }
            if wasLost { job.progress.losses += 1 }
            run(job, work, on: connection)
        }
    }

    private enum Next {
        case work(Entry)
        case reconnect
        case end
    }

    /// Waits for work.
    ///
    /// Counts the worker as busy when it returns some.
    private func next(for worker: Worker, _ connection: PostgresConnection) -> Next {
        if connection.isBroken { return .reconnect }
        // Nobody counts on a worker that still reads the end of its last transaction, unless others are waiting.
        if state.withLock({ $0.waiting == 0 }) {
            connection.drain()
            if connection.isBroken { return .reconnect }
        }
        let immediate: Next? = state.withLock { state in
            if let entry = state.popFirst() {
                state.begin(entry)
                return .work(entry)
            }
            if state.isClosed {
                state.all[ObjectIdentifier(worker)] = nil
                return .end
            }
            state.idle.append(worker)
            return nil
        }
        if let immediate {
            if case .work = immediate { recordBusy() }
            if case .end = immediate { connection.drain() }
            return immediate
        }
        while true {
            let wasWoken = worker.parker.park(until: monotonicNanoseconds() &+ Self.idleNanoseconds)
            let next: Next? = state.withLock { state in
                if let entry = worker.handed.withLock({ $0.take() }) { return .work(entry) }
                if state.isClosed || !wasWoken && state.all.count > Self.minimumIdle {
                    state.idle.removeAll { $0 === worker }
                    state.all[ObjectIdentifier(worker)] = nil
                    return .end
                }
                return nil
            }
            guard let next else { continue }
            if case .work = next { recordBusy() }
            return next
        }
    }

    private func release(_ entry: Entry) {
        state.withLock { state in
            state.busy -= 1
            if entry.isQuery { state.querying -= 1 }
        }
        recordBusy()
    }

    private func recordBusy() { busyGauge.record(state.withLock { $0.busy }) }

    // MARK: Connecting

    private enum ConnectDecision {
        case now
        case at(UInt64)
        case never
    }

    /// Connects, again and again while there is a need.
    ///
    /// nil: the worker is not needed any more and is forgotten.
    private func connect(as worker: Worker) -> PostgresConnection? {
        var isProbe = false
        while true {
            let attempt: ConnectDecision = state.withLock { state in
                let isNeeded = state.waiting > 0 || isProbe && state.connecting == state.all.count
                if state.isClosed || !isNeeded || state.isProbing && !isProbe {
                    state.all[ObjectIdentifier(worker)] = nil
                    state.connecting -= 1
                    if isProbe { state.isProbing = false }
                    return .never
                }
                guard state.failures > 0 else { return .now }
                state.isProbing = true
                isProbe = true
                return .at(state.nextAttempt)
            }
            switch attempt {
            case .never: return nil
            case .now: break
            case .at(let moment):
                // Only the end of the pool wakes a worker that has no connection.
                if worker.parker.park(until: moment) { continue }
            }
            let start = monotonicNanoseconds()
            do throws(PostgresFailure) {
                let connection = try PostgresConnection.connect(
                    to: configuration.url,
                    role: configuration.role,
                    timeout: configuration.transactionTimeout,
                    until: start.addingSaturating(configuration.connectTimeout.nanosecondsClamped),
                    unless: { state.withLock { $0.isClosed } }
                )
                connected(isProbe: isProbe)
                return connection
            } catch {
                failedToConnect(error.message, since: start)
            }
        }
    }

    private func connected(isProbe: Bool) {
        let (others, wasDown): ([Worker], Bool) = state.withLock { state in
            let wasDown = state.failures > 0
            state.failures = 0
            if isProbe { state.isProbing = false }
            state.connecting -= 1
            var others: [Worker] = []
            if wasDown { while let other = growth(of: &state) { others.append(other) } }
            return (others, wasDown)
        }
        if wasDown { logger.info("the database can be reached again") }
        for other in others { start(other) }
    }

    private func failedToConnect(_ reason: String, since start: UInt64) {
        let (failures, isClosed): (Int?, Bool) = state.withLock { state in
            state.lastFailure = reason
            // Of several that tried at the same time, one counts.
            guard start >= state.lastFailureMoment else { return (nil, state.isClosed) }
            state.failures += 1
            let now = monotonicNanoseconds()
            state.lastFailureMoment = now
            // 0.1 s, 0.2 s, ... 2 s, less up to a half, so that nodes do not come back together.
            let ceiling: UInt64 = min(2_000_000_000, 100_000_000 << UInt64(min(state.failures - 1, 6)))
            state.nextAttempt = now &+ UInt64.random(in: ceiling / 2...ceiling)
            return (state.failures, state.isClosed)
        }
        guard !isClosed, let failures else { return }
        logger.warning(
            "no connection to the database",
            metadata: ["reason": "\(reason)", "attempt": "\(failures)"]
        )
    }

    // MARK: The end

    /// Fails what waits, and lets what runs come to its end.
    ///
    /// The threads end by themselves.
    func close() {
        let (entries, workers): ([Entry], [Worker]) = state.withLock { state in
            state.isClosed = true
            defer {
                state.queue = []
                state.head = 0
            }
            return (Array(state.queue[state.head...]), Array(state.all.values))
        }
        for entry in entries { entry.work.take()?.fail(StorageError.closed) }
        for worker in workers { worker.parker.unpark() }
        tickerParker.unpark()
    }
}
