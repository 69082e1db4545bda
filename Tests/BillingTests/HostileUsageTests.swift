import Billing
import Kernel
import Logging
import Schema
import Storage
import TestKit
import Testing

@Suite("usage that nobody can read")
struct HostileUsageTests {
    private static let meter = Meter("voice_calls_count")
    private static let now = Timestamp(milliseconds: 1_800_000_000_000)
    private static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test("is kept, and that of others is rolled up", arguments: TestDatabase.kinds, ["usage_entries", "usage"])
    func rollUp(on kind: TestDatabase.Kind, _ table: String) async throws {
        try await withDatabase(on: kind, migrations: ProductSchema.migrations) { database in
            let now = Self.now
            let usage = BillingModule(database: database, meters: [Self.meter], now: { now }).usage
            let (hostile, healthy) = (OrganizationScope.job(of: ID()), OrganizationScope.job(of: ID()))
            try await database.migrate { tx in
                for scope in [hostile, healthy] {
                    try tx.run(
                        """
                        INSERT INTO organizations (id, name, slug, status, settings, created_at, updated_at)
                        VALUES (\(scope.id), 'x', \(scope.id.description), 'active', \(JSON.object([:])), \(now), \(now))
                        """
                    )
                }
            }
            var count = HostileCount()
            for value in try SchemaDocument.hostileValues(of: table, on: kind) {
                let id = ID<Usage>()
                let isStored = try await database.store(&count) { tx in
                    try tx.run("DELETE FROM usage_entries")
                    try tx.run("DELETE FROM usage")
                    try Self.insert(tx, id, of: hostile)
                    try tx.run(
                        """
                        INSERT INTO usage (organization_id, id, period_start, period_end, metrics, created_at, updated_at)
                        VALUES (\(hostile.id), \(id), \(now.month.start), \(now.month.end),
                            \(["voice_calls_count": 5] as JSON), \(now), \(now))
                        """
                    )
                    try tx.execute(value.update + "WHERE id = \(id)")
                    for scope in [hostile, healthy] { try Self.insert(tx, ID(), of: scope) }
                }
                guard isStored else { continue }
                do {
                    try await usage.rollUp(logger: Self.logger)
                    let left = try await Self.rows(of: healthy, database)
                    #expect(left == (entries: 0, months: 1), "\(value)")
                    #expect(try await usage.current(in: healthy)[Self.meter] == 7, "\(value)")
                    let seen = try await usage.current(in: hostile)[Self.meter]
                    let kept = try await Self.rows(of: hostile, database).entries
                    // Nothing was lost: two entries of 7, and the 5 of the month.
                    #expect(kept > 0 || seen >= 7, "\(value)")
                } catch {
                    Issue.record("\(value): \(error)")
                }
            }
            print("\(table) on \(kind): \(count)")
            #expect(count.stored > 0)
        }
    }

    private static func insert(_ tx: any Transaction, _ id: ID<Usage>, of scope: OrganizationScope) throws {
        try tx.run(
            """
            INSERT INTO usage_entries (organization_id, id, period_start, metric, quantity, created_at)
            VALUES (\(scope.id), \(id), \(now.month.start), \(meter), 7, \(now))
            """
        )
    }

    private static func rows(
        of scope: OrganizationScope,
        _ database: any Database
    ) async throws -> (entries: Int, months: Int) {
        try await database.migrate { tx in
            func count(_ table: SQL) throws -> Int {
                try tx.value("SELECT count(*) FROM \(table) WHERE organization_id = \(scope.id)") ?? 0
            }
            return (try count("usage_entries"), try count("usage"))
        }
    }
}
