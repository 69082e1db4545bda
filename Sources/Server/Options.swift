import App
import ArgumentParser
import Foundation
import Logging
import Metrics
import Web

/// The options that all commands share.
struct CommonOptions: ParsableArguments {
    @Option(name: .long, help: "A JSON file with settings: {\"database\": {\"url\": \"…\"}}.")
    var config: String?

    @Option(name: .long, help: "sqlite:PATH or postgresql://… (KUVEND_DATABASE_URL).")
    var databaseURL: String?

    @Option(name: .long, help: "Where the database and the secret key lie (KUVEND_DATA_DIR).")
    var dataDir: String?

    @Option(name: .long, help: "trace, debug, info, notice, warning, error or critical (KUVEND_LOG_LEVEL).")
    var logLevel: String?

    var flags: [String: String] {
        var flags: [String: String] = [:]
        flags["database.url"] = databaseURL
        flags["data.dir"] = dataDir
        flags["log.level"] = logLevel
        return flags
    }

    /// - Parameter quiet: Lifts the default level, for commands whose answer is their output.
    func settings(_ more: [String: String] = [:], quiet: Bool = false) async throws -> Settings {
        var environment = ProcessInfo.processInfo.environment
        if quiet, environment["KUVEND_LOG_LEVEL"] == nil { environment["KUVEND_LOG_LEVEL"] = "warning" }
        do {
            return try await Settings.load(
                flags: flags.merging(more) { $1 },
                environment: environment,
                file: config
            )
        } catch {
            throw CleanExit.failure(error)
        }
    }
}

/// Logging and metrics are set up once a process.
enum Telemetry {
    static let registry = PrometheusRegistry()

    static func start(level: Logger.Level) -> Logger {
        LoggingSystem.bootstrap { label in
            var handler = StreamLogHandler.standardError(label: label)
            handler.logLevel = level
            return handler
        }
        MetricsSystem.bootstrap(registry)
        return Logger(label: "kuvend")
    }
}

extension CleanExit {
    /// One line that says what went wrong, and an exit code that is not zero.
    static func failure(_ error: any Error) -> any Error { CommandError("\(error)") }
}

/// Runs the work of a command and turns whatever it throws into one clear line.
func reportingErrors(_ work: () async throws -> Void) async throws {
    do {
        try await work()
    } catch let exit as ExitCode {
        throw exit
    } catch {
        throw CommandError("\(error)")
    }
}

func say(_ text: String) { print(text) }
