import App
import ArgumentParser
import Foundation
import Kernel
import Logging
import Schema
import Storage
import Web

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a node: serve HTTP, do jobs, make schedules due.",
        discussion: "Settings:\n"
            + Setting.all.map { setting in
                "  \(setting.environmentName)\n      \(setting.summary)"
                    + (setting.fallback.map { " Default: \($0)." } ?? "")
            }.joined(separator: "\n")
    )

    @OptionGroup var common: CommonOptions

    @Option(name: .long, help: "The address to listen on (KUVEND_HOST).")
    var host: String?

    @Option(name: .long, help: "The port to listen on; 0 lets the system choose (KUVEND_PORT).")
    var port: Int?

    @Option(name: .long, help: "What this node does: http,worker,scheduler (KUVEND_ROLES).")
    var roles: String?

    @Flag(name: .long, help: "Apply pending migrations first.")
    var migrate = false

    @Flag(name: .long, help: "Migrate, seed a demo organization, ask its agent a question, and go on serving.")
    var demo = false

    func run() async throws {
        var flags: [String: String] = [:]
        flags["host"] = host
        flags["port"] = port.map(String.init)
        flags["roles"] = roles
        let settings = try await common.settings(flags, quiet: demo)
        let logger = Telemetry.start(level: settings.logLevel)
        try await reportingErrors {
            if migrate || demo {
                try makeDataDirectory(settings.dataDirectory)
                try await Databases.migrate(settings, logger: logger) { line in say(line) }
            }
            var visit: (@Sendable (Int) async -> Void)?
            if demo { visit = { port in await DemoCommand.show(settings, port: port, logger) } }
            try await Launch.serve(settings, metrics: Telemetry.registry, logger: logger, visit: visit)
        }
    }
}

struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Bring the database to this version: all pending migrations or none."
    )

    @OptionGroup var common: CommonOptions

    @Flag(name: .long, help: "Show which migrations are applied; change nothing.")
    var status = false

    @Flag(name: .long, help: "Apply and take back; say what would be applied.")
    var dryRun = false

    @Option(name: .customLong("print"), help: "Print the SQL of all migrations for sqlite or postgres and stop.")
    var printed: String?

    func validate() throws {
        if let printed, Dialect(rawValue: printed) == nil {
            throw ValidationError("--print takes sqlite or postgres, not \"\(printed)\"")
        }
    }

    func run() async throws {
        if let dialect = printed.flatMap(Dialect.init) {
            return say(try Migrator(ProductSchema.migrations).print(for: dialect))
        }
        let settings = try await common.settings(quiet: true)
        let logger = Telemetry.start(level: settings.logLevel)
        try await reportingErrors {
            try makeDataDirectory(settings.dataDirectory)
            guard status || dryRun else {
                return try await Databases.migrate(settings, logger: logger) { line in say(line) }
            }
            let database = try await Databases.open(
                settings.migrationDatabase,
                connections: 2,
                role: nil,
                logger: logger
            )
            defer { Task { await database.close() } }
            let migrator = try Migrator(ProductSchema.migrations)
            if status {
                for migration in try await migrator.status(of: database) {
                    say("\(migration.id)  \(migration.appliedAt.map { "applied \($0)" } ?? "pending")")
                }
            } else {
                let ids = try await migrator.dryRun(on: database)
                say(ids.isEmpty ? "nothing to apply" : ids.map { "would apply \($0)" }.joined(separator: "\n"))
            }
        }
    }
}

struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Seed a demo organization on a running server and ask its agent a question."
    )

    @OptionGroup var common: CommonOptions

    @Option(name: .long, help: "The server's address; without it KUVEND_PUBLIC_URL or host and port.")
    var url: String?

    @Option(name: .long, help: "A checkout whose README and docs the agent is trained on.")
    var documents = "."

    func run() async throws {
        let settings = try await common.settings(quiet: true)
        let logger = Telemetry.start(level: settings.logLevel)
        try await reportingErrors {
            try makeDataDirectory(settings.dataDirectory)
            try await Self.demo(settings, url ?? settings.web.publicURL, documents, logger).run()
        }
    }

    static func show(_ settings: Settings, port: Int, _ logger: Logger) async {
        do {
            try await demo(settings, "http://\(settings.web.host):\(port)", ".", logger).run()
        } catch {
            say("The demo did not work: \(error)")
        }
    }

    private static func demo(_ settings: Settings, _ url: String, _ directory: String, _ logger: Logger) -> Demo {
        Demo(
            baseURL: url,
            dataDirectory: settings.dataDirectory,
            documents: Demo.documents(in: directory),
            logger: logger
        ) { text, isLineEnd in
            FileHandle.standardOutput.write(Data((text + (isLineEnd ? "\n" : "")).utf8))
        }
    }
}

struct OpenAPICommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "openapi",
        abstract: "Print the OpenAPI 3.1 description of the API."
    )

    @OptionGroup var common: CommonOptions

    func run() async throws {
        let settings = try await common.settings(quiet: true)
        let logger = Telemetry.start(level: settings.logLevel)
        try await reportingErrors { say(try await Node.apiDescription(settings, logger: logger)) }
    }
}

struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check settings, database, rights, pgvector, clock and disk; say what to do."
    )

    @OptionGroup var common: CommonOptions

    func run() async throws {
        let settings = try await common.settings(quiet: true)
        let logger = Telemetry.start(level: settings.logLevel)
        let findings = await Doctor(settings: settings, logger: logger).examine()
        for finding in findings {
            say(
                "\(finding.verdict.rawValue.padding(toLength: 8, withPad: " ", startingAt: 0)) \(finding.name): \(finding.detail)"
            )
            if let advice = finding.advice { say("         → \(advice)") }
        }
        if findings.contains(where: { $0.verdict == .bad }) { throw ExitCode.failure }
    }
}

struct Backup: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a consistent copy of a live SQLite database.",
        discussion: "The server may go on running. For PostgreSQL use pg_dump or the tools of your provider."
    )

    @OptionGroup var common: CommonOptions

    @Argument(help: "The file to write.")
    var path: String

    @Flag(name: .long, help: "Replace the file when it exists.")
    var overwrite = false

    func run() async throws {
        let settings = try await common.settings(quiet: true)
        let logger = Telemetry.start(level: settings.logLevel)
        try await reportingErrors {
            guard case .sqlite = settings.database else {
                throw CommandError("only SQLite is copied by this command; use pg_dump for PostgreSQL")
            }
            let database = try await Databases.open(settings.database, connections: 2, logger: logger)
            guard let sqlite = database as? SQLiteDatabase else { return }
            do {
                try await sqlite.backup(to: path, replacing: overwrite)
            } catch {
                await database.close()
                throw error
            }
            await database.close()
            say("copied to \(path)")
        }
    }
}
