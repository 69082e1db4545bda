import Events
import Foundation
import Jobs
import Kernel
package import Logging
import Schema
package import Storage

/// Looks at everything that the server needs, and says what to do about what is wrong.
package struct Doctor: Sendable {
    package struct Finding: Sendable {
        package enum Verdict: String, Sendable {
            case good = "ok"
            case warning
            case bad = "FAILED"
        }

        package let name: String
        package let verdict: Verdict
        package let detail: String
        /// What to do, when there is something to do.
        package let advice: String?
    }

    private let settings: Settings
    private let logger: Logger

    package init(settings: Settings, logger: Logger) {
        self.settings = settings
        self.logger = logger
    }

    package func examine() async -> [Finding] {
        var findings = settings.warnings.map {
            Finding(name: "settings", verdict: .warning, detail: $0, advice: nil)
        }
        if settings.warnings.isEmpty {
            findings.append(Finding(name: "settings", verdict: .good, detail: "all known and valid", advice: nil))
        }
        findings.append(disk())
        findings.append(secretKey())
        do {
            let database = try await Databases.open(
                settings.database,
                connections: 2,
                role: nil,
                logger: logger
            )
            findings += await examine(database)
            await database.close()
        } catch {
            findings.append(
                Finding(
                    name: "database",
                    verdict: .bad,
                    detail: "\(error)",
                    advice: "check KUVEND_DATABASE_URL and that the database is running"
                )
            )
        }
        return findings
    }

    // MARK: Database

    private func examine(_ database: any Database) async -> [Finding] {
        var findings: [Finding] = []
        do {
            let pending = try await Migrator(ProductSchema.migrations).pending(in: database)
            findings.append(
                pending.isEmpty
                    ? Finding(name: "migrations", verdict: .good, detail: "up to date", advice: nil)
                    : Finding(
                        name: "migrations",
                        verdict: .bad,
                        detail: "pending: \(pending.map(\.id).joined(separator: ", "))",
                        advice: "run kuvend migrate"
                    )
            )
        } catch {
            findings.append(
                Finding(name: "migrations", verdict: .bad, detail: "\(error)", advice: "run kuvend migrate --status")
            )
            return findings
        }
        switch settings.database {
        case .sqlite(let path):
            findings.append(Finding(name: "database", verdict: .good, detail: "SQLite at \(path)", advice: nil))
        case .postgres:
            findings += await roles()
            findings.append(await clock(database))
            findings.append(await events(database))
        }
        findings.append(await setAsideEvents(database))
        findings += await lanes()
        return findings
    }

    /// How each lane of the queue stands, over all nodes.
    private func lanes() async -> [Finding] {
        do {
            let database = try await Databases.open(settings.database, connections: 2, logger: logger)
            let result: Result<[Lane: QueueStatistics], any Error>
            do { result = .success(try await QueueStatistics.all(in: database, now: .now())) } catch {
                result = .failure(error)
            }
            await database.close()
            let statistics = try result.get()
            return Lane.all.compactMap { lane in
                guard let numbers = statistics[lane] else { return nil }
                let wait = numbers.oldest.map { $0.wholeMilliseconds / 1_000 } ?? 0
                let slots = settings.slots[lane] ?? 0
                let setting = "KUVEND_SLOTS_\(lane.name.uppercased())"
                var advice: String?
                if slots == 0, numbers.ready > 0 {
                    advice = "see that another node runs it: \(setting) is 0 here"
                } else if wait >= 300 {
                    advice = "raise \(setting) or add a node with the worker role"
                } else if numbers.quarantined > 0 {
                    advice = "look at GET /api/v1/jobs/quarantined"
                }
                return Finding(
                    name: "lane \(lane.name)",
                    verdict: advice == nil ? .good : .warning,
                    detail: """
                        \(numbers.running) at work (\(slots) slots on this node), \(numbers.ready) waiting, the longest for \
                        \(wait) s, \(numbers.quarantined) given up
                        """,
                    advice: advice
                )
            }
        } catch {
            return [Finding(name: "lanes", verdict: .bad, detail: "\(error)", advice: "run kuvend migrate --status")]
        }
    }

    private func roles() async -> [Finding] {
        do {
            guard
                let database = try await Databases.open(settings.database, connections: 2, logger: logger)
                    as? PostgresDatabase
            else { return [] }
            let report = try await database.roleReport()
            await database.close()
            return [Self.database(report), Self.role(report), Self.vectors(report)]
        } catch {
            return [
                Finding(
                    name: "role",
                    verdict: .bad,
                    detail: "\(error)",
                    advice: "GRANT \(ProductSchema.serverRole) TO the user of KUVEND_DATABASE_URL"
                )
            ]
        }
    }

    private static func database(_ report: PostgresRoleReport) -> Finding {
        Finding(
            name: "database",
            verdict: report.serverVersionNumber >= 150_000 ? .good : .bad,
            detail: "PostgreSQL \(report.serverVersion)",
            advice: report.serverVersionNumber >= 150_000 ? nil : "upgrade to PostgreSQL 15 or later"
        )
    }

    /// Why the server must not start with these rights; nil when it may.
    package static func complaint(about report: PostgresRoleReport) -> String? {
        report.isConfined
            ? nil
            : "role \(report.role) is a superuser, bypasses row level security, or owns tables: one mistake in a "
                + "statement could show one organization's rows to another"
    }

    private static func role(_ report: PostgresRoleReport) -> Finding {
        guard let complaint = complaint(about: report) else {
            return Finding(
                name: "role",
                verdict: .good,
                detail: "\(report.role) owns nothing and is held by row level security",
                advice: nil
            )
        }
        return Finding(
            name: "role",
            verdict: .bad,
            detail: complaint,
            advice: "let the server connect as a user that may take the role \(ProductSchema.serverRole)"
        )
    }

    private static func vectors(_ report: PostgresRoleReport) -> Finding {
        guard let version = report.vectorVersion else {
            return Finding(
                name: "pgvector",
                verdict: .bad,
                detail: "the extension is missing",
                advice: "install pgvector and run kuvend migrate as a user who may create extensions"
            )
        }
        return Finding(name: "pgvector", verdict: .good, detail: version, advice: nil)
    }

    private func clock(_ database: any Database) async -> Finding {
        let theirs = try? await database.read(for: .queue) { tx in
            try tx.value("SELECT clock_timestamp()", as: Timestamp.self)
        }
        guard let theirs else {
            return Finding(name: "clock", verdict: .warning, detail: "the database does not tell the time", advice: nil)
        }
        let difference = Timestamp.now() - theirs
        let off = max(difference, .zero - difference)
        return Finding(
            name: "clock",
            verdict: off < .seconds(5) ? .good : .bad,
            detail: "\(off.wholeMilliseconds) ms from the database's",
            advice: off < .seconds(5) ? nil : "leases and tokens need clocks that agree: set up NTP"
        )
    }

    /// Whether consumers can read every event, and what keeps them from it.
    private func events(_ database: any Database) async -> Finding {
        do {
            let (since, oldest) = try await database.read(for: .feed) { tx in
                (
                    try EventFeed.heldBackSince(in: tx),
                    try tx.first(OpenTransaction.oldest, as: OpenTransaction.self)
                )
            }
            let delay = since.map { Timestamp.now() - $0 } ?? .zero
            guard delay >= .seconds(10) else {
                return Finding(name: "events", verdict: .good, detail: "all can be read", advice: nil)
            }
            return Finding(
                name: "events",
                verdict: .warning,
                detail:
                    "those of the last \(delay.wholeMilliseconds / 1_000) s wait for the end of an older transaction"
                    + (oldest.map { "; the oldest: \($0)" } ?? ""),
                advice: "end it: SELECT pg_terminate_backend(…), for a prepared one ROLLBACK PREPARED"
            )
        } catch {
            return Finding(name: "events", verdict: .warning, detail: "cannot be read: \(error)", advice: nil)
        }
    }

    /// Whether a consumer of events gave up on any.
    private func setAsideEvents(_ database: any Database) async -> Finding {
        let name = "set aside"
        do {
            let count = try await SetAsideEvents(database: database).count()
            return Finding(
                name: name,
                verdict: count == 0 ? .good : .warning,
                detail: """
                    \(count)\(count < SetAsideEvents.countLimit ? "" : " or more") events that a consumer could not handle
                    """,
                advice: count == 0 ? nil : "look at GET /api/v1/set-aside-events of each organization"
            )
        } catch {
            return Finding(name: name, verdict: .warning, detail: "cannot be read: \(error)", advice: nil)
        }
    }

    // MARK: This machine

    private func disk() -> Finding {
        let path = settings.dataDirectory
        do {
            try makeDataDirectory(path)
            let attributes = try FileManager.default.attributesOfFileSystem(forPath: path)
            let free =
                (attributes[.systemFreeSize] as? Int64) ?? (attributes[.systemFreeSize] as? NSNumber)?.int64Value ?? 0
            let megabytes = free / 1_048_576
            return Finding(
                name: "disk",
                verdict: megabytes >= 1_024 ? .good : .warning,
                detail: "\(megabytes) MB free at \(path)",
                advice: megabytes >= 1_024 ? nil : "make room: a full disk stops all writes"
            )
        } catch {
            return Finding(
                name: "disk",
                verdict: .bad,
                detail: "\(path) cannot be used: \(error.localizedDescription)",
                advice: "set KUVEND_DATA_DIR to a directory that this user can write"
            )
        }
    }

    private func secretKey() -> Finding {
        if settings.secretKey != nil {
            return Finding(name: "secret key", verdict: .good, detail: "from KUVEND_SECRET_KEY", advice: nil)
        }
        do {
            _ = try SecretKeyFile.load(in: settings.dataDirectory)
            return Finding(
                name: "secret key",
                verdict: .good,
                detail: "in \(settings.dataDirectory)/secret.key",
                advice: nil
            )
        } catch {
            return Finding(name: "secret key", verdict: .bad, detail: "\(error)", advice: "set KUVEND_SECRET_KEY")
        }
    }
}
