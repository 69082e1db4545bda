import Events
package import Jobs
package import Kernel
import Outbound
import Storage

/// Cuts the document of a source into chunks and embeds them.
package struct TrainingJob: Job {
    package static let kind = "knowledge.train"
    package static let lane = Lane.bulk
    package static let policy = RetryPolicy(
        maxAttempts: 5,
        base: .seconds(5),
        ceiling: .seconds(300),
        timeout: .seconds(600),
        lease: .seconds(60),
        longestRetryAfter: .seconds(3_600)
    )

    let source: ID<KnowledgeSource>

    package init(source: ID<KnowledgeSource>) { self.source = source }

    package var payload: JSON { ["knowledge_source_id": .string(source.description)] }

    package init(payload: JSON) throws {
        guard let source = payload["knowledge_source_id"]?.string.flatMap({ ID<KnowledgeSource>($0) }) else {
            throw JobFailure.permanent("the payload names no source")
        }
        self.source = source
    }
}

/// Does the training.
///
/// Searches find the chunks of one training of a source: the last that was completed. Those of the one at work come into
/// searches, and the old ones leave them, with the transaction that completes it.
struct Trainer: Sendable {
    /// Chunks in one transaction: other writers wait no longer than these take.
    static let batchSize = 100

    let database: any Database
    let embedder: any Embedder
    let chunker = Chunker()
    let now: @Sendable () -> Timestamp

    func train(_ job: TrainingJob, _ context: JobContext) async throws {
        do {
            try await attempt(job, context)
        } catch let error as ProviderError {
            // Stopped from outside: the runner knows whether the node shuts down or the time is over.
            if error.kind == .cancelled { throw CancellationError() }
            throw error.isTransient
                ? JobFailure.retry(after: error.retryAfter ?? .zero, reason: error.message)
                : JobFailure.permanent(error.message)
        }
    }

    /// Marks the source as failed, unless its training was asked for again by now.
    func abandon(_ job: TrainingJob, reason: String, _ context: JobContext) async throws {
        let scope = context.scope
        let now = now()
        try await database.write(scope) { tx in
            try context.finish(in: tx)
            let sources = KnowledgeSourceStore(tx: tx, scope: scope)
            guard var source = try sources.find(job.source), source.status != .ready,
                try !tx.isQueued(TrainingJob.self, uniqueKey: job.source.description, in: scope)
            else { return }
            source.fail(reason, at: now)
            try sources.save(source)
            try tx.record(.knowledge(KnowledgeEvents.failed, source), in: scope, now: now)
        }
    }

    private func attempt(_ job: TrainingJob, _ context: JobContext) async throws {
        let scope = context.scope
        let began = now()
        let training = ID<Training>()
        let document: (content: String, format: DocumentFormat)? = try await database.write(scope) { tx in
            let sources = KnowledgeSourceStore(tx: tx, scope: scope)
            guard var source = try sources.find(job.source), let document = try sources.document(of: job.source) else {
                // Deleted in the meantime: there is nothing left to train.
                try context.finish(in: tx)
                return nil
            }
            try context.check(in: tx)
            source.begin(at: began)
            try sources.save(source)
            // What an earlier attempt left behind.
            try DocumentChunkStore(tx: tx, scope: scope).delete(of: job.source, allBut: source.training)
            return document
        }
        guard let document else { return }
        let chunks = chunker.chunks(of: document.content, format: document.format)
        for start in stride(from: 0, to: chunks.count, by: Self.batchSize) {
            try Task.checkCancellation()
            let batch = chunks[start..<min(start + Self.batchSize, chunks.count)]
            let vectors = try await embedder.embed(
                batch.map(\.textToEmbed),
                for: scope.id,
                deadline: .now + .seconds(120)
            )
            guard vectors.count == batch.count else {
                throw JobFailure.retry(after: .zero, reason: "the embedder answered with another number of vectors")
            }
            let createdAt = now()
            let rows = zip(batch, vectors).map { chunk, vector in
                (
                    chunk: DocumentChunk(
                        id: ID(),
                        sourceID: job.source,
                        ordinal: chunk.ordinal,
                        content: chunk.content,
                        metadata: chunk.metadata,
                        createdAt: createdAt
                    ),
                    vector: vector.contains { $0 != 0 } ? vector : nil
                )
            }
            let model = embedder.model
            try await database.write(scope) { tx in
                try context.check(in: tx)
                let store = DocumentChunkStore(tx: tx, scope: scope)
                for row in rows { try store.insert(row.chunk, of: training, vector: row.vector, model: model) }
            }
        }
        let ended = now()
        let count = chunks.count
        try await database.write(scope) { tx in
            let sources = KnowledgeSourceStore(tx: tx, scope: scope)
            try context.finish(in: tx)
            guard var source = try sources.find(job.source) else { return }
            source.finish(training, chunks: count, at: ended)
            try sources.save(source)
            try DocumentChunkStore(tx: tx, scope: scope).delete(of: job.source, allBut: training)
            try tx.record(.knowledge(KnowledgeEvents.trained, source), in: scope, now: ended)
        }
    }
}

extension Chunk {
    /// The headings say what a piece is about, so they are embedded with it.
    var textToEmbed: String { section.isEmpty ? content : section.joined(separator: " › ") + "\n" + content }

    var metadata: JSON {
        [
            "section": .array(section.map(JSON.string)), "start_offset": .integer(Int64(startOffset)),
            "end_offset": .integer(Int64(endOffset)),
        ]
    }
}
