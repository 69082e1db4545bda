import Kernel
import Storage
import Synchronization

/// The vectors of one organization and embedding model in memory, brought up to date source by source.
struct OrganizationVectors: Sendable {
    /// Which training of each source searches find.
    typealias Versions = [ID<KnowledgeSource>: ID<Training>]

    private struct Loaded: Sendable {
        let version: ID<Training>
        let rows: [Int]
    }

    private var scan = VectorScan(dimensions: LexicalEmbedding.dimensions)
    private var chunks: [ID<DocumentChunk>?] = []
    private var sources: [ID<KnowledgeSource>: Loaded] = [:]

    var count: Int { scan.count }

    private static let bytesPerChunk = LexicalEmbedding.dimensions * 4 + 64

    /// Roughly, in bytes.
    var size: Int { scan.rows * Self.bytesPerChunk }

    static func fits(_ chunks: Int, in budget: Int) -> Bool { chunks <= budget / bytesPerChunk }

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
        version: ID<Training>,
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
        /// The number of the refresh that ended last.
        var lastRefresh: UInt64?
    }

    private struct Current {
        let versions: OrganizationVectors.Versions
        let chunks: Int
    }

    private let database: any Database
    /// In bytes.
    private let budget: Int
    private var entries: [Key: Entry] = [:]
    private var uses: UInt64 = 0
    /// How many refreshes have ended, of whichever organization.
    private var refreshes: UInt64 = 0

    init(database: any Database, budget: Int) {
        self.database = database
        self.budget = budget
    }

    /// The organization's vectors as of now.
    ///
    /// Searches that come while vectors are being read wait for that one reading. An organization that alone is larger
    /// than the budget has none here: its searches rank by words.
    func vectors(in scope: OrganizationScope, model: String) async throws -> OrganizationVectors {
        let key = Key(organization: scope.id, model: model)
        let current = try await current(in: scope, for: key)
        let versions = current.versions
        // From here to the next await nobody else can begin.
        var next = entries[key]?.vectors ?? OrganizationVectors()
        next.forget(allBut: versions)
        let stale = next.stale(versions)
        if stale.isEmpty || !OrganizationVectors.fits(current.chunks, in: budget) {
            if stale.isEmpty { keep(next, for: key) }
            return stale.isEmpty ? next : OrganizationVectors()
        }
        let base = next
        let refresh = Task {
            defer {
                refreshes &+= 1
                entries[key]?.refresh = nil
                entries[key]?.lastRefresh = refreshes
            }
            var vectors = base
            for source in stale {
                let loaded = try await database.read(scope) { tx in try Self.load(source, tx, scope, model) }
                guard let loaded else { continue }
                vectors.add(source, version: loaded.version, vectors: loaded.vectors)
            }
            keep(vectors, for: key)
            return vectors
        }
        entries[key, default: Entry()].refresh = refresh
        return try await refresh.value
    }

    /// What the database holds, read while nobody refreshed the organization's vectors.
    ///
    /// Whoever goes by what was read before somebody else's refresh would forget what that refresh has loaded.
    private func current(in scope: OrganizationScope, for key: Key) async throws -> Current {
        while true {
            while let refresh = entries[key]?.refresh { _ = try? await refresh.value }
            let before = entries[key]?.lastRefresh
            let current = try await database.read(scope) { tx in try Self.current(tx, scope) }
            if entries[key]?.refresh == nil, entries[key]?.lastRefresh == before { return current }
        }
    }

    private func keep(_ vectors: OrganizationVectors, for key: Key) {
        uses &+= 1
        entries[key, default: Entry()].vectors = vectors
        entries[key]?.lastUse = uses
        var total = entries.values.reduce(0) { $0 + $1.vectors.size }
        for (oldest, entry) in entries.sorted(by: { $0.value.lastUse < $1.value.lastUse }) {
            guard total > budget else { return }
            guard oldest != key, entry.refresh == nil else { continue }
            total -= entry.vectors.size
            entries[oldest] = nil
        }
    }

    private static func current(_ tx: any Transaction, _ scope: OrganizationScope) throws -> Current {
        var chunks = 0
        let rows = try tx.rows(
            """
            SELECT id, training_id, chunk_count FROM knowledge_sources
            WHERE organization_id = \(scope.id) AND training_id IS NOT NULL
            """
        ) { row in
            let version = (try row.next(ID<KnowledgeSource>.self), try row.next(ID<Training>.self))
            chunks += min(max(try row.next(Int.self), 0), 1 << 32)
            return version
        }
        return Current(versions: Dictionary(rows) { first, _ in first }, chunks: chunks)
    }

    /// The vectors of the training that searches find now, which may be later than the one that was asked for; nil when
    /// the source is gone.
    private static func load(
        _ source: ID<KnowledgeSource>,
        _ tx: any Transaction,
        _ scope: OrganizationScope,
        _ model: String
    ) throws -> (version: ID<Training>, vectors: [(id: ID<DocumentChunk>, vector: [Float])])? {
        let version: ID<Training>? = try tx.value(
            """
            SELECT training_id FROM knowledge_sources
            WHERE organization_id = \(scope.id) AND id = \(source) AND training_id IS NOT NULL
            """
        )
        guard let version else { return nil }
        let vectors = try tx.rows(
            """
            SELECT id, embedding_vector FROM document_chunks
            WHERE organization_id = \(scope.id) AND knowledge_source_id = \(source)
                AND training_id = \(version) AND embedding_model = \(model) AND embedding_vector IS NOT NULL
            ORDER BY ordinal
            """
        ) { row in
            (id: try row.next(ID<DocumentChunk>.self), vector: try row.next([Float].self))
        }
        return (version, vectors)
    }
}
