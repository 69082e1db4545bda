import App
import Events
import Foundation
import Kernel
import Schema
import Storage
import Synchronization
import TestKit
import Testing

@Suite("Doctor")
struct DoctorTests {
    @Test("says that events cannot be read, and what they wait for")
    func delayedEvents() async throws {
        try await withDatabaseURL(on: .postgres, migrations: ProductSchema.migrations) { url in
            let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
                "kuvend-doctor-\(ID<Doctor>())"
            )
            defer { try? FileManager.default.removeItem(at: directory) }
            let settings = try await Settings.load(
                environment: ["KUVEND_DATABASE_URL": url, "KUVEND_DATA_DIR": directory.path]
            )
            func finding() async throws -> Doctor.Finding {
                let findings = await Doctor(settings: settings, logger: ServerFleet.silent).examine()
                return try #require(findings.first { $0.name == "events" })
            }
            #expect(try await finding().detail == "all can be read")

            let database = try await Databases.open(settings.database, connections: 4, logger: ServerFleet.silent)
            let (hasNumber, mayEnd) = (Gate(), Gate())
            let isFirst = Mutex(true)
            async let open: Void = database.write(for: .maintenance, isolation: .readCommitted) { tx in
                _ = try tx.value("SELECT \(.transactionNumber)", as: Int64.self)
                let isHeld = isFirst.withLock { isFirst in
                    defer { isFirst = false }
                    return isFirst
                }
                guard isHeld else { return }
                hasNumber.open()
                try mayEnd.passInBody()
            }
            try await hasNumber.pass()
            let scope = OrganizationScope.job(of: ID())
            let type = try #require(Modules.events.first)
            try await database.write(scope) { tx in
                let event = Event(type, subject: "1", data: type.example)
                try tx.record(event, in: scope, now: .now() - .seconds(60))
            }
            let held = try await finding()
            mayEnd.open()
            try await open
            await database.close()
            #expect(held.verdict == .warning)
            #expect(held.detail.hasPrefix("those of the last 6"))
            #expect(held.detail.contains("process"))
        }
    }
}
