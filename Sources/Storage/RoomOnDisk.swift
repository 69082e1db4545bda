import Synchronization

/// Remembers that a write found no room on the disk.
///
/// A transaction that succeeds says nothing: it may have changed nothing, or found the last free page.
final class RoomOnDisk: Sendable {
    private let flag = Atomic<Bool>(false)

    var isMissing: Bool {
        get { flag.load(ordering: .relaxed) }
        set { flag.store(newValue, ordering: .relaxed) }
    }

    func note(_ error: any Error) {
        if case StorageError.full = error { isMissing = true }
    }
}
