import Kernel
import Storage

extension KnowledgeSearch {
    /// Chunks that hold any of the words, by BM25.
    static func rankedByFTS5(_ words: SearchWords, _ scope: OrganizationScope) -> SQL {
        let query = "organization_id : \"\(scope.id)\" AND \(words.fts5(.any, column: "content"))"
        return """
            SELECT c.id FROM document_chunks_search f
            JOIN document_chunks c ON c.rowid = f.rowid
            JOIN knowledge_sources s ON s.organization_id = c.organization_id AND s.id = c.knowledge_source_id
            WHERE document_chunks_search MATCH \(query) AND c.organization_id = \(scope.id)
                AND s.training_id = c.training_id
            ORDER BY bm25(document_chunks_search, 0.0, 1.0), c.id LIMIT \(limit: candidates)
            """
    }
}
