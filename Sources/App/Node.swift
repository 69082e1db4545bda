package import Agents
import Audit
package import Billing
package import Events
package import Identity
package import Jobs
package import Kernel
package import Knowledge
package import Logging
package import Messaging
import Outbound
import Schema
import ServiceLifecycle
package import Storage
package import UnixSignals
package import Web

/// One running node: the subsystems, connected, and the services that its roles ask for.
package struct Node: Sendable {
    package let settings: Settings
    package let database: any Database
    package let identity: IdentityModule
    package let billing: BillingModule
    package let knowledge: KnowledgeModule
    package let messaging: MessagingModule
    package let agents: AgentsModule
    package let server: WebServer
    /// What the subsystems declare: the whole API.
    package let endpoints: [Endpoint]
    package let runner: JobRunner
    package let scheduler: Scheduler
    package let consumers: [EventConsumerLoop]
    private let services: [any Service]
    private let outbound: OutboundClient
    private let logger: Logger

    /// - Parameters:
    ///   - database: Open and migrated; `run()` closes it.
    ///   - metrics: Where the process's metrics go, shown at `/metrics`.
    ///   - jitter: Spreads what is tried again; from -1 to 1.
    ///   - onRunning: Told the port once the server listens.
    package init(
        settings: Settings,
        database: any Database,
        secretKey: Secret,
        metrics: PrometheusRegistry,
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp = { .now() },
        jitter: @escaping @Sendable () -> Double = { .random(in: -1...1) },
        onRunning: @escaping @Sendable (_ port: Int) async -> Void = { _ in }
    ) async throws {
        self.settings = settings
        self.database = database
        self.logger = logger
        // As many as an organization's share of all lanes, so that no job that holds a slot waits for a connection.
        let shares = settings.slots.values.map { max($0 / 2, 1) }.reduce(0, +)
        let outbound = OutboundClient(
            configuration: .init(
                slotsPerOrganization: max(shares, 16),
                platformSlots: max(2 * shares, 64)
            ),
            logger: logger
        )
        self.outbound = outbound

        var accounts = IdentityConfiguration()
        accounts.purgeGrace = settings.purgeAfter
        // Who switches rate limits off has many sign-ins in mind.
        if settings.web.authenticationRate == nil {
            accounts.attempts = .max
            accounts.attemptsEverywhere = .max
            accounts.newAccounts = .max
        }
        identity = await IdentityModule(
            database: database,
            secretKey: secretKey,
            organizationTables: ProductSchema.organizationTables,
            permissions: Modules.permissions,
            configuration: accounts,
            logger: logger,
            now: now
        )
        billing = BillingModule(database: database, meters: Modules.meters, now: now)
        knowledge = KnowledgeModule(
            database: database,
            embedder: Self.embedder(settings, outbound),
            cacheBudget: settings.vectorMemory,
            logger: logger,
            now: now
        )
        messaging = MessagingModule(
            database: database,
            entitlements: BillingModule.entitlements,
            requestReply: ReplyJob.request,
            agentExists: AIAgentStore.exists,
            now: now
        )
        agents = AgentsModule(
            database: database,
            search: knowledge.search,
            model: Self.languageModel(settings, outbound),
            startTimeout: settings.modelStartTimeout,
            prices: settings.prices,
            entitlements: BillingModule.entitlements,
            now: now
        )
        let subsystems: [any Module] = [
            identity, billing, knowledge, messaging, agents,
            AuditModule(database: database, actorKinds: Modules.actorKinds),
        ]
        let consumers = subsystems.flatMap(\.consumers)
        let platform = PlatformModule(database: database, consumers: consumers.map(\.name), now: now)
        let modules = [platform] + subsystems
        guard modules.map({ ObjectIdentifier(type(of: $0)) }) == Modules.all.map({ ObjectIdentifier($0) }) else {
            throw NodeError.modulesDiffer
        }

        // Every event has a declaration, and no two have the same name.
        _ = try EventCatalogue(Modules.events)
        let housekeeping = Housekeeping(database: database, purges: modules.flatMap(\.purges), now: now)
        var registry = JobRegistry()
        for module in modules { module.register(in: &registry) }
        registry.handle(HousekeepingJob.self) { _, context in try await housekeeping.run(logger: context.logger) }

        runner = try JobRunner(
            database: database,
            registry: registry,
            configuration: .init(slots: settings.slots),
            logger: logger,
            now: now,
            jitter: jitter
        )
        scheduler = Scheduler(
            database: database,
            schedules: modules.flatMap(\.schedules) + [Housekeeping.schedule],
            logger: logger,
            now: now
        )
        self.consumers = consumers.map {
            EventConsumerLoop(database: database, consumer: $0, logger: logger, now: now)
        }
        services = modules.flatMap(\.services)
        endpoints = modules.flatMap(\.endpoints)
        server = try WebServer(
            endpoints: endpoints,
            configuration: settings.web,
            authenticator: identity.authenticator,
            idempotency: IdempotencyKeys(database: database, secretKey: secretKey, now: now),
            readiness: modules.flatMap(\.readiness),
            metrics: metrics,
            logger: logger,
            onRunning: onRunning
        )
    }

    /// Runs until a signal or a cancellation asks it to stop: first it stops taking work, then it ends what runs.
    package func run(gracefulShutdownSignals: [UnixSignal] = []) async throws {
        var services: [any Service] = [DatabaseService(database: database)] + services
        if settings.roles.contains(.worker) {
            services += consumers
            services.append(runner)
        }
        if settings.roles.contains(.scheduler) { services.append(scheduler) }
        if settings.roles.contains(.http) { services.append(server) }
        // At lower levels the group describes its services with all that they hold.
        var logger = logger
        logger.logLevel = max(logger.logLevel, .notice)
        var configuration = ServiceGroupConfiguration(
            services: services.map { .init(service: $0) },
            gracefulShutdownSignals: gracefulShutdownSignals,
            logger: logger
        )
        configuration.maximumGracefulShutdownDuration = .seconds(28)
        let group = ServiceGroup(configuration: configuration)
        do {
            try await group.run()
        } catch {
            await stop()
            throw error
        }
        await stop()
    }

    /// Closes what `run()` closes, for those who never run.
    package func stop() async {
        await database.close()
        await outbound.shutdown()
    }

    private static func languageModel(_ settings: Settings, _ client: OutboundClient) -> any LanguageModel {
        guard let provider = settings.languageModel else { return ExtractiveModel() }
        return OpenAICompatibleModel(
            client: client,
            configuration: .init(
                endpoint: OpenAIEndpoint(baseURL: provider.baseURL, apiKey: provider.key, access: .trusted),
                model: provider.model,
                startTimeout: settings.modelStartTimeout
            )
        )
    }

    private static func embedder(_ settings: Settings, _ client: OutboundClient) -> any Embedder {
        guard let provider = settings.embedding else { return BuiltInEmbedder() }
        return OpenAICompatibleEmbedder(
            client: client,
            endpoint: OpenAIEndpoint(baseURL: provider.baseURL, apiKey: provider.key, access: .trusted),
            model: provider.model
        )
    }
}

/// A mistake in the program's own lists.
package enum NodeError: Error, Sendable {
    /// The modules that a node makes are not those that `Modules` lists.
    case modulesDiffer
}

/// Keeps the database's own loops running for as long as the node runs.
private struct DatabaseService: Service {
    let database: any Database

    func run() async throws {
        try await cancelWhenGracefulShutdown { try await database.run() }
    }
}

extension Node {
    /// The OpenAPI description as JSON text.
    ///
    /// Nothing is read for it, so no database has to be there.
    package static func apiDescription(_ settings: Settings, logger: Logger) async throws -> String {
        let node = try await Node(
            settings: settings,
            database: AbsentDatabase(),
            secretKey: Secret(String(repeating: "0", count: 64)),
            metrics: PrometheusRegistry(),
            logger: logger
        )
        let text = String(decoding: node.server.description.openAPI, as: UTF8.self)
        await node.stop()
        return text
    }
}

/// Stands in where a node is built only to be described.
private struct AbsentDatabase: Database {
    let dialect = Dialect.sqlite
    let signals = SignalHub()

    func read<Value: Sendable>(
        in scope: DataScope,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        throw StorageError.closed
    }

    func write<Value: Sendable>(
        in scope: DataScope,
        isolation: Isolation,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        throw StorageError.closed
    }

    func fetch<Value: Sendable>(_ query: Query<Value>, in scope: DataScope) async throws -> Value {
        throw StorageError.closed
    }

    func migrate<Value: Sendable>(_ body: @escaping @Sendable (any Transaction) throws -> Value) async throws -> Value {
        throw StorageError.closed
    }

    func finishErasing() async throws -> Bool { throw StorageError.closed }

    func checkRoom() async throws { throw StorageError.closed }

    func run() async throws { throw StorageError.closed }

    func close() async {}
}
