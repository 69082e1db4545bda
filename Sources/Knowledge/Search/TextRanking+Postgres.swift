import Kernel
import Storage

extension KnowledgeSearch {
    /// How many chunks with all of the words, and how many with any of them, are ranked.
    private static let rankedWithAll = 2_000
    private static let rankedWithAny = 4_000

    /// Chunks that hold any of the words, by cover density divided by the logarithm of the length.
    ///
    /// Ranking reads each chunk, and a common word may be in most of an organization's: of very many, only some are
    /// ranked, those with all words first.
    static func rankedByTSVector(_ words: SearchWords, _ scope: OrganizationScope) -> SQL {
        """
        SELECT id FROM (
            (\(matches(words, .all, scope)) LIMIT \(limit: rankedWithAll))
            UNION (\(matches(words, .any, scope)) LIMIT \(limit: rankedWithAny))
        ) AS matches
        ORDER BY rank DESC, id LIMIT \(limit: candidates)
        """
    }

    private static func matches(_ words: SearchWords, _ match: SearchWords.Mode, _ scope: OrganizationScope) -> SQL {
        """
        SELECT c.id, ts_rank(c.search_words, to_tsquery('simple', \(words.tsquery(.any))), 1) AS rank
        FROM document_chunks c
        JOIN knowledge_sources s ON s.organization_id = c.organization_id AND s.id = c.knowledge_source_id
        WHERE c.organization_id = \(scope.id) AND c.search_words @@ \(words.condition(match, in: scope))
            AND s.training_id = c.training_id
        """
    }
}
