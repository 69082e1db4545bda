import App
import Kernel
import Storage
import TestKit
import Testing

@Suite("A full disk")
struct FullDiskTests {
    @Test(
        "is named, keeps nobody from reading, and the server is ready again when there is room",
        arguments: TestDatabase.kinds
    )
    func full(on kind: TestDatabase.Kind) async throws {
        try await withApp(on: kind, roles: "http") { app in
            let owner = try await app.signUp()
            let path = "/api/v1/knowledge-sources"
            let source: JSON = [
                "name": "Large", "type": "text", "content": .string(String(repeating: "A long line. ", count: 20_000)),
            ]
            #expect(try await app.stranger.get("/readyz").status == 200)

            try await app.node.database.setFull(true)
            let refused = try await owner.post(path, source)
            #expect(refused.status == 507)
            #expect(refused.code == "storage.full")
            #expect(refused.headers["retry-after"] != nil)
            let unready = try await app.stranger.get("/readyz")
            #expect(unready.status == 503)
            #expect(unready.json["checks"]?["database"]?.string == "failing")
            #expect(try await owner.get(path).status == 200)

            try await app.node.database.setFull(false)
            let ready = try await app.stranger.get("/readyz")
            #expect(ready.status == 200)
            #expect(ready.json["checks"]?["database"]?.string == "ok")
            #expect(try await owner.post(path, source).status == 201)
        }
    }
}

extension Database {
    /// Lets the database have no page more than it has, or as PostgreSQL says it.
    fileprivate func setFull(_ isFull: Bool) async throws {
        switch dialect {
        case .sqlite:
            _ = try await write(for: .maintenance) { tx in
                let pages = isFull ? try tx.value("PRAGMA page_count", as: Int.self) ?? 0 : 1_000_000
                return try tx.value("\(SQL(trusted: "PRAGMA max_page_count = \(pages)"))", as: Int.self)
            }
        case .postgres:
            try await migrate { tx in
                guard isFull else {
                    try tx.run("DROP EVENT TRIGGER full_disk_ddl")
                    try tx.run("DROP TRIGGER full_disk ON knowledge_sources")
                    return
                }
                for (name, result) in [("full_disk", "trigger"), ("full_disk_ddl", "event_trigger")] {
                    try tx.run(
                        """
                        CREATE OR REPLACE FUNCTION \(SQL(trusted: name))() RETURNS \(SQL(trusted: result))
                        LANGUAGE plpgsql AS $$ BEGIN
                            RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
                        END $$
                        """
                    )
                }
                try tx.run(
                    """
                    CREATE TRIGGER full_disk BEFORE INSERT ON knowledge_sources
                    FOR EACH ROW EXECUTE FUNCTION full_disk()
                    """
                )
                // The probe of the readiness check makes a table.
                try tx.run(
                    """
                    CREATE EVENT TRIGGER full_disk_ddl ON ddl_command_start WHEN TAG IN ('CREATE TABLE')
                    EXECUTE FUNCTION full_disk_ddl()
                    """
                )
            }
        }
    }
}
