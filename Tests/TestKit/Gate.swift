import Dispatch
import Synchronization

/// Opens once; whoever comes earlier waits, each for itself: one that is cancelled ends no other's wait, as it would with
/// readers of one stream.
package final class Gate: Sendable {
    private typealias Waiter = @Sendable (Result<Void, any Error>) -> Void

    private struct State {
        var isOpen = false
        var waiters: [Int: Waiter] = [:]
        var tickets = 0
    }

    /// For machines that hang; nothing is concluded from how long it takes.
    private static let limit = 120
    private let state = Mutex(State())

    package init() {}

    package func open() {
        let waiters = state.withLock { state in
            state.isOpen = true
            defer { state.waiters = [:] }
            return state.waiters.values
        }
        for waiter in waiters { waiter(.success(())) }
    }

    /// - Throws: `CancellationError` when the task is cancelled before the gate opens; ``NeverHappened`` after two minutes.
    package func pass() async throws {
        let ticket = draw()
        let timer = Task {
            try await Task.sleep(for: .seconds(Self.limit))
            end(ticket, .failure(NeverHappened(what: "a gate was opened")))
        }
        defer { timer.cancel() }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                // A cancellation that came too early to find the waiter has set the flag.
                wait(ticket, orEnd: { Task.isCancelled ? .failure(CancellationError()) : nil }) {
                    continuation.resume(with: $0)
                }
            }
        } onCancel: {
            end(ticket, .failure(CancellationError()))
        }
    }

    /// Blocks the thread.
    ///
    /// - Throws: ``NeverHappened`` after two minutes.
    package func passInBody() throws {
        let semaphore = DispatchSemaphore(value: 0)
        wait(draw(), orEnd: { nil }) { _ in semaphore.signal() }
        guard semaphore.wait(timeout: .now() + .seconds(Self.limit)) == .success else {
            throw NeverHappened(what: "a gate was opened")
        }
    }

    private func draw() -> Int {
        state.withLock { state in
            state.tickets += 1
            return state.tickets
        }
    }

    private func wait(_ ticket: Int, orEnd early: () -> Result<Void, any Error>?, _ waiter: @escaping Waiter) {
        let result: Result<Void, any Error>? = state.withLock { state in
            if state.isOpen { return .success(()) }
            if let result = early() { return result }
            state.waiters[ticket] = waiter
            return nil
        }
        if let result { waiter(result) }
    }

    private func end(_ ticket: Int, _ result: Result<Void, any Error>) {
        let waiter = state.withLock { $0.waiters.removeValue(forKey: ticket) }
        waiter?(result)
    }
}
