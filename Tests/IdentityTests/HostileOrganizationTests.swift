import Identity
import Kernel
import Storage
import TestKit
import Testing

@Suite("organizations that nobody can read")
struct HostileOrganizationTests {
    @Test("are passed over, and others are purged", arguments: TestDatabase.kinds)
    func purge(on kind: TestDatabase.Kind) async throws {
        try await withNode(on: kind) { node in
            var count = HostileCount()
            let now = node.clock.now
            node.clock.advance(by: .seconds(31 * 86_400))
            for value in try SchemaDocument.hostileValues(of: "organizations", on: kind) {
                let (hostile, healthy) = (ID<OrganizationEntity>(), ID<OrganizationEntity>())
                let isStored = try await node.database.store(&count) { tx in
                    try tx.run("DELETE FROM organizations")
                    for (id, deletedAt) in [(hostile, now), (healthy, now + .seconds(1))] {
                        try tx.run(
                            """
                            INSERT INTO organizations (id, name, slug, status, settings, deleted_at, created_at, updated_at)
                            VALUES (\(id), 'x', \(id.description), 'deleted', \(JSON.object([:])), \(deletedAt), \(now),
                                \(now))
                            """
                        )
                    }
                    try tx.execute(value.update + "WHERE id = \(hostile)")
                }
                guard isStored else { continue }
                do {
                    let gone = try await node.identity.organizationPurge.runOnce(logger: testLogger)
                    #expect(gone.contains(healthy), "\(value)")
                    if value.column == "deleted_at" { #expect(!gone.contains(hostile), "\(value)") }
                } catch {
                    Issue.record("\(value): \(error)")
                }
            }
            print("organizations on \(kind): \(count)")
            #expect(count.stored > 0)
        }
    }
}
