import Storage

extension SubsystemSchema {
    static let knowledge = SubsystemSchema(
        name: "Knowledge",
        tables: [knowledgeSources, knowledgeDocuments, documentChunks]
    )

    private static let knowledgeSources = TenantTable(
        "knowledge_sources",
        "What agents know, by where it comes from.",
        [
            .id, .required("name", .text), .required("type", .text), .optional("location", .text),
            .required("status", .text), .optional("error_message", .text),
            .required("chunk_count", .integer, default: "0"), .optional("training_id", .uuid),
            .required("metadata", .json), .createdAt, .updatedAt,
        ],
        checks: [.length(of: "name", 1...200)],
        indexes: [.on("organization_id", "created_at", "id")]
    )

    private static let knowledgeDocuments = TenantTable(
        "knowledge_documents",
        "The text of a source as it was given.",
        [.required("knowledge_source_id", .uuid), .required("format", .text), .required("content", .text), .createdAt],
        key: ["knowledge_source_id"],
        owned: .byReference,
        references: [.own("knowledge_source_id", to: "knowledge_sources", onDelete: .cascade)]
    )

    private static let documentChunks = TenantTable(
        "document_chunks",
        "The pieces of a source that searches find, with their vectors.",
        [
            .id, .required("knowledge_source_id", .uuid), .required("training_id", .uuid),
            .required("ordinal", .integer),
            .required("content", .text), .optional("embedding_vector", .vector(1536)),
            .optional("embedding_model", .text),
            .required("metadata", .json), .createdAt,
        ],
        owned: .byReference,
        references: [.own("knowledge_source_id", to: "knowledge_sources", onDelete: .cascade)],
        indexes: [
            .unique("organization_id", "training_id", "ordinal"),
            .on("organization_id", "knowledge_source_id", name: "source"),
        ],
        fullText: "content",
        more: [
            // Vectors are searched in memory. Out of line they leave the rows narrow for the ranking by words.
            RowSecurity.postgres("ALTER TABLE document_chunks ALTER COLUMN embedding_vector SET STORAGE EXTERNAL")
        ]
    )
}
