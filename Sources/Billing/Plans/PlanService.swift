import Storage

package struct PlanService: Sendable {
    let database: any Database

    /// Those that can be subscribed to, in the order of a price page.
    package func list(_ filter: PlanFilter) async throws -> [Plan] {
        let plans = try await database.read(for: .billing) { tx in try PlanStore(tx: tx).list(filter) }
        return plans.sorted { $0.place.lexicographicallyPrecedes($1.place) }
    }
}
