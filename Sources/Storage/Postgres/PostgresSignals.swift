import Kernel
import Logging
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Signals on their way between nodes: the sender's number, then one signal a line.
enum PostgresSignals {
    static let channel = "kuvend"
    /// The server takes 7999 bytes.
    static let maximumPayload = 7_000
    /// Stands for all signals, when there were too many to name.
    static let everything = "*"

    static func payloads(from node: String, _ texts: [String]) -> [String] {
        var payloads: [String] = []
        var payload = node
        for text in texts {
            if payload.utf8.count + 1 + text.utf8.count > maximumPayload, payload.utf8.count > node.utf8.count {
                payloads.append(payload)
                payload = node
            }
            payload += "\n"
            payload += text
        }
        if payload.utf8.count > node.utf8.count { payloads.append(payload) }
        return payloads
    }

    /// What another node says; nil for what this node said itself.
    ///
    /// A line that nobody here waits for, as a newer node may send them, wakes nobody.
    static func signals(in payload: String, to node: String) -> (signals: [Signal], isEverything: Bool)? {
        let lines = payload.split(separator: "\n", omittingEmptySubsequences: false)
        guard let sender = lines.first, sender != node else { return nil }
        return (
            lines.dropFirst().filter { !$0.isEmpty && $0 != everything }.map { Signal(String($0)) },
            lines.dropFirst().contains { $0 == everything }
        )
    }
}

/// Tells other nodes about signals, in batches.
///
/// `NOTIFY` takes a lock of the whole cluster when its transaction commits, so writers do not send it: one connection
/// does, for all of them, at most once every few milliseconds and without waiting for the disk.
final class PostgresNotifier: Sendable {
    private static let interval: UInt64 = 4_000_000
    /// More different signals than this are folded into one that wakes everybody.
    private static let maximumPending = 10_000

    private struct State {
        var pending: [String] = []
        var known: Set<String> = []
        var hasOverflowed = false
        var isRunning = false
        var isClosed = false
    }

    private let node: String
    private let configuration: PostgresConfiguration
    private let threads: ThreadGroup
    private let logger: Logger
    private let parker = Parker()
    private let state = Mutex(State())

    init(node: String, configuration: PostgresConfiguration, threads: ThreadGroup, logger: Logger) {
        self.node = node
        self.configuration = configuration
        self.threads = threads
        self.logger = logger
    }

    func send(_ signals: [Signal]) {
        guard !signals.isEmpty else { return }
        let (isFirst, mustStart) = state.withLock { state in
            guard !state.isClosed else { return (false, false) }
            let isFirst = state.pending.isEmpty
            for signal in signals where !state.hasOverflowed {
                let text = signal.text
                guard !text.contains("\n"), state.known.insert(text).inserted else { continue }
                state.pending.append(text)
            }
            if state.pending.count > Self.maximumPending {
                state.hasOverflowed = true
                state.pending = [PostgresSignals.everything]
                state.known = []
            }
            defer { state.isRunning = true }
            return (isFirst, !state.isRunning)
        }
        if mustStart {
            if !threads.start("kuvend-notify", { [self] in serve() }) { state.withLock { $0.isRunning = false } }
        } else if isFirst {
            parker.unpark()
        }
    }

    func close() {
        state.withLock { $0.isClosed = true }
        parker.unpark()
    }

    private var isClosed: Bool { state.withLock { $0.isClosed } }

    private func serve() {
        var connection: PostgresConnection?
        defer { connection?.close() }
        var failures = 0
        var unsent: [String] = []
        while true {
            let (texts, isClosed) = state.withLock { state in
                defer {
                    state.pending = []
                    state.known = []
                    state.hasOverflowed = false
                }
                return (state.pending, state.isClosed)
            }
            if isClosed { return }
            unsent += texts
            if unsent.count > Self.maximumPending { unsent = [PostgresSignals.everything] }
            if unsent.isEmpty {
                parker.park()
                continue
            }
            do {
                let current = try connection ?? connect()
                connection = current
                if monotonicNanoseconds() &- current.lastUse > 1_000_000_000 { current.checkAlive() }
                for payload in PostgresSignals.payloads(from: node, unsent) {
                    try current.send(
                        "SELECT pg_notify($1, $2)",
                        [.text(PostgresSignals.channel), .text(payload)],
                        as: .control
                    )
                }
                try current.sync()
                try current.collect(until: monotonicNanoseconds() &+ 10_000_000_000)
                unsent = []
                failures = 0
                pause(Self.interval)
            } catch {
                connection?.close()
                connection = nil
                failures += 1
                if !self.isClosed {
                    logger.warning("signals cannot be sent to other nodes", metadata: ["reason": "\(error)"])
                }
                pause(UInt64.random(in: 50_000_000...100_000_000) << UInt64(min(failures - 1, 6)))
            }
        }
    }

    /// Waits for the whole time unless the end comes.
    private func pause(_ nanoseconds: UInt64) {
        let moment = monotonicNanoseconds() &+ nanoseconds
        while !isClosed, parker.park(until: moment) {}
    }

    private func connect() throws -> PostgresConnection {
        let deadline = monotonicNanoseconds().addingSaturating(configuration.connectTimeout.nanosecondsClamped)
        let connection = try PostgresConnection.connect(
            to: configuration.url,
            role: nil,
            timeout: .seconds(10),
            until: deadline,
            unless: { isClosed }
        )
        do {
            // A notification that is lost in a crash of the server had nobody to hear it.
            try connection.send("SET synchronous_commit = off", as: .control, isCached: false)
            try connection.sync()
            try connection.collect(until: deadline)
        } catch {
            connection.close()
            throw error
        }
        return connection
    }
}

/// Hears what other nodes signal, on a connection of its own, until it is stopped.
final class PostgresListener: Sendable {
    private let node: String
    private let configuration: PostgresConfiguration
    private let hub: SignalHub
    private let logger: Logger
    /// Both ends of a pipe that interrupts the wait for notifications.
    ///
    /// nil once stopped and closed.
    private let pipe: Mutex<(read: Int32, write: Int32)?>
    private let isStopped = Atomic(false)
    private let parker = Parker()

    init(node: String, configuration: PostgresConfiguration, hub: SignalHub, logger: Logger) throws {
        self.node = node
        self.configuration = configuration
        self.hub = hub
        self.logger = logger
        var ends: [Int32] = [-1, -1]
        guard makePipe(&ends) == 0 else { throw StorageError.unavailable("the system has no descriptor left") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        pipe = Mutex((ends[0], ends[1]))
    }

    deinit { closePipe() }

    func stop() {
        isStopped.store(true, ordering: .sequentiallyConsistent)
        pipe.withLock { pipe in
            var byte: UInt8 = 0
            if let pipe { _ = write(pipe.write, &byte, 1) }
        }
        parker.unpark()
    }

    /// Returns when stopped.
    func serve() {
        defer { closePipe() }
        let wake = pipe.withLock { $0?.read ?? -1 }
        var failures = 0
        while !hasStopped {
            do {
                let connection = try connect()
                defer { connection.close() }
                failures = 0
                // What was signalled in between is lost.
                hub.publishAll()
                try listen(on: connection, wake: wake)
            } catch {
                guard !hasStopped else { return }
                failures += 1
                logger.warning("signals of other nodes cannot be heard", metadata: ["reason": "\(error)"])
                let ceiling: UInt64 = 100_000_000 << UInt64(min(failures - 1, 6))
                parker.park(until: monotonicNanoseconds() &+ UInt64.random(in: ceiling / 2...ceiling))
            }
        }
    }

    private var hasStopped: Bool { isStopped.load(ordering: .sequentiallyConsistent) }

    private func connect() throws -> PostgresConnection {
        let deadline = monotonicNanoseconds().addingSaturating(configuration.connectTimeout.nanosecondsClamped)
        let connection = try PostgresConnection.connect(
            to: configuration.url,
            role: nil,
            timeout: .seconds(10),
            until: deadline,
            unless: { hasStopped }
        )
        do {
            try connection.send("LISTEN \(PostgresSignals.channel)", as: .control, isCached: false)
            try connection.sync()
            try connection.collect(until: deadline)
        } catch {
            connection.close()
            throw error
        }
        return connection
    }

    private func listen(on connection: PostgresConnection, wake: Int32) throws {
        while !hasStopped {
            let lookAgain = monotonicNanoseconds() &+ 30_000_000_000
            let payloads = try connection.notifications(until: lookAgain, wakeDescriptor: wake)
            for payload in payloads {
                guard let heard = PostgresSignals.signals(in: payload, to: node) else { continue }
                if heard.isEverything { hub.publishAll() } else { hub.publish(heard.signals) }
            }
            if payloads.isEmpty, monotonicNanoseconds() >= lookAgain {
                // Is anybody still there?
                try connection.send("SELECT 1", as: .control)
                try connection.sync()
                try connection.collect(until: monotonicNanoseconds() &+ 5_000_000_000)
            }
        }
    }

    private func closePipe() {
        pipe.withLock { pipe in
            if let ends = pipe {
                _ = close(ends.read)
                _ = close(ends.write)
            }
            pipe = nil
        }
    }
}

private func makePipe(_ ends: inout [Int32]) -> Int32 { pipe(&ends) }
