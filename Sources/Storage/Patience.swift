/// Asks a database that is busy or away for a moment again, with growing pauses of up to two seconds.
///
/// For work that was dear to get or that somebody follows; who waits for an answer is told of the trouble instead.
///
/// - Parameters:
///   - patience: How long after the beginning the last try may start.
///   - tell: Is called with the trouble before each pause.
///   - body: Leaves nothing behind when it throws a transient error; see ``StorageError/isTransient``.
package func patiently<Value: Sendable>(
    for patience: Duration,
    tell: @Sendable (StorageError) -> Void = { _ in },
    _ body: @Sendable () async throws -> Value
) async throws -> Value {
    let end = ContinuousClock.now + patience
    var pause = Duration.milliseconds(100)
    while true {
        do { return try await body() } catch let error as StorageError
            where error.isTransient && ContinuousClock.now + pause < end
        {
            tell(error)
            try await Task.sleep(for: pause)
            pause = min(pause * 2, .seconds(2))
        }
    }
}
