import Dispatch
import Kernel
import Synchronization

/// A caller's use of the database, on its way to a thread of the driver.
protocol SQLiteWork: AnyObject, Sendable {
    var kind: SQLiteWorkKind { get }
    /// When the caller began to wait, and until when it will, in nanoseconds of `DispatchTime`.
    var waitingSince: UInt64 { get }
    var waitingUntil: UInt64 { get }

    /// Claims the work for a thread; false when the caller has given up.
    func take() -> Bool
    /// Ends the caller's wait, unless a thread has taken the work.
    func giveUp(_ error: any Error)
    /// Runs the body. May be called again after an end of the transaction that was not the body's fault.
    func run(in transaction: SQLiteTransaction) throws
    /// Hands the caller what the last run returned, or the error. Only for work that was taken, once.
    func finish(_ error: (any Error)?)
}

enum SQLiteWorkKind: Sendable {
    /// May share a transaction with others.
    case body(DataScope)
    /// A transaction of its own, without a time limit.
    case migration
    /// Upkeep that manages without a transaction.
    case upkeep
}

final class SQLiteCall<Value: Sendable>: SQLiteWork {
    private enum Stage {
        case new
        case waiting(CheckedContinuation<Value, any Error>)
        case taken(CheckedContinuation<Value, any Error>, Value?)
        case ended
    }

    let kind: SQLiteWorkKind
    let waitingSince: UInt64
    let waitingUntil: UInt64
    private let body: @Sendable (SQLiteTransaction) throws -> Value
    private let stage = Mutex(Stage.new)

    init(_ kind: SQLiteWorkKind, patience: Duration, _ body: @escaping @Sendable (SQLiteTransaction) throws -> Value) {
        self.kind = kind
        self.body = body
        waitingSince = DispatchTime.now().uptimeNanoseconds
        waitingUntil = waitingSince.advanced(by: patience)
    }

    /// Begins the wait; false when the caller had given up before.
    func wait(_ continuation: CheckedContinuation<Value, any Error>) -> Bool {
        let waits = stage.withLock { stage in
            guard case .new = stage else { return false }
            stage = .waiting(continuation)
            return true
        }
        if !waits { continuation.resume(throwing: CancellationError()) }
        return waits
    }

    func take() -> Bool {
        stage.withLock { stage in
            guard case .waiting(let continuation) = stage else { return false }
            stage = .taken(continuation, nil)
            return true
        }
    }

    func giveUp(_ error: any Error) {
        let continuation: CheckedContinuation<Value, any Error>? = stage.withLock { stage in
            switch stage {
            case .new:
                stage = .ended
                return nil
            case .waiting(let continuation):
                stage = .ended
                return continuation
            case .taken, .ended:
                return nil
            }
        }
        continuation?.resume(throwing: error)
    }

    func run(in transaction: SQLiteTransaction) throws {
        let value = try body(transaction)
        stage.withLock { stage in
            if case .taken(let continuation, _) = stage { stage = .taken(continuation, value) }
        }
    }

    func finish(_ error: (any Error)?) {
        let (continuation, value): (CheckedContinuation<Value, any Error>?, Value?) = stage.withLock { stage in
            guard case .taken(let continuation, let value) = stage else { return (nil, nil) }
            stage = .ended
            return (continuation, value)
        }
        if let error {
            continuation?.resume(throwing: error)
        } else if let value {
            continuation?.resume(returning: value)
        } else {
            continuation?.resume(throwing: StorageError.closed)
        }
    }
}

/// First come, first served: what waits for the threads of one kind.
final class SQLiteWorkQueue: Sendable {
    private struct State {
        /// Taken from the front by moving `head`; entries before it are nil.
        var waiting: [(any SQLiteWork)?] = []
        var head = 0
        var idleThreads = 0
        var threads = 0
        var isClosed = false
        var isSweeping = false
        var whenThreadsEnded: [CheckedContinuation<Void, Never>] = []

        var count: Int { waiting.count - head }

        mutating func removeFirst() -> (any SQLiteWork)? {
            guard head < waiting.count else { return nil }
            defer {
                waiting[head] = nil
                head += 1
                if head == waiting.count {
                    waiting.removeAll(keepingCapacity: true)
                    head = 0
                } else if head >= 1_024, head * 2 >= waiting.count {
                    waiting.removeSubrange(..<head)
                    head = 0
                }
            }
            return waiting[head]
        }
    }

    private let state = Mutex(State())
    private let somethingToDo = DispatchSemaphore(value: 0)
    private let capacity: Int

    /// - Parameter capacity: How many may wait; more are refused at once.
    init(capacity: Int) { self.capacity = capacity }

    /// How many wait.
    var count: Int { state.withLock { $0.count } }

    // MARK: For callers

    func add(_ work: any SQLiteWork) {
        enum Outcome { case added(wakes: Bool, sweeps: Bool), full, closed }
        let outcome: Outcome = state.withLock { state in
            guard !state.isClosed else { return .closed }
            guard state.count < capacity else { return .full }
            state.waiting.append(work)
            let wakes = state.idleThreads > 0
            if wakes { state.idleThreads -= 1 }
            let sweeps = !wakes && !state.isSweeping
            if sweeps { state.isSweeping = true }
            return .added(wakes: wakes, sweeps: sweeps)
        }
        switch outcome {
        case .added(let wakes, let sweeps):
            if wakes { somethingToDo.signal() }
            if sweeps { sweepLater() }
        case .full: work.giveUp(StorageError.unavailable("\(capacity) others are waiting"))
        case .closed: work.giveUp(StorageError.closed)
        }
    }

    /// Refuses more work, and ends the threads once they are done with what they have taken.
    func close() {
        let (rest, idle) = state.withLock { state in
            let rest = state.waiting[state.head...].compactMap { $0 }
            let idle = state.idleThreads
            state.isClosed = true
            state.waiting = []
            state.head = 0
            state.idleThreads = 0
            return (rest, idle)
        }
        for work in rest { work.giveUp(StorageError.closed) }
        for _ in 0..<idle { somethingToDo.signal() }
    }

    func waitForThreads() async {
        await withCheckedContinuation { continuation in
            let haveEnded = state.withLock { state in
                if state.threads > 0 { state.whenThreadsEnded.append(continuation) }
                return state.threads == 0
            }
            if haveEnded { continuation.resume() }
        }
    }

    // MARK: For threads

    func threadBegins() { state.withLock { $0.threads += 1 } }

    func threadEnds() {
        let continuations = state.withLock { state in
            state.threads -= 1
            guard state.threads == 0 else { return [CheckedContinuation<Void, Never>]() }
            defer { state.whenThreadsEnded = [] }
            return state.whenThreadsEnded
        }
        for continuation in continuations { continuation.resume() }
    }

    /// Waits for work; nil once the queue is closed.
    func next() -> (any SQLiteWork)? {
        while true {
            enum Step { case work(any SQLiteWork), wait, end }
            let step: Step = state.withLock { state in
                if let work = state.removeFirst() { return .work(work) }
                if state.isClosed { return .end }
                state.idleThreads += 1
                return .wait
            }
            switch step {
            case .work(let work): if work.take() { return work }
            case .wait: somethingToDo.wait()
            case .end: return nil
            }
        }
    }

    /// The next body, if it waits already and may share a transaction.
    func nextToShare() -> (any SQLiteWork)? {
        while true {
            let work: (any SQLiteWork)? = state.withLock { state in
                guard state.head < state.waiting.count, case .body? = state.waiting[state.head]?.kind else {
                    return nil
                }
                return state.removeFirst()
            }
            guard let work else { return nil }
            if work.take() { return work }
        }
    }

    // MARK: Those who wait too long

    private func sweepLater() {
        DispatchQueue.global(qos: .utility).asyncAfter(deadline: .now() + .milliseconds(250)) { self.sweep() }
    }

    /// One look at all who wait, four times a second while anybody does, instead of a timer for each.
    private func sweep() {
        let now = DispatchTime.now().uptimeNanoseconds
        let (late, goesOn) = state.withLock { state in
            let late = state.waiting[state.head...].compactMap { $0 }.filter { $0.waitingUntil <= now }
            state.isSweeping = state.head < state.waiting.count
            return (late, state.isSweeping)
        }
        for work in late { work.giveUp(StorageError.unavailable("waited too long for a connection")) }
        if goesOn { sweepLater() }
    }
}

extension UInt64 {
    /// A point on the clock, moved by a duration; at most the end of the clock.
    func advanced(by duration: Duration) -> UInt64 {
        let milliseconds = UInt64(Swift.max(0, duration.wholeMilliseconds))
        let (nanoseconds, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
        guard !overflow else { return .max }
        let (sum, overflowed) = addingReportingOverflow(nanoseconds)
        return overflowed ? .max : sum
    }
}
