/// Looks again and again until there is something to see.
///
/// - Parameter limit: For machines that hang; nothing is concluded from how long it takes.
/// - Throws: ``NeverHappened`` when it is over.
package func eventually<Value>(
    within limit: Duration = .seconds(60),
    _ what: String,
    isolation: isolated (any Actor)? = #isolation,
    _ look: () async throws -> Value?
) async throws -> Value {
    let end = ContinuousClock.now + limit
    while true {
        if let value = try await look() { return value }
        guard ContinuousClock.now < end else { throw NeverHappened(what: what) }
        try await Task.sleep(for: .milliseconds(2))
    }
}

package struct NeverHappened: Error, CustomStringConvertible {
    let what: String

    package var description: String { "never happened: \(what)" }
}
