import Kernel
import Storage
import TestKit
import Testing

@testable import Schema

/// A table as one migration made it, and as the next one builds it anew: with one more check and column.
private func notes(_ checks: [Check], _ more: [Column] = []) -> TenantTable {
    TenantTable(
        "notes",
        "For this test.",
        [.id, .required("contact_id", .uuid), .required("text", .text), .createdAt] + more,
        checks: checks,
        references: [.own("contact_id", to: "contacts", onDelete: .cascade)],
        indexes: [.on("organization_id", "contact_id", "created_at", "id", name: "created_at")],
        fullText: "text"
    )
}

private let before = notes([])
private let after = notes([.length(of: "text", 1...20)], [.optional("color", .text)])

@Suite("Building a table anew")
struct RebuildTests {
    private static let first =
        ProductSchema.migrations + [Migration(900, "notes", before.statements + before.protection)]
    private static let second =
        first + [
            Migration(901, "shorter_notes") { dialect in
                switch dialect {
                case .sqlite: after.rebuild(keeping: ["organization_id", "id", "contact_id", "text", "created_at"])
                case .postgres:
                    [
                        "ALTER TABLE notes ADD COLUMN color text",
                        "ALTER TABLE notes ADD CONSTRAINT notes_text_check CHECK (length(text) BETWEEN 1 AND 20)",
                    ]
                }
            }
        ]

    @Test("keeps rows, references, indexes and what searches find", arguments: TestDatabase.kinds)
    func rebuild(on kind: TestDatabase.Kind) async throws {
        try await withDatabase(on: kind, migrations: Self.first) { database in
            let scope = OrganizationScope.job(of: ID())
            let (contact, now) = (ID<Void>(), Timestamp.now())
            let ids = (0..<9).map { _ in ID<Void>() }
            try await database.write(scope) { tx in
                try tx.run(
                    """
                    INSERT INTO organizations (id, name, slug, status, settings, created_at, updated_at)
                    VALUES (\(scope.id), 'Ana', 'ana', 'active', \(JSON.object([:])), \(now), \(now))
                    """
                )
                try tx.run(
                    """
                    INSERT INTO contacts (organization_id, id, metadata, created_at, updated_at)
                    VALUES (\(scope.id), \(contact), \(JSON.object([:])), \(now), \(now))
                    """
                )
                for (number, id) in ids.enumerated() {
                    try tx.run(Self.insert(id, "note \(number)", contact, scope, now))
                }
                // Gaps, so that new row numbers would be others.
                for id in ids.prefix(4) { try tx.run("DELETE FROM notes WHERE id = \(id)") }
            }
            try await Migrator(Self.second).apply(to: database)

            #expect(try await Self.find("7", in: database, scope) == [ids[7]])
            #expect(try await Self.find("note", in: database, scope) == Set(ids.dropFirst(4)))
            try await database.write(scope) { tx in try tx.run("DELETE FROM notes WHERE id = \(ids[7])") }
            let new = ID<Void>()
            try await database.write(scope) { tx in try tx.run(Self.insert(new, "note 7", contact, scope, now)) }
            #expect(try await Self.find("7", in: database, scope) == [new])
            await #expect(throws: StorageError.self) {
                try await database.write(scope) { tx in
                    try tx.run(Self.insert(ID(), String(repeating: "x", count: 21), contact, scope, now))
                }
            }
            await #expect(throws: StorageError.self) {
                try await database.write(scope) { tx in try tx.run(Self.insert(ID(), "orphan", ID(), scope, now)) }
            }
            try await database.write(scope) { tx in try tx.run("DELETE FROM contacts WHERE id = \(contact)") }
            #expect(try await Self.find("note", in: database, scope).isEmpty)
            let plan: SQL = """
                SELECT id FROM notes WHERE organization_id = \(scope.id) AND contact_id = \(contact)
                ORDER BY created_at, id LIMIT 1
                """
            guard kind == .sqlite else { return }
            let steps = try await database.read(scope) { tx in
                try tx.rows("EXPLAIN QUERY PLAN " + plan) { row in
                    for _ in 0..<3 { row.skip() }
                    return try row.next(String.self)
                }
            }
            #expect(steps.contains { $0.contains("notes_created_at_idx") }, "\(steps)")
        }
    }

    private static func insert(
        _ id: ID<Void>,
        _ text: String,
        _ contact: ID<Void>,
        _ scope: OrganizationScope,
        _ now: Timestamp
    ) -> SQL {
        """
        INSERT INTO notes (organization_id, id, contact_id, text, created_at)
        VALUES (\(scope.id), \(id), \(contact), \(text), \(now))
        """
    }

    private static func find(
        _ words: String,
        in database: any Database,
        _ scope: OrganizationScope
    ) async throws -> Set<ID<Void>> {
        try await database.read(scope) { tx in
            let matches = tx.matches(SearchWords(words), .all, in: "notes", column: "text", of: scope)
            return Set(try tx.values("SELECT id FROM notes WHERE organization_id = \(scope.id) AND \(matches)"))
        }
    }
}
