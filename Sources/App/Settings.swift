package import Agents
import Configuration
package import Jobs
package import Kernel
package import Logging
package import Outbound
import Storage
import SystemPackage
package import Web

/// All settings of a node, read once: from flags, then the environment, then a file.
package struct Settings: Sendable {
    package enum NodeRole: String, Sendable, CaseIterable {
        case http
        case worker
        case scheduler
    }

    /// Which database.
    package enum Location: Sendable {
        case sqlite(path: String)
        case postgres(Secret)
    }

    package let database: Location
    package let migrationDatabase: Location
    package let databaseConnections: Int
    package let databasePatience: Duration
    package let dataDirectory: String
    package let secretKey: Secret?
    package let roles: Set<NodeRole>
    package let logLevel: Logger.Level
    package let portFile: String?
    package let languageModel: Provider?
    /// How long the language model may take to begin an answer.
    package let modelStartTimeout: Duration
    package let embedding: Provider?
    package let prices: ModelPrices
    /// In bytes.
    package let vectorMemory: Int
    package let purgeAfter: Duration
    /// Jobs that run at a time, by lane.
    package var slots: [Lane: Int]
    package var web: WebConfiguration
    /// What is odd but no reason to stop, to be logged.
    package let warnings: [String]

    /// An OpenAI-compatible interface.
    package struct Provider: Sendable {
        package let baseURL: OutboundURL
        package let key: Secret?
        package let model: String
    }

    /// - Parameters:
    ///   - flags: By the key of the setting; they win over the environment.
    ///   - file: A JSON file; the environment wins over it.
    /// - Throws: `CommandError`, or what reading the file throws.
    package static func load(
        flags: [String: String] = [:],
        environment: [String: String],
        file: String? = nil
    ) async throws -> Settings {
        var providers: [any ConfigProvider] = [
            InMemoryProvider(
                values: Dictionary(
                    uniqueKeysWithValues: flags.map { key, value in
                        (
                            AbsoluteConfigKey(key.split(separator: ".").map(String.init)),
                            ConfigValue(.string(value), isSecret: false)
                        )
                    }
                )
            ),
            EnvironmentVariablesProvider(environmentVariables: environment).prefixKeys(with: "kuvend"),
        ]
        if let file = file ?? environment["KUVEND_CONFIG_FILE"] {
            providers.append(try await FileProvider<JSONSnapshot>(filePath: FilePath(file)))
        }
        let reader = ConfigReader(providers: providers)
        let known = Set(Setting.all.map(\.environmentName)).union(["KUVEND_CONFIG_FILE"])
        let unknown = environment.keys.filter { key in
            // The test suite has variables of its own.
            key.hasPrefix("KUVEND_") && !key.hasPrefix("KUVEND_TEST_") && !known.contains(key)
        }
        return try Settings(
            values: Values { setting in
                let key = ConfigKey(setting.key.split(separator: ".").map(String.init))
                let text =
                    reader.string(forKey: key, isSecret: setting.isSecret)
                    ?? reader.int(forKey: key, isSecret: setting.isSecret).map(String.init)
                return text.flatMap { $0.isEmpty ? nil : $0 } ?? setting.fallback
            },
            warnings: unknown.sorted().map { "\($0) is not a setting of this program; see `kuvend serve --help`" }
        )
    }

    private init(values: Values, warnings: [String]) throws {
        dataDirectory = values.text(.dataDirectory) ?? "data"
        database =
            try values.location(.databaseURL) ?? .sqlite(path: dataDirectory + "/kuvend.sqlite")
        migrationDatabase = try values.location(.migrationDatabaseURL) ?? database
        databaseConnections = try values.integer(.databaseConnections, in: 2...200)
        databasePatience = .seconds(try values.integer(.databasePatience, in: 0...3_600))
        secretKey = try values.text(.secretKey).map { text in
            guard text.utf8.count >= 32 else {
                throw CommandError(.secretKey, text, "must have at least 32 characters")
            }
            return Secret(text)
        }
        roles = Set(
            try values.list(.roles).map { name in
                guard let role = NodeRole(rawValue: name) else {
                    throw CommandError(.roles, name, "is not one of http, worker, scheduler")
                }
                return role
            }
        )
        guard !roles.isEmpty else { throw CommandError(.roles, "", "names no role") }
        let level = values.text(.logLevel) ?? "info"
        guard let logLevel = Logger.Level(rawValue: level) else {
            throw CommandError(.logLevel, level, "is not a log level")
        }
        self.logLevel = logLevel
        portFile = values.text(.portFile)
        languageModel = try values.provider(.languageModelURL, key: .languageModelKey, model: .languageModel)
        modelStartTimeout = .seconds(try values.integer(.languageModelStartTimeout, in: 5...600))
        embedding = try values.provider(.embeddingURL, key: .embeddingKey, model: .embeddingModel)
        prices = try values.prices()
        vectorMemory = try values.integer(.vectorMemory, in: 16...1_048_576) * 1_048_576
        slots = [:]
        for lane in Lane.all { slots[lane] = try values.integer(.slots(of: lane), in: 0...1_000) }
        purgeAfter = .seconds(86_400 * (try values.integer(.purgeAfterDays, in: 0...3_650)))

        var web = WebConfiguration()
        web.host = values.text(.host) ?? "127.0.0.1"
        web.port = try values.integer(.port, in: 0...65_535)
        web.publicURL = values.text(.publicURL) ?? Self.localURL(host: web.host, port: web.port)
        guard web.publicURL.hasPrefix("http://") || web.publicURL.hasPrefix("https://") else {
            throw CommandError(.publicURL, web.publicURL, "does not begin with http:// or https://")
        }
        web.version = Version.current
        web.maximumConnections = try values.integer(.connections, in: 10...1_000_000)
        web.bodyBudget = try values.integer(.bodyMemory, in: 16...1_048_576) * 1_048_576
        switch values.text(.rateLimits) {
        case "on": break
        case "off":
            web.apiRate = nil
            web.organizationRate = nil
            web.authenticationRate = nil
            web.failedAuthenticationRate = nil
            web.readinessInterval = .zero
        case let other: throw CommandError(.rateLimits, other ?? "", "is neither on nor off")
        }
        web.allowedOrigins = values.list(.allowedOrigins)
        web.trustedProxies = try values.list(.trustedProxies).map { text in
            guard let block = AddressBlock(text) else {
                throw CommandError(.trustedProxies, text, "is no address and no block such as 10.0.0.0/8")
            }
            return block
        }
        web.metricsToken = values.text(.metricsToken).map(Secret.init)
        self.web = web
        self.warnings = warnings
    }
}

extension Settings {
    /// How a browser on this machine reaches a server that listens on an address.
    ///
    /// Nobody can connect to the addresses that stand for all (`0.0.0.0`, `::`). RFC 3986 §3.2.2 puts IPv6 addresses into
    /// brackets, RFC 6874 writes the zone of one with `%25`.
    private static func localURL(host: String, port: Int) -> String {
        let isEverywhere = host == "0.0.0.0" || host.contains(":") && host.allSatisfy { $0 == ":" || $0 == "0" }
        if isEverywhere { return "http://localhost:\(port)" }
        guard host.contains(":") else { return "http://\(host):\(port)" }
        return "http://[\(host.split(separator: "%", maxSplits: 1).joined(separator: "%25"))]:\(port)"
    }
}

/// The raw values, and how they are read.
private struct Values {
    let value: (Setting) -> String?

    func text(_ setting: Setting) -> String? { value(setting) }

    func list(_ setting: Setting) -> [String] {
        (value(setting) ?? "").split(separator: ",").map { $0.filter { $0 != " " } }.filter { !$0.isEmpty }
    }

    func integer(_ setting: Setting, in range: ClosedRange<Int>) throws -> Int {
        let text = value(setting) ?? ""
        guard let number = Int(text), range.contains(number) else {
            throw CommandError(setting, text, "is not a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    func location(_ setting: Setting) throws -> Settings.Location? {
        guard let text = value(setting) else { return nil }
        if text.hasPrefix("sqlite:") {
            let path = String(text.dropFirst("sqlite:".count))
            guard !path.isEmpty else { throw CommandError(setting, text, "names no file") }
            return .sqlite(path: path.hasPrefix("//") ? String(path.dropFirst(2)) : path)
        }
        if text.hasPrefix("postgresql://") || text.hasPrefix("postgres://") {
            let url = Secret(text)
            guard PostgresConfiguration.canRead(url) else {
                throw CommandError(setting, text, "is no URL of PostgreSQL")
            }
            return .postgres(url)
        }
        throw CommandError(setting, text, "begins with neither sqlite: nor postgresql://")
    }

    func provider(_ address: Setting, key: Setting, model: Setting) throws -> Settings.Provider? {
        guard let text = value(address) else { return nil }
        guard let url = try? OutboundURL(text) else { throw CommandError(address, text, "is no http or https address") }
        return Settings.Provider(
            baseURL: url,
            key: value(key).map(Secret.init),
            model: value(model) ?? model.fallback ?? ""
        )
    }

    func prices() throws -> ModelPrices {
        guard let text = value(.languageModelPrices) else { return ModelPrices() }
        do {
            return try ModelPrices(JSON(parsing: text))
        } catch let error as JSONError {
            throw CommandError(.languageModelPrices, text, "is no JSON: \(error)")
        } catch let error as ModelPrices.Failure {
            throw CommandError(.languageModelPrices, text, "cannot be used: \(error)")
        }
    }
}

/// What `kuvend version` says.
package enum Version {
    package static let current = "0.1.0"
}
