import Events
import Jobs
package import Kernel
import Storage

package struct KnowledgeSourceService: Sendable {
    let database: any Database
    let now: @Sendable () -> Timestamp

    /// Keeps the document and makes its training due.
    package func add(_ new: NewKnowledgeSource, in scope: OrganizationScope) async throws -> KnowledgeSource {
        guard new.content.utf8.count <= KnowledgeSource.maximumDocumentSize else {
            throw KnowledgeError.documentTooLarge
        }
        let now = now()
        let source = KnowledgeSource(
            id: ID(),
            name: new.name,
            kind: new.kind,
            location: new.location,
            status: .pending,
            errorMessage: nil,
            chunkCount: 0,
            training: nil,
            metadata: new.metadata,
            createdAt: now,
            updatedAt: now
        )
        try await database.write(scope) { tx in
            try KnowledgeSourceStore(tx: tx, scope: scope).insert(source, content: new.content, format: new.format)
            try tx.enqueue(TrainingJob(source: source.id), in: scope, uniqueKey: source.id.description, now: now)
            try tx.record(.knowledge(KnowledgeEvents.created, source), in: scope, now: now)
        }
        return source
    }

    package func get(_ id: ID<KnowledgeSource>, in scope: OrganizationScope) async throws -> KnowledgeSource {
        try await database.read(scope) { tx in try KnowledgeSourceStore(tx: tx, scope: scope).get(id) }
    }

    package func list(
        status: KnowledgeSource.Status?,
        kind: KnowledgeSource.Kind?,
        _ page: PageRequest,
        in scope: OrganizationScope
    ) async throws -> Page<KnowledgeSource> {
        try await database.read(scope) { tx in
            try KnowledgeSourceStore(tx: tx, scope: scope).list(status: status, kind: kind, page)
        }
    }

    /// The chunks of a source in the order of the document.
    package func chunks(
        of id: ID<KnowledgeSource>,
        after ordinal: Int,
        limit: Int,
        in scope: OrganizationScope
    ) async throws -> [DocumentChunk] {
        try await database.read(scope) { tx in
            let source = try KnowledgeSourceStore(tx: tx, scope: scope).get(id)
            guard let training = source.training else { return [] }
            return try DocumentChunkStore(tx: tx, scope: scope).list(of: training, id, after: ordinal, limit: limit)
        }
    }

    /// Cuts and embeds the document again; until that is done, searches find what it was before.
    package func retrain(_ id: ID<KnowledgeSource>, in scope: OrganizationScope) async throws -> KnowledgeSource {
        let now = now()
        return try await database.write(scope) { tx in
            let sources = KnowledgeSourceStore(tx: tx, scope: scope)
            var source = try sources.get(id)
            source.status = .pending
            source.errorMessage = nil
            source.touch(at: now)
            try sources.save(source)
            try tx.enqueue(TrainingJob(source: id), in: scope, uniqueKey: id.description, now: now)
            try tx.record(.knowledge(KnowledgeEvents.retrainingRequested, source), in: scope, now: now)
            return source
        }
    }

    package func delete(_ id: ID<KnowledgeSource>, in scope: OrganizationScope) async throws {
        let now = now()
        try await database.write(scope) { tx in
            let sources = KnowledgeSourceStore(tx: tx, scope: scope)
            let source = try sources.get(id)
            try sources.delete(id)
            try tx.record(.knowledge(KnowledgeEvents.deleted, source), in: scope, now: now)
        }
    }
}
