import CPostgres

/// What is left of a connection whose last statement the server may still be at.
///
/// `@unchecked Sendable`: both pointers are used by ``bury(cancelling:)`` alone, which is called once, by the thread that
/// was started for it or, where there is none, by the one that could not start it. `PostgresConnection.close(using:)`
/// makes this of its handle as the last thing that it does with it, and has no `deinit`.
struct PostgresRemains: @unchecked Sendable {
    let handle: OpaquePointer
    let cancel: OpaquePointer

    func bury(cancelling: Bool = true) {
        if cancelling {
            var complaint = [CChar](repeating: 0, count: 256)
            _ = PQcancel(cancel, &complaint, Int32(complaint.count))
        }
        PQfreeCancel(cancel)
        PQfinish(handle)
    }
}
