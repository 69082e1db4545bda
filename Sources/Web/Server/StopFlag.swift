import Synchronization

/// Whether the server is shutting down.
///
/// From then on each answer asks its client to close the connection: otherwise one that goes on sending over an open
/// connection would keep the server up for the whole grace.
final class StopFlag: Sendable {
    private let flag = Atomic<Bool>(false)

    var isSet: Bool { flag.load(ordering: .relaxed) }

    func set() { flag.store(true, ordering: .relaxed) }
}
