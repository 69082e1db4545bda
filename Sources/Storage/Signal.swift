import Synchronization

/// Something that others may be waiting for.
///
/// Signals are hints: they may be lost or repeated, so whoever waits for one also looks at the rows from time to time.
///
/// Each subsystem declares its own beside what they are about, with a prefix that nobody else has.
package struct Signal: Sendable, Hashable {
    /// The form that crosses between nodes, at most 64 bytes without line breaks.
    package let text: String

    package init(_ text: String) { self.text = text }
}

/// Hands signals to those who wait on this node.
package final class SignalHub: Sendable {
    private struct State {
        var subscribers: [Signal: [UInt64: @Sendable () -> Void]] = [:]
        var nextNumber: UInt64 = 0
    }

    private let state = Mutex(State())

    package init() {}

    /// Signals from now on, folded: several that arrive while nobody looks count as one.
    ///
    /// Ends when dropped.
    package func subscribe(to signal: Signal) -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let unsubscribe = add(to: signal) { continuation.yield() }
        continuation.onTermination = { _ in unsubscribe() }
        return stream
    }

    /// The same for those who also want to go on after a while without a signal.
    package func waiter(for signal: Signal) -> SignalWaiter {
        SignalWaiter { waiter in add(to: signal) { [weak waiter] in waiter?.signal() } }
    }

    private func add(to signal: Signal, _ wake: @escaping @Sendable () -> Void) -> @Sendable () -> Void {
        let number = state.withLock { state in
            state.nextNumber &+= 1
            state.subscribers[signal, default: [:]][state.nextNumber] = wake
            return state.nextNumber
        }
        return { [weak self] in
            self?.state.withLock { state in
                state.subscribers[signal]?[number] = nil
                if state.subscribers[signal]?.isEmpty == true { state.subscribers[signal] = nil }
            }
        }
    }

    package func publish(_ signals: some Collection<Signal>) {
        guard !signals.isEmpty else { return }
        let wakes = state.withLock { state in
            signals.flatMap { signal in state.subscribers[signal].map { Array($0.values) } ?? [] }
        }
        for wake in wakes { wake() }
    }

    /// Wakes everyone, after signals may have been lost.
    package func publishAll() {
        let wakes = state.withLock { state in state.subscribers.values.flatMap { Array($0.values) } }
        for wake in wakes { wake() }
    }
}
