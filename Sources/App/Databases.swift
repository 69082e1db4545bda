package import Logging
import Schema
package import Storage

/// Opens what the settings name.
package enum Databases {
    /// - Parameter role: On PostgreSQL, the role whose rights the connections take; nil keeps the user's own.
    package static func open(
        _ location: Settings.Location,
        connections: Int,
        role: String? = ProductSchema.serverRole,
        logger: Logger
    ) async throws -> any Database {
        switch location {
        case .sqlite(let path):
            return try SQLiteDatabase(
                configuration: SQLiteConfiguration(path: path),
                signals: SignalHub(),
                logger: logger
            )
        case .postgres(let url):
            return try await PostgresDatabase(
                configuration: PostgresConfiguration(url: url, maximumConnections: connections, role: role),
                signals: SignalHub(),
                logger: logger
            )
        }
    }

    /// Opens what the settings name, and waits for a PostgreSQL that is not there yet: where all starts at once, the server
    /// may be first.
    package static func openPatiently(
        _ location: Settings.Location,
        connections: Int,
        role: String? = ProductSchema.serverRole,
        patience: Duration,
        logger: Logger
    ) async throws -> any Database {
        guard case .postgres = location else {
            return try await open(location, connections: connections, role: role, logger: logger)
        }
        return try await patiently(for: patience) { error in
            logger.warning("the database cannot be used yet and is tried again", metadata: ["error": "\(error)"])
        } _: {
            try await open(location, connections: connections, role: role, logger: logger)
        }
    }

    /// Applies what is pending, and says so line by line.
    package static func migrate(
        _ settings: Settings,
        logger: Logger,
        say: @escaping @Sendable (String) -> Void
    ) async throws {
        let database = try await openPatiently(
            settings.migrationDatabase,
            connections: 2,
            role: nil,
            patience: settings.databasePatience,
            logger: logger
        )
        do {
            let applied = try await Migrator(ProductSchema.migrations).apply(to: database) { migration in
                say("applying \(migration.id)")
            }
            if applied.isEmpty { say("the database is up to date (\(ProductSchema.migrations.count) migrations)") }
        } catch {
            await database.close()
            throw error
        }
        await database.close()
    }
}
