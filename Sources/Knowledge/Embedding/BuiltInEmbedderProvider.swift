package import Kernel
package import Outbound

/// The embedder that needs no key: it finds shared words, not meaning.
package struct BuiltInEmbedder: Embedder {
    package let model = "kuvend-lexical-1"
    /// Unrelated texts stay below 0.04, related ones mostly above 0.14.
    package let relevance: Float = 0.08

    private let embedding = LexicalEmbedding()

    package init() {}

    package func embed(
        _ texts: [String],
        for organization: ID<OrganizationEntity>?,
        deadline: ContinuousClock.Instant
    ) async throws(ProviderError) -> [[Float]] {
        var vectors: [[Float]] = []
        vectors.reserveCapacity(texts.count)
        for text in texts {
            // Thousands of chunks are seconds of work: others get their turn in between.
            await Task.yield()
            if Task.isCancelled { throw ProviderError(.cancelled, provider: "builtin") }
            guard ContinuousClock.now < deadline else { throw ProviderError(.timedOut, provider: "builtin") }
            vectors.append(embedding.vector(for: text))
        }
        return vectors
    }
}
