import App
import Foundation
import Identity
import Jobs
import Kernel
import Storage
import Synchronization
import TestKit
import Testing

@Suite("What a purge deletes")
struct PurgeTests {
    /// On PostgreSQL the rows are gone; their bytes go with VACUUM and with the log, as `docs/operations.md` says.
    @Test("is gone, on SQLite from the disk too, and others keep what they have", arguments: TestDatabase.kinds)
    func organization(on kind: TestDatabase.Kind) async throws {
        let hours = Mutex(0)
        let now: @Sendable () -> Timestamp = { .now() + .seconds(3_600 * hours.withLock { $0 }) }
        try await withApp(on: kind, environment: ["KUVEND_PURGE_AFTER_DAYS": "0"], roles: "http", now: now) { app in
            let (leaving, staying) = (try await app.signUp("Leaving"), try await app.signUp("Staying"))
            let rare = "zhvendosje" + String(UInt64.random(in: 1 << 60...(.max)))
            for client in [leaving, staying] {
                let conversation = try await client.startConversation()
                for number in 0..<12 {
                    let word = client.organization == leaving.organization && number % 4 == 0 ? rare : "porosia"
                    let content = "Where is \(word) \(number)?"
                    let path = "/api/v1/conversations/\(conversation)/messages"
                    #expect(try await client.post(path, ["content": .string(content)]).status == 201)
                }
            }
            #expect(try await app.files(hold: rare) == (kind == .sqlite ? true : nil))
            #expect(try await leaving.delete("/api/v1/organizations/\(leaving.organization)").status == 204)
            let gone = try await app.node.identity.organizationPurge.runOnce(logger: ServerFleet.silent)
            #expect(gone.map(\.description) == [leaving.organization])
            try await app.node.scheduler.runOnce()
            hours.withLock { $0 = 1 }
            #expect(try await app.node.scheduler.runOnce().contains("housekeeping"))
            while try await app.node.runner.runOnce(.maintenance) > 0 {}

            #expect(try await app.files(hold: rare) == (kind == .sqlite ? false : nil))
            let contents = try await app.node.database.migrate { tx in
                try tx.values("SELECT content FROM messages", as: String.self)
            }
            #expect(contents.count == 12 && contents.allSatisfy { !$0.contains(rare) })
            guard kind == .sqlite else { return }
            let found = try await app.node.database.read(for: .maintenance) { tx in
                try tx.value("SELECT count(*) FROM messages_search WHERE messages_search MATCH 'porosia'", as: Int.self)
            }
            #expect(found == 12)
        }
    }
}

extension TestApp {
    /// Whether a word is in the files of SQLite; nil on PostgreSQL, whose files are not ours to read.
    fileprivate func files(hold word: String) async throws -> Bool? {
        guard let database = node.database as? SQLiteDatabase else { return nil }
        // FTS5 leaves out what a word has in common with the one before it.
        let tail = Data(word.suffix(12).utf8)
        return try ["", "-wal"].contains { suffix in
            try Data(contentsOf: URL(fileURLWithPath: database.path + suffix)).firstRange(of: tail) != nil
        }
    }
}
