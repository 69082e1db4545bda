import Kernel
import Storage
import Synchronization

/// The vectors of one organization and embedding model in memory, brought up to date source by source.
struct OrganizationVectors: Sendable {
    /// Which version of each ready source the database holds: its `updated_at`.
    typealias Versions = [ID<KnowledgeSource>: Timestamp]

    private struct Loaded: Sendable {
        let version: Timestamp
        let rows: [Int]
    }

    private var scan = VectorScan(dimensions: LexicalEmbedding.dimensions)
    private var chunks: [ID<DocumentChunk>?] = []
    private var sources: [ID<KnowledgeSource>: Loaded] = [:]

    var count: Int { scan.count }

    /// Roughly, in bytes.
    var size: Int { scan.rows * (LexicalEmbedding.dimensions * 4 + 64) }

    /// Sources of which the database holds another version, to be loaded.
    func stale(_ versions: Versions) -> [ID<KnowledgeSource>] {
        versions.filter { sources[$0.key]?.version != $0.value }.map(\.key).sorted()
    }

    /// Forgets sources that are gone or have changed.
    mutating func forget(allBut versions: Versions) {
        for (source, loaded) in sources where versions[source] != loaded.version {
            for row in loaded.rows where scan.remove(row) { chunks[row] = nil }
            sources[source] = nil
        }
    }

    mutating func add(
        _ source: ID<KnowledgeSource>,
        version: Timestamp,
        vectors: [(id: ID<DocumentChunk>, vector: [Float])]
    ) {
        var rows: [Int] = []
        for (id, vector) in vectors {
            // A vector of another length or with a NaN cannot be searched; the words of its chunk still can.
            guard let row = try? scan.append(vector) else { continue }
            while chunks.count <= row { chunks.append(nil) }
            chunks[row] = id
            rows.append(row)
        }
        sources[source] = Loaded(version: version, rows: rows)
    }

    func nearest(to query: [Float], limit: Int) throws -> [(id: ID<DocumentChunk>, score: Float)] {
        try scan.nearest(to: query, limit: limit).compactMap { match in
            guard chunks.indices.contains(match.row), let id = chunks[match.row] else { return nil }
            return (id, match.score)
        }
    }
}

/// Keeps the vectors of the organizations that searched last, within a budget of memory.
actor VectorCache {
    struct Key: Hashable {
        let organization: ID<OrganizationEntity>
        let model: String
    }

    private struct Entry {
        var vectors = OrganizationVectors()
        var lastUse: UInt64 = 0
        var refresh: Task<OrganizationVectors, any Error>?
    }

    private let database: any Database
    /// In bytes.
    private let budget: Int
    private var entries: [Key: Entry] = [:]
    private var uses: UInt64 = 0

    init(database: any Database, budget: Int) {
        self.database = database
        self.budget = budget
    }

    /// The organization's vectors as of now.
    ///
    /// Searches that come while vectors are being read wait for them together.
    func vectors(in scope: OrganizationScope, model: String) async throws -> OrganizationVectors {
        let key = Key(organization: scope.id, model: model)
        if let refresh = entries[key]?.refresh { _ = try? await refresh.value }
        let current = entries[key]?.vectors ?? OrganizationVectors()
        let versions = try await database.read(scope) { tx in try Self.versions(tx, scope, model) }
        var next = current
        next.forget(allBut: versions)
        let stale = next.stale(versions)
        let vectors: OrganizationVectors
        if stale.isEmpty {
            vectors = next
        } else {
            let database = database
            let base = next
            let refresh = Task {
                var vectors = base
                for source in stale {
                    guard let version = versions[source] else { continue }
                    let loaded = try await database.read(scope) { tx in try Self.load(source, tx, scope, model) }
                    vectors.add(source, version: version, vectors: loaded)
                }
                return vectors
            }
            entries[key, default: Entry()].refresh = refresh
            defer { entries[key]?.refresh = nil }
            vectors = try await refresh.value
        }
        uses &+= 1
        entries[key, default: Entry()].vectors = vectors
        entries[key]?.lastUse = uses
        evict(except: key)
        return vectors
    }

    private func evict(except key: Key) {
        var total = entries.values.reduce(0) { $0 + $1.vectors.size }
        for (oldest, entry) in entries.sorted(by: { $0.value.lastUse < $1.value.lastUse }) {
            guard total > budget else { return }
            guard oldest != key, entry.refresh == nil else { continue }
            total -= entry.vectors.size
            entries[oldest] = nil
        }
        // One organization alone above the budget is served and not kept.
        if total > budget { entries[key] = nil }
    }

    private static func versions(
        _ tx: any Transaction,
        _ scope: OrganizationScope,
        _ model: String
    ) throws -> OrganizationVectors.Versions {
        let rows = try tx.rows(
            """
            SELECT id, updated_at FROM knowledge_sources
            WHERE organization_id = \(scope.id) AND status = \(KnowledgeSource.Status.ready)
            """
        ) { row in
            (try row.next(ID<KnowledgeSource>.self), try row.next(Timestamp.self))
        }
        return Dictionary(rows) { first, _ in first }
    }

    private static func load(
        _ source: ID<KnowledgeSource>,
        _ tx: any Transaction,
        _ scope: OrganizationScope,
        _ model: String
    ) throws -> [(id: ID<DocumentChunk>, vector: [Float])] {
        try tx.rows(
            """
            SELECT id, embedding_vector FROM document_chunks
            WHERE organization_id = \(scope.id) AND knowledge_source_id = \(source)
                AND embedding_model = \(model) AND embedding_vector IS NOT NULL
            ORDER BY ordinal
            """
        ) { row in
            (id: try row.next(ID<DocumentChunk>.self), vector: try row.next([Float].self))
        }
    }
}
