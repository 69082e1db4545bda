import Identity
package import Kernel
package import Logging
import Storage

/// What the administrator does from a shell, beside servers that run or not.
package enum Administration {
    /// Gives an account another password and ends its sessions.
    ///
    /// - Parameter password: nil for a random one.
    package static func resetPassword(
        of email: String,
        to password: Secret?,
        _ settings: Settings,
        logger: Logger
    ) async throws -> Secret {
        try await with(settings, logger) { try await $0.resetPassword(of: email, to: password) }
    }

    /// - Returns: Whether that changed anything.
    package static func suspend(_ slug: String, _ settings: Settings, logger: Logger) async throws -> Bool {
        try await with(settings, logger) { try await $0.suspend(slug) }
    }

    /// - Returns: Whether that changed anything.
    package static func resume(_ slug: String, _ settings: Settings, logger: Logger) async throws -> Bool {
        try await with(settings, logger) { try await $0.resume(slug) }
    }

    private static func with<Value>(
        _ settings: Settings,
        _ logger: Logger,
        _ work: (AdministrationService) async throws -> Value
    ) async throws -> Value {
        let database = try await Databases.open(settings.database, connections: 2, logger: logger)
        do {
            let value = try await work(AdministrationService(database: database))
            await database.close()
            return value
        } catch {
            await database.close()
            guard let known = error as? any ProblemConvertible else { throw error }
            let problem = known.problem
            throw CommandError(
                problem.errors.first.map { "\($0.pointer.drop { $0 == "/" }) \($0.detail)" }
                    ?? problem.detail
            )
        }
    }
}
