import Foundation
import Kernel
import Schema
import Storage
import TestKit
import Testing

/// What a server finds when it starts.
@Suite("Starting", .timeLimit(.minutes(3)))
struct StartTests {
    @Test("a server waits for a database that is not there yet")
    func waits() async throws {
        try await withDatabaseURL(on: .postgres, migrations: ProductSchema.migrations) { url in
            try await withServers { fleet in
                try await letConnect(false, to: url)
                async let starting = fleet.start(
                    database: url,
                    environment: ["KUVEND_LOG_LEVEL": "warning", "KUVEND_DATABASE_PATIENCE": "300"]
                )
                try await eventually("the server says that it waits") {
                    fleet.directory.logs.contains("the database cannot be used yet") ? () : nil
                }
                try await letConnect(true, to: url)
                // Ready, or this throws.
                _ = try await starting
            }
        }
    }

    @Test("patience has an end, and the reason is one line")
    func givesUp() async throws {
        try await withDatabaseURL(on: .postgres, migrations: ProductSchema.migrations) { url in
            try await withServers { fleet in
                try await letConnect(false, to: url)
                let failure = await #expect(throws: TestAppFailure.self) {
                    try await fleet.start(database: url, environment: ["KUVEND_DATABASE_PATIENCE": "0"])
                }
                let lines = "\(try #require(failure))".split(separator: "\n").dropFirst()
                #expect(lines.count == 1)
                #expect(lines.first?.hasPrefix("Error: ") == true)
                #expect(lines.first?.contains("not currently accepting connections") == true)
            }
        }
    }

    /// Makes the database refuse connections, or take them again.
    private func letConnect(_ isAllowed: Bool, to url: String) async throws {
        let name = try #require(URLComponents(string: url)?.queryItems?.first { $0.name == "dbname" }?.value)
        // Its own connections a database cannot be told to refuse.
        let cluster = try #require(ProcessInfo.processInfo.environment["KUVEND_TEST_DATABASE_URL"])
        let database = try await PostgresDatabase(
            configuration: PostgresConfiguration(
                url: Secret(cluster),
                maximumConnections: 2,
                role: nil,
                connectTimeout: .seconds(60)
            ),
            signals: SignalHub(),
            logger: ServerFleet.silent
        )
        let statement = SQL(trusted: "ALTER DATABASE \(name) WITH ALLOW_CONNECTIONS \(isAllowed)")
        do {
            _ = try await database.migrate { tx in try tx.execute(statement) }
        } catch {
            await database.close()
            throw error
        }
        await database.close()
    }
}

extension ServerDirectory {
    /// What all servers have written.
    fileprivate var logs: String {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        return files.filter { $0.hasSuffix(".log") }
            .map { (try? String(contentsOfFile: "\(path)/\($0)", encoding: .utf8)) ?? "" }.joined()
    }
}
