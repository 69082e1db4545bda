package import Kernel
package import Outbound

/// Turns texts into vectors whose dot product says how near they are.
///
/// All vectors of the product have `EmbeddingShape.dimensions` dimensions and length 1 (or are zero, where a text has
/// nothing to embed). Vectors of different `model`s must never be compared.
package protocol Embedder: Sendable {
    /// The name that is stored beside each vector.
    var model: String { get }

    /// The cosine below which two texts have nothing to do with each other, by this model's measure.
    var relevance: Float { get }

    /// One vector for each text, in their order.
    ///
    /// - Parameters:
    ///   - organization: Whose work it is; nil for the platform's own.
    ///   - deadline: The end of the whole work, however many calls it takes.
    func embed(
        _ texts: [String],
        for organization: ID<OrganizationEntity>?,
        deadline: ContinuousClock.Instant
    ) async throws(ProviderError) -> [[Float]]
}

extension Embedder {
    package var relevance: Float { 0.1 }

    package func embed(
        _ texts: [String],
        deadline: ContinuousClock.Instant
    ) async throws(ProviderError) -> [[Float]] {
        try await embed(texts, for: nil, deadline: deadline)
    }
}

package enum EmbeddingShape {
    package static let dimensions = 1_536
}
