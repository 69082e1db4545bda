import Agents
import Jobs

/// One setting: its key, what it means, and what it is when nobody says.
///
/// The key `database.url` is the environment variable `KUVEND_DATABASE_URL`, and `{"database": {"url": …}}` in a file.
package struct Setting: Sendable {
    package let key: String
    package let summary: String
    package let fallback: String?
    package let isSecret: Bool

    init(_ key: String, _ summary: String, default fallback: String? = nil, isSecret: Bool = false) {
        self.key = key
        self.summary = summary
        self.fallback = fallback
        self.isSecret = isSecret
    }

    package var environmentName: String {
        "KUVEND_" + key.uppercased().map { $0 == "." ? "_" : String($0) }.joined()
    }

    static let databaseURL = Setting(
        "database.url",
        "`sqlite:PATH` or `postgresql://…`; without it SQLite in the data directory.",
        isSecret: true
    )
    static let migrationDatabaseURL = Setting(
        "migration.database.url",
        "The owner's address for `kuvend migrate`; without it `KUVEND_DATABASE_URL`.",
        isSecret: true
    )
    static let databaseConnections = Setting(
        "database.connections",
        "Connections to PostgreSQL, 2–200.",
        default: "16"
    )
    static let databasePatience = Setting(
        "database.patience",
        "Seconds to wait at the start for a PostgreSQL that is not there yet, 0–3600.",
        default: "30"
    )
    static let host = Setting("host", "The address to listen on.", default: "127.0.0.1")
    static let port = Setting("port", "The port to listen on, 0–65535; 0 lets the system choose.", default: "8080")
    static let portFile = Setting("port.file", "A file to write the port to once the server listens.")
    static let publicURL = Setting(
        "public.url",
        "How the outside world reaches the server; without it host and port, as this machine reaches them."
    )
    static let dataDirectory = Setting("data.dir", "Where the database and the secret key lie.", default: "data")
    static let secretKey = Setting(
        "secret.key",
        "At least 32 characters; without it `secret.key` in the data directory, made when missing.",
        isSecret: true
    )
    static let roles = Setting(
        "roles",
        "What this node does, of http, worker, scheduler.",
        default: "http,worker,scheduler"
    )
    static let logLevel = Setting(
        "log.level",
        "trace, debug, info, notice, warning, error or critical.",
        default: "info"
    )
    static let languageModelURL = Setting(
        "llm.base.url",
        "An OpenAI-compatible interface with its version; without it the built-in model answers."
    )
    static let languageModelKey = Setting("llm.api.key", "The key for it.", isSecret: true)
    static let languageModel = Setting("llm.model", "The model for agents that name none.", default: "gpt-4o-mini")
    static let languageModelStartTimeout = Setting(
        "llm.start.timeout",
        "Seconds that it may take to begin an answer, 5–600; a local model reads a long prompt first.",
        default: "\(OpenAICompatibleModel.Configuration.startTimeout.components.seconds)"
    )
    static let languageModelPrices = Setting(
        "llm.prices",
        "JSON: units for a million tokens, `{\"gpt-4o-mini\": {\"input\": \"0.15\", \"output\": \"0.60\"}}`."
    )
    static let embeddingURL = Setting(
        "embedding.base.url",
        "An OpenAI-compatible interface; without it the built-in lexical embedder."
    )
    static let embeddingKey = Setting("embedding.api.key", "The key for it.", isSecret: true)
    static let embeddingModel = Setting(
        "embedding.model",
        "A model with 1536 dimensions.",
        default: "text-embedding-3-small"
    )
    static let vectorMemory = Setting(
        "vector.memory",
        "Megabytes for the vectors of organizations that searched last, 16–1048576.",
        default: "1024"
    )
    static let connections = Setting(
        "http.connections",
        "Connections that are served at once, 10–1000000; more wait to be accepted.",
        default: "10000"
    )
    static let bodyMemory = Setting(
        "body.memory",
        "Megabytes for the request bodies that are under way, 16–1048576; a caller may hold a quarter.",
        default: "256"
    )
    static let rateLimits = Setting("rate.limits", "on or off; off is for tests and benchmarks.", default: "on")
    static let allowedOrigins = Setting("allowed.origins", "Origins that browsers may call from, with commas between.")
    static let trustedProxies = Setting(
        "trusted.proxies",
        "Addresses or blocks whose X-Forwarded-For is believed, with commas between."
    )
    static let metricsToken = Setting("metrics.token", "A bearer token that /metrics asks for.", isSecret: true)
    static let purgeAfterDays = Setting(
        "purge.after.days",
        "Days between the deletion of an organization and that of its data, 0–3650.",
        default: "30"
    )

    /// How many jobs of a lane a node runs at a time; an organization gets half of what others leave.
    static func slots(of lane: Lane) -> Setting {
        Setting(
            "slots.\(lane.name)",
            "Jobs of the lane \(lane.name) that this node runs at a time, 0–1000; 0 leaves them to other nodes.",
            default: "\(JobRunner.Configuration.defaultSlots[lane] ?? 1)"
        )
    }

    package static let all =
        [
            databaseURL, migrationDatabaseURL, databaseConnections, databasePatience, host, port, portFile, publicURL,
            dataDirectory,
            secretKey, roles, logLevel, languageModelURL, languageModelKey, languageModel,
            languageModelStartTimeout, languageModelPrices,
            embeddingURL, embeddingKey, embeddingModel, vectorMemory, connections, bodyMemory,
            rateLimits, allowedOrigins, trustedProxies,
            metricsToken, purgeAfterDays,
        ] + Lane.all.map(slots)
}

/// Why the program cannot do what it was asked for, in a line for the person who asked.
///
/// Holds no secret.
package struct CommandError: Error, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }

    /// A setting whose value does not make sense; that of a secret is not shown.
    init(_ setting: Setting, _ value: String, _ complaint: String) {
        let shown = setting.isSecret ? "its value" : "\"\(value.prefix(80))\""
        description = "\(setting.environmentName): \(shown) \(complaint)."
    }
}
