import Kernel
import Synchronization

/// How many bytes of request bodies the server holds at once, and how many of them for one caller: an organization, or an
/// address where nobody is authenticated.
///
/// Bytes are taken as they arrive, so that a body that was only announced costs nothing, and given back when its request
/// has ended. A caller may hold a quarter, so that one who sends much leaves room for the others.
///
/// Counts the bodies as they were sent; what is parsed out of them is larger, by a factor that depends on their content.
final class BodyBudget: Sendable {
    /// What one request holds.
    struct Share: Sendable {
        let caller: CallerKey
        fileprivate(set) var bytes = 0

        init(of caller: CallerKey) { self.caller = caller }
    }

    private struct State {
        var held = 0
        var byCaller: [CallerKey: Int] = [:]
    }

    private static let busy = Problem(
        ProblemKind.busy.status,
        ProblemKind.busy.code,
        "Too many large requests are under way. Try again in a moment.",
        retryAfterSeconds: 2
    )

    private let limit: Int
    private let callerLimit: Int
    private let state = Mutex(State())

    /// - Parameter largestBody: One body always fits, however small the budget.
    init(_ limit: Int, largestBody: Int) {
        callerLimit = max(limit / 4, largestBody)
        self.limit = max(limit, callerLimit)
    }

    /// Adds to the share of a request; throws `server.busy` when there is nothing left.
    func take(_ count: Int, for share: inout Share) throws(Problem) {
        let caller = share.caller
        let isTaken = state.withLock { state in
            let held = state.byCaller[caller, default: 0]
            guard count <= limit - state.held, count <= callerLimit - held else { return false }
            state.held += count
            state.byCaller[caller] = held + count
            return true
        }
        guard isTaken else { throw Self.busy }
        share.bytes += count
    }

    func giveBack(_ share: Share) {
        guard share.bytes > 0 else { return }
        state.withLock { state in
            state.held -= share.bytes
            let left = state.byCaller[share.caller, default: 0] - share.bytes
            state.byCaller[share.caller] = left > 0 ? left : nil
        }
    }

    /// How much is held for all callers; for tests.
    var held: Int { state.withLock { $0.held } }
}
