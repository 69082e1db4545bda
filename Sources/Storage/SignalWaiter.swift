import Kernel
import Synchronization

/// Waits for one signal again and again, with a limit to each wait.
///
/// A signal that came between two waits counts.
package final class SignalWaiter: Sendable {
    private struct State {
        var isSignalled = false
        var waiting: [UInt64: CheckedContinuation<Void, Never>] = [:]
        var cancelled: Set<UInt64> = []
        var nextNumber: UInt64 = 0
    }

    private let state = Mutex(State())
    private let unsubscribe: Mutex<(@Sendable () -> Void)?> = Mutex(nil)

    init(subscribe: (SignalWaiter) -> @Sendable () -> Void) {
        let unsubscribe = subscribe(self)
        self.unsubscribe.withLock { $0 = unsubscribe }
    }

    deinit { unsubscribe.withLock { $0 }?() }

    /// Returns when the signal has come, after `limit`, or when the task is cancelled, whichever is first.
    package func wait(atMost limit: Duration) async {
        let isSignalled = state.withLock { state in
            defer { state.isSignalled = false }
            return state.isSignalled
        }
        if isSignalled || Task.isCancelled { return }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.next() }
            group.addTask { try? await Task.sleep(for: limit) }
            await group.next()
            group.cancelAll()
        }
    }

    func signal() {
        let waiting = state.withLock { state in
            let waiting = state.waiting.values.map { $0 }
            state.waiting = [:]
            state.isSignalled = waiting.isEmpty
            return waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    private func next() async {
        let number = state.withLock { state in
            state.nextNumber &+= 1
            return state.nextNumber
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let goesOn = state.withLock { state in
                    if state.isSignalled || state.cancelled.remove(number) != nil {
                        state.isSignalled = false
                        return true
                    }
                    state.waiting[number] = continuation
                    return false
                }
                if goesOn { continuation.resume() }
            }
            state.withLock { _ = $0.cancelled.remove(number) }
        } onCancel: {
            let continuation = state.withLock { state in
                if let continuation = state.waiting.removeValue(forKey: number) { return Optional(continuation) }
                state.cancelled.insert(number)
                return nil
            }
            continuation?.resume()
        }
    }
}
