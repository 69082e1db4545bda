import Foundation
import Kernel
import Storage
import TestKit
import Testing

/// What deleted rows leave on the disk of SQLite.
@Suite("Erasing")
struct ErasingTests {
    private static let migrations = [
        Migration(
            1,
            "notes",
            [
                "CREATE TABLE notes (entry INTEGER PRIMARY KEY, owner TEXT NOT NULL, content TEXT NOT NULL)",
                """
                CREATE VIRTUAL TABLE notes_search USING fts5(
                    owner, content, content = 'notes', content_rowid = 'entry',
                    tokenize = "unicode61 remove_diacritics 2"
                )
                """,
                """
                CREATE TRIGGER notes_search_insert AFTER INSERT ON notes BEGIN
                    INSERT INTO notes_search (rowid, owner, content) VALUES (new.entry, new.owner, new.content);
                END
                """,
                """
                CREATE TRIGGER notes_search_delete AFTER DELETE ON notes BEGIN
                    INSERT INTO notes_search (notes_search, rowid, owner, content)
                    VALUES ('delete', old.entry, old.owner, old.content);
                END
                """,
            ]
        )
    ]

    private func with<Value: Sendable>(_ body: (SQLiteDatabase) async throws -> Value) async throws -> Value {
        try await withDatabase(on: .sqlite, migrations: Self.migrations) { database in
            try await body(try #require(database as? SQLiteDatabase))
        }
    }

    @Test("what is deleted is in neither file, and what others wrote is found")
    func erased() async throws {
        try await with { database in
            let rare = try await database.fill(transactions: 120)
            // FTS5 leaves out what a word has in common with the one before it.
            let tails = rare.map { String($0.suffix(10)) }
            #expect(try database.files(hold: tails) == tails.count)
            try await database.erasing.write(for: .maintenance) { tx in
                try tx.run("DELETE FROM notes WHERE owner = 'gone'")
            }
            #expect(try await database.finishErasing())
            #expect(try database.files(hold: tails) == 0)
            #expect(try await database.found("common") == 120 * 20)
            #expect(try await database.found(rare[0]) == 0)
            #expect(try await database.checkIntegrity().isEmpty)
            try await database.checkIndex()
            let free = try await database.read(for: .maintenance) { tx in
                try tx.value("PRAGMA freelist_count", as: Int.self)
            }
            #expect(free == 0)
        }
    }

    @Test("only the transaction that asks for it pays for it")
    func transactions() async throws {
        try await with { database in
            func mode(of database: any Database) async throws -> Int? {
                try await database.write(for: .maintenance) { tx in
                    // A text of its own each time: the answer is part of the prepared statement.
                    try tx.value("\(SQL(trusted: "PRAGMA secure_delete /* \(UInt64.random(in: 0...(.max))) */"))")
                }
            }
            for _ in 0..<3 {
                let (ordinary, erasing) = (try await mode(of: database), try await mode(of: database.erasing))
                #expect(ordinary == 2 && erasing == 1)
                await #expect(throws: CancellationError.self) {
                    try await database.erasing.write(for: .maintenance) { tx in throw CancellationError() }
                }
            }
            let last = try await mode(of: database)
            #expect(last == 2)
        }
    }

    @Test("others write while an index is merged")
    func others() async throws {
        try await with { database in
            let rare = try await database.fill(transactions: 60)
            try await database.erasing.write(for: .maintenance) { tx in
                try tx.run("DELETE FROM notes WHERE owner = 'gone'")
            }
            async let isFinished = database.finishErasing()
            for number in 0..<40 {
                try await database.write(for: .maintenance) { tx in
                    try tx.run("INSERT INTO notes (owner, content) VALUES ('kept', \("later\(number) common"))")
                }
            }
            #expect(try await isFinished)
            #expect(try database.files(hold: rare.map { String($0.suffix(10)) }) == 0)
            #expect(try await database.found("common") == 60 * 20 + 40)
            try await database.checkIndex()
        }
    }

    /// Without the removal of empty levels FTS5 3.40 takes the index for damaged after 998 merges.
    @Test("an index that is merged again and again stays flat and whole")
    func manyMerges() async throws {
        try await with { database in
            // FTS5 keeps an index of a few pages flat by itself.
            _ = try await database.fill(transactions: 25)
            var highest = 0
            for number in 0..<100 {
                try await database.erasing.write(for: .maintenance) { tx in
                    try tx.run("INSERT INTO notes (owner, content) VALUES ('kept', \("kept\(number) common"))")
                    try tx.run("INSERT INTO notes (owner, content) VALUES ('gone', \("gone\(number)"))")
                }
                try await database.erasing.write(for: .maintenance) { tx in
                    try tx.run("DELETE FROM notes WHERE owner = 'gone'")
                }
                #expect(try await database.finishErasing())
                highest = max(highest, try await database.levels())
            }
            #expect(highest > 50 && highest <= 70)
            #expect(try await database.found("common") == 25 * 20 + 100)
            #expect(try await database.found("gone7") == 0)
            try await database.checkIndex()
        }
    }
}

extension SQLiteDatabase {
    /// Writes notes that are kept and some that will not be.
    ///
    /// - Returns: The words of the latter.
    fileprivate func fill(transactions: Int) async throws -> [String] {
        var rare: [String] = []
        for number in 0..<transactions {
            let word = number % 3 == 0 ? "rare" + String(UInt64.random(in: 1 << 60...(.max))) : nil
            if let word { rare.append(word) }
            try await write(for: .maintenance) { tx in
                for note in 0..<20 {
                    let words = (0..<20).map { _ in String(UInt32.random(in: 0..<50_000), radix: 36) }
                    let content = "common \(number).\(note) " + words.joined(separator: " ")
                    try tx.run("INSERT INTO notes (owner, content) VALUES ('kept', \(content))")
                }
                if let word { try tx.run("INSERT INTO notes (owner, content) VALUES ('gone', \("It says \(word).")) ") }
            }
        }
        return rare
    }

    fileprivate func found(_ word: String) async throws -> Int? {
        try await read(for: .maintenance) { tx in
            try tx.value("SELECT count(*) FROM notes_search WHERE notes_search MATCH \(word)", as: Int.self)
        }
    }

    fileprivate func checkIndex() async throws {
        try await write(for: .maintenance) { tx in
            try tx.run("INSERT INTO notes_search (notes_search, rank) VALUES ('integrity-check', 1)")
        }
    }

    /// How many levels FTS5 keeps for the index.
    fileprivate func levels() async throws -> Int {
        let record = try await read(for: .maintenance) { tx in
            try tx.rows("SELECT block FROM notes_search_data WHERE id = 10") { row in try row.next([UInt8].self) }.first
        }
        let bytes = try #require(record)
        return bytes[4] < 128 ? Int(bytes[4]) : Int(bytes[4] & 127) << 7 + Int(bytes[5])
    }

    /// How many of the texts are in the file or in its log.
    fileprivate func files(hold texts: [String]) throws -> Int {
        let bytes = try ["", "-wal"].map { try Data(contentsOf: URL(fileURLWithPath: path + $0)) }
        return texts.count { text in bytes.contains { $0.firstRange(of: Data(text.utf8)) != nil } }
    }
}
