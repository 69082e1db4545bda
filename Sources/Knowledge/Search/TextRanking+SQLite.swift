import Kernel
import Storage

extension KnowledgeSearch {
    /// Chunks that hold any of the words, by BM25.
    ///
    /// Every match is ranked inside of the index; only the best are looked up, as their rows are wide. Some of those may
    /// belong to a training that is not complete, or no longer counts.
    static func rankedByFTS5(_ words: SearchWords, _ scope: OrganizationScope) -> SQL {
        """
        SELECT c.id FROM (
            SELECT rowid, bm25(document_chunks_search, 0.0, 1.0) AS score FROM document_chunks_search
            WHERE document_chunks_search MATCH \(words.fts5(.any, column: "content", in: scope))
            ORDER BY score LIMIT \(limit: candidates * 4)
        ) f
        CROSS JOIN document_chunks c ON c.entry = f.rowid
        JOIN knowledge_sources s ON s.organization_id = c.organization_id AND s.id = c.knowledge_source_id
        WHERE c.organization_id = \(scope.id) AND s.training_id = c.training_id
        ORDER BY f.score, c.id LIMIT \(limit: candidates)
        """
    }
}
