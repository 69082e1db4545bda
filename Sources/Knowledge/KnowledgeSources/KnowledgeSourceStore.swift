import Kernel
package import Storage

extension KnowledgeSource: RowDecodable {
    package init(row: inout Row) throws {
        id = try row.next()
        name = try row.next()
        kind = try row.next()
        location = try row.next()
        status = try row.next()
        errorMessage = try row.next()
        chunkCount = try row.next()
        training = try row.next()
        metadata = try row.next()
        createdAt = try row.next()
        updatedAt = try row.next()
    }
}

struct KnowledgeSourceStore {
    let tx: any Transaction
    let scope: OrganizationScope

    static let columns: SQL = """
        id, name, type, location, status, error_message, chunk_count, training_id, metadata, created_at, updated_at
        """

    func find(_ id: ID<KnowledgeSource>) throws -> KnowledgeSource? {
        try tx.first(
            "SELECT \(Self.columns) FROM knowledge_sources WHERE organization_id = \(scope.id) AND id = \(id)"
        )
    }

    func get(_ id: ID<KnowledgeSource>) throws -> KnowledgeSource {
        guard let source = try find(id) else { throw KnowledgeError.unknown(id) }
        return source
    }

    func list(
        status: KnowledgeSource.Status?,
        kind: KnowledgeSource.Kind?,
        _ page: PageRequest
    ) throws -> Page<KnowledgeSource> {
        let filters: [SQL?] = [status.map { "status = \($0)" }, kind.map { "type = \($0)" }]
        return try Listing(of: "knowledge_sources", Self.columns, in: scope, page, where: filters)
            .values(in: tx) { Cursor(time: $0.createdAt, id: $0.id) }
    }

    func insert(_ source: KnowledgeSource, content: String, format: DocumentFormat) throws {
        try tx.run(
            """
            INSERT INTO knowledge_sources (organization_id, \(Self.columns))
            VALUES (\(scope.id), \(source.id), \(source.name), \(source.kind), \(source.location), \(source.status),
                \(source.errorMessage), \(source.chunkCount), \(source.training), \(source.metadata),
                \(source.createdAt), \(source.updatedAt))
            """
        )
        try tx.run(
            """
            INSERT INTO knowledge_documents (organization_id, knowledge_source_id, format, content, created_at)
            VALUES (\(scope.id), \(source.id), \(format.name), \(content), \(source.createdAt))
            """
        )
    }

    func save(_ source: KnowledgeSource) throws {
        try tx.run(
            """
            UPDATE knowledge_sources SET name = \(source.name), status = \(source.status),
                error_message = \(source.errorMessage), chunk_count = \(source.chunkCount),
                training_id = \(source.training), metadata = \(source.metadata), updated_at = \(source.updatedAt)
            WHERE organization_id = \(scope.id) AND id = \(source.id)
            """
        )
    }

    func delete(_ id: ID<KnowledgeSource>) throws {
        try tx.run("DELETE FROM knowledge_sources WHERE organization_id = \(scope.id) AND id = \(id)")
    }

    func document(of id: ID<KnowledgeSource>) throws -> (content: String, format: DocumentFormat)? {
        try tx.rows(
            """
            SELECT content, format FROM knowledge_documents
            WHERE organization_id = \(scope.id) AND knowledge_source_id = \(id)
            """
        ) { row in
            let content: String = try row.next()
            let format: String = try row.next()
            return (content: content, format: DocumentFormat(name: format) ?? .plainText)
        }.first
    }
}
