/// Merges ranked lists whose scores cannot be compared, such as those of full text and of vectors.
///
/// Reciprocal rank fusion: an id scores `Σ weight / (constant + rank)` over the lists that have it, ranks from 1.
/// Source: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms Condorcet", SIGIR 2009.
package struct RankFusion: Sendable {
    /// One list, best first.
    package struct Ranking<ID: Hashable & Comparable & Sendable>: Sendable {
        package let ids: [ID]
        package let weight: Double

        /// - Parameter weight: How much the list counts; one that is not positive and finite is left out.
        package init(_ ids: [ID], weight: Double = 1) {
            self.ids = ids
            self.weight = weight
        }
    }

    package struct FusedItem<ID: Hashable & Comparable & Sendable>: Hashable, Sendable {
        package let id: ID
        package let score: Double
    }

    /// How little the first ranks stand out.
    package let constant: Double

    /// - Parameter constant: Taken for 60, the value of the paper, when negative or not finite.
    package init(constant: Double = 60) {
        self.constant = constant.isFinite && constant >= 0 ? constant : 60
    }

    /// The ids of all lists, best score first, equal scores by id.
    ///
    /// An id that a list names twice has the better of its ranks, and the repetition takes no rank.
    package func fuse<ID>(_ rankings: [Ranking<ID>], limit: Int = .max) -> [FusedItem<ID>] {
        var scores: [ID: Double] = [:]
        for ranking in rankings where ranking.weight.isFinite && ranking.weight > 0 {
            var seen: Set<ID> = []
            for id in ranking.ids where seen.insert(id).inserted {
                scores[id, default: 0] += ranking.weight / (constant + Double(seen.count))
            }
        }
        let matches = scores.map { FusedItem(id: $0.key, score: $0.value) }
        let ordered = matches.sorted { $0.score == $1.score ? $0.id < $1.id : $0.score > $1.score }
        return Array(ordered.prefix(max(limit, 0)))
    }
}
