package import Kernel
package import Logging
import Outbound
package import Storage
import Web

/// A chunk that was found, and how.
package struct FoundChunk: Sendable {
    package let chunk: DocumentChunk
    package let sourceName: String
    package let sourceLocation: String?
    /// The fused score, higher is better; comparable only within one search.
    package let score: Double
    /// From 1, in the ranking by words; nil when no word matched.
    package let textRank: Int?
    /// From 1, in the ranking by meaning.
    package let vectorRank: Int?
    /// The cosine of the angle to the question, for those ranked by meaning.
    package let similarity: Double?
}

/// Finds the chunks that answer a question: by words and by meaning, fused by reciprocal rank.
package struct KnowledgeSearch: Sendable {
    /// How many candidates each ranking contributes.
    static let candidates = 50

    let database: any Database
    let embedder: any Embedder
    let cache: VectorCache
    let logger: Logger

    /// - Parameters:
    ///   - cacheBudget: Bytes of memory for vectors.
    package init(database: any Database, embedder: any Embedder, cacheBudget: Int, logger: Logger) {
        self.logger = logger
        self.database = database
        self.embedder = embedder
        cache = VectorCache(database: database, budget: cacheBudget)
    }

    /// - Returns: At most `limit` chunks of ready sources, best first. Empty when nothing has been trained.
    package func find(_ question: String, limit: Int, in scope: OrganizationScope) async throws -> [FoundChunk] {
        let words = SearchWords(question).withoutCommonWords
        let vectors = try await cache.vectors(in: scope, model: embedder.model)
        var byMeaning: [(id: ID<DocumentChunk>, score: Float)] = []
        if vectors.count > 0, let query = try await vector(of: question, in: scope) {
            // A third of a microsecond for each vector.
            byMeaning = try await offEventLoop(if: vectors.count > 300) {
                try vectors.nearest(to: query, limit: Self.candidates).filter { $0.score >= embedder.relevance }
            }
        }
        let byVector = byMeaning.map(\.id)
        let similarities = Dictionary(byMeaning.map { ($0.id, Double($0.score)) }) { first, _ in first }
        return try await database.read(scope) { tx in
            let byWords = words.isEmpty ? [] : try textRanking(words, tx, scope)
            let fused = RankFusion().fuse(
                [RankFusion.Ranking(byWords), RankFusion.Ranking(byVector)],
                limit: max(0, limit)
            )
            guard !fused.isEmpty else { return [] }
            let details = try details(of: fused.map(\.id), tx, scope)
            let textRanks = ranks(byWords)
            let vectorRanks = ranks(byVector)
            return fused.compactMap { match in
                guard let detail = details[match.id] else { return nil }
                return FoundChunk(
                    chunk: detail.chunk,
                    sourceName: detail.name,
                    sourceLocation: detail.location,
                    score: match.score,
                    textRank: textRanks[match.id],
                    vectorRank: vectorRanks[match.id],
                    similarity: similarities[match.id]
                )
            }
        }
    }

    /// The question as a vector; nil when the embedder cannot make one now.
    ///
    /// The ranking by words does without it.
    private func vector(of question: String, in scope: OrganizationScope) async throws -> [Float]? {
        do {
            let vectors = try await embedder.embed([question], for: scope.id, deadline: .now + .seconds(10))
            return vectors.first.flatMap { vector in
                vector.count == EmbeddingShape.dimensions && vector.allSatisfy(\.isFinite) ? vector : nil
            }
        } catch {
            guard error.kind != .cancelled else { throw CancellationError() }
            logger.warning("a search does without vectors", metadata: ["error": "\(error.message)"])
            return nil
        }
    }

    private func ranks(_ ids: [ID<DocumentChunk>]) -> [ID<DocumentChunk>: Int] {
        Dictionary(ids.enumerated().map { ($1, $0 + 1) }) { first, _ in first }
    }

    private func textRanking(
        _ words: SearchWords,
        _ tx: any Transaction,
        _ scope: OrganizationScope
    ) throws -> [ID<DocumentChunk>] {
        switch tx.dialect {
        case .sqlite: try tx.values(Self.rankedByFTS5(words, scope))
        case .postgres: try tx.values(Self.rankedByTSVector(words, scope))
        }
    }

    private func details(
        of ids: [ID<DocumentChunk>],
        _ tx: any Transaction,
        _ scope: OrganizationScope
    ) throws -> [ID<DocumentChunk>: (chunk: DocumentChunk, name: String, location: String?)] {
        let rows = try tx.rows(
            """
            SELECT c.id, c.knowledge_source_id, c.ordinal, c.content, c.metadata, c.created_at, s.name, s.location
            FROM document_chunks c
            JOIN knowledge_sources s ON s.organization_id = c.organization_id AND s.id = c.knowledge_source_id
            WHERE c.organization_id = \(scope.id) AND c.id IN \(list: ids)
            """
        ) { row in
            let chunk = try DocumentChunk(row: &row)
            return (chunk.id, (chunk: chunk, name: try row.next(String.self), location: try row.next(String?.self)))
        }
        return Dictionary(rows) { first, _ in first }
    }
}
