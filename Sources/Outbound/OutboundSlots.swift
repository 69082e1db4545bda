import Kernel
import Synchronization

/// Bounds how many calls an organization has under way; the others wait in the order in which they came.
///
/// An organization whose provider is slow fills its own slots and nobody else's.
final class OutboundSlots: Sendable {
    private struct OrganizationSlots {
        var taken = 0
        var waiting: [(id: UInt64, continuation: CheckedContinuation<Void, any Error>)] = []
    }

    private struct State {
        var lanes: [ID<OrganizationEntity>: OrganizationSlots] = [:]
        var nextID: UInt64 = 0
    }

    private let limit: Int
    private let platformLimit: Int
    private let state = Mutex(State())

    /// - Parameter platformLimit: The slots of the platform's own calls, which belong to the organization `.zero`.
    init(limit: Int, platformLimit: Int) {
        self.limit = max(limit, 1)
        self.platformLimit = max(platformLimit, 1)
    }

    /// Waits for a slot; throws `CancellationError` when the task is cancelled first.
    func acquire(_ organization: ID<OrganizationEntity>) async throws {
        let limit = organization == .zero ? platformLimit : limit
        let id = state.withLock { state in
            state.nextID &+= 1
            return state.nextID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let result: Result<Void, any Error>? = state.withLock { state in
                    // The handler below runs after the task counts as cancelled: whoever comes second sees the other.
                    if Task.isCancelled { return .failure(CancellationError()) }
                    var lane = state.lanes.removeValue(forKey: organization) ?? OrganizationSlots()
                    defer { state.lanes[organization] = lane }
                    if lane.taken < limit {
                        lane.taken += 1
                        return .success(())
                    }
                    lane.waiting.append((id, continuation))
                    return nil
                }
                if let result { continuation.resume(with: result) }
            }
        } onCancel: {
            let continuation = state.withLock { state -> CheckedContinuation<Void, any Error>? in
                guard let place = state.lanes[organization]?.waiting.firstIndex(where: { $0.id == id }) else {
                    return nil
                }
                return state.lanes[organization]?.waiting.remove(at: place).continuation
            }
            continuation?.resume(throwing: CancellationError())
        }
    }

    func release(_ organization: ID<OrganizationEntity>) {
        let next = state.withLock { state -> CheckedContinuation<Void, any Error>? in
            guard var lane = state.lanes.removeValue(forKey: organization) else { return nil }
            var next: CheckedContinuation<Void, any Error>?
            if lane.waiting.isEmpty { lane.taken -= 1 } else { next = lane.waiting.removeFirst().continuation }
            if lane.taken > 0 { state.lanes[organization] = lane }
            return next
        }
        next?.resume()
    }

    /// How many calls of an organization wait; for tests.
    func waiting(_ organization: ID<OrganizationEntity>) -> Int {
        state.withLock { $0.lanes[organization]?.waiting.count ?? 0 }
    }
}
