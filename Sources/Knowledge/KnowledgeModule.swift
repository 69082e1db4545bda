package import Events
package import Jobs
package import Kernel
package import Logging
package import Storage
package import Web

extension Permission {
    package static let knowledgeRead = Permission("knowledge", "read")
    package static let knowledgeWrite = Permission("knowledge", "write")
}

/// The face of Knowledge.
package struct KnowledgeModule: Sendable {
    package let sources: KnowledgeSourceService
    package let search: KnowledgeSearch
    private let trainer: Trainer

    /// - Parameter cacheBudget: Bytes of memory for the vectors of the organizations that searched last.
    package init(
        database: any Database,
        embedder: any Embedder,
        cacheBudget: Int,
        logger: Logger,
        now: @escaping @Sendable () -> Timestamp
    ) {
        sources = KnowledgeSourceService(database: database, now: now)
        search = KnowledgeSearch(
            database: database,
            embedder: embedder,
            cacheBudget: cacheBudget,
            logger: logger
        )
        trainer = Trainer(database: database, embedder: embedder, now: now)
    }

    package var endpoints: [Endpoint] {
        KnowledgeSourceRoutes(service: sources).endpoints
            + KnowledgeSearchRoutes(search: search).endpoints
    }

    package func register(in registry: inout JobRegistry) {
        let trainer = trainer
        registry.handle(
            TrainingJob.self,
            abandoned: { job, reason, context in try await trainer.abandon(job, reason: reason, context) },
            { job, context in try await trainer.train(job, context) }
        )
    }

    package static var events: [EventType] { KnowledgeEvents.all }

    package static var permissions: [PermissionGrant] {
        [PermissionGrant(.knowledgeRead, to: .members), PermissionGrant(.knowledgeWrite, to: .admins)]
    }
}
