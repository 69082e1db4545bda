import Kernel
import Storage

extension KnowledgeSearch {
    /// Chunks that hold any of the words, by cover density divided by the logarithm of the length.
    static func rankedByTSVector(_ words: SearchWords, _ scope: OrganizationScope) -> SQL {
        """
        SELECT c.id FROM document_chunks c
        JOIN knowledge_sources s ON s.organization_id = c.organization_id AND s.id = c.knowledge_source_id
        WHERE c.organization_id = \(scope.id) AND c.search_words @@ \(words.condition(.any, in: scope))
            AND s.training_id = c.training_id
        ORDER BY ts_rank(c.search_words, to_tsquery('simple', \(words.tsquery(.any))), 1) DESC, c.id
        LIMIT \(limit: candidates)
        """
    }
}
