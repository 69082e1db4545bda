import Kernel
package import Logging
import Schema
import Storage
import UnixSignals
package import Web

#if canImport(Glibc)
import Glibc
#endif

/// Starts a node the way `kuvend serve` does: checks, opens, connects, and writes down the port.
package enum Launch {
    /// - Parameter visit: Runs beside the server once it listens, with its port; not on a node without the `http` role.
    package static func serve(
        _ settings: Settings,
        metrics: PrometheusRegistry,
        logger: Logger,
        visit: (@Sendable (_ port: Int) async -> Void)? = nil
    ) async throws {
        let (ports, opened) = AsyncStream.makeStream(of: Int.self)
        for warning in settings.warnings { logger.warning("\(warning)") }
        raiseFileLimit()
        try makeDataDirectory(settings.dataDirectory)
        let secretKey = try settings.secretKey ?? SecretKeyFile.load(in: settings.dataDirectory)
        let database = try await Databases.openPatiently(
            settings.database,
            connections: settings.databaseConnections,
            patience: settings.databasePatience,
            logger: logger
        )
        let node: Node
        do {
            try await check(database)
            node = try await Node(
                settings: settings,
                database: database,
                secretKey: secretKey,
                metrics: metrics,
                logger: logger,
                onRunning: { port in
                    logger.info(
                        "listening",
                        metadata: [
                            "host": "\(settings.web.host)", "port": "\(port)",
                            "roles": "\(settings.roles.map(\.rawValue).sorted().joined(separator: ","))",
                            "database": "\(database.dialect.rawValue)",
                        ]
                    )
                    if let file = settings.portFile { writePort(port, to: file, logger) }
                    opened.yield(port)
                }
            )
        } catch {
            await database.close()
            throw error
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            if let visit {
                group.addTask { if let port = await ports.first(where: { _ in true }) { await visit(port) } }
            }
            try await node.run(gracefulShutdownSignals: [.sigterm, .sigint])
            group.cancelAll()
        }
    }

    /// Lets the process have as many open files, and so connections, as the system allows it, not only those of a shell.
    private static func raiseFileLimit() {
        #if canImport(Glibc)
        var limit = rlimit()
        let files = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(files, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(files, &limit)
        #endif
    }

    /// Refuses a database that is not of this version, and rights that are too wide.
    private static func check(_ database: any Database) async throws {
        if let postgres = database as? PostgresDatabase {
            let report = try await postgres.roleReport()
            if let complaint = Doctor.complaint(about: report) { throw CommandError(complaint) }
            guard report.vectorVersion != nil else {
                throw CommandError("pgvector is missing in this database; run `kuvend doctor`")
            }
        }
        let pending = try await Migrator(ProductSchema.migrations).pending(in: database)
        guard pending.isEmpty else {
            throw CommandError(
                "the database needs \(pending.map(\.id).joined(separator: ", ")); run `kuvend migrate`"
            )
        }
    }

    /// Written beside and renamed, so that whoever waits for the file never reads half a number.
    private static func writePort(_ port: Int, to path: String, _ logger: Logger) {
        do {
            try writeAtomically("\(port)\n", to: path)
        } catch {
            logger.error("the port file cannot be written", metadata: ["path": "\(path)", "error": "\(error)"])
        }
    }
}
