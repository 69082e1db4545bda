package import Kernel
package import Storage

/// A piece of a source as it is stored.
package struct DocumentChunk: Sendable {
    package let id: ID<DocumentChunk>
    package let sourceID: ID<KnowledgeSource>
    package let ordinal: Int
    package let content: String
    /// `section` (headings from the outside in), `start_offset` and `end_offset` (bytes of the document).
    package let metadata: JSON
    package let createdAt: Timestamp

    package var section: [String] { metadata["section"]?.array?.compactMap(\.string) ?? [] }
}

extension DocumentChunk: RowDecodable {
    package init(row: inout Row) throws {
        id = try row.next()
        sourceID = try row.next()
        ordinal = try row.next()
        content = try row.next()
        metadata = try row.next()
        createdAt = try row.next()
    }
}

struct DocumentChunkStore {
    let tx: any Transaction
    let scope: OrganizationScope

    static let columns: SQL = "id, knowledge_source_id, ordinal, content, metadata, created_at"

    /// - Parameter vector: nil when the text has nothing to embed.
    func insert(_ chunk: DocumentChunk, of training: ID<Training>, vector: [Float]?, model: String) throws {
        try tx.run(
            """
            INSERT INTO document_chunks (organization_id, \(Self.columns), training_id, embedding_vector, embedding_model)
            VALUES (\(scope.id), \(chunk.id), \(chunk.sourceID), \(chunk.ordinal), \(chunk.content),
                \(chunk.metadata), \(chunk.createdAt), \(training), \(vector.map(SQLValue.vector) ?? .null), \(model))
            """
        )
    }

    /// Deletes the chunks of all trainings of a source but one.
    func delete(of source: ID<KnowledgeSource>, allBut training: ID<Training>?) throws {
        var condition = SQL.empty
        if let training { condition = "AND training_id <> \(training)" }
        try tx.run(
            """
            DELETE FROM document_chunks
            WHERE organization_id = \(scope.id) AND knowledge_source_id = \(source) \(condition)
            """
        )
    }

    func list(
        of training: ID<Training>,
        _ source: ID<KnowledgeSource>,
        after ordinal: Int,
        limit: Int
    ) throws -> [DocumentChunk] {
        try tx.all(
            """
            SELECT \(Self.columns) FROM document_chunks
            WHERE organization_id = \(scope.id) AND knowledge_source_id = \(source) AND training_id = \(training)
                AND ordinal > \(ordinal)
            ORDER BY ordinal LIMIT \(limit: limit)
            """
        )
    }
}
