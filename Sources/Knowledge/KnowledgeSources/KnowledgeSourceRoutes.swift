import Kernel
import Storage
import Web

/// A source as the API shows it.
struct KnowledgeSourceBody: ResponseBody {
    let source: KnowledgeSource

    init(_ source: KnowledgeSource) { self.source = source }

    static let schema = Schema.named(
        "KnowledgeSource",
        .object([
            .required("id", .uuid),
            .required("name", .string(1...200)),
            .required("type", .choice(of: KnowledgeSource.Kind.self)),
            .required("location", .nullable(.string(1...2_048))),
            .required(
                "status",
                .choice(of: KnowledgeSource.Status.self),
                "Of the latest training. Agents answer from the latest one that became `ready`."
            ),
            .required("error_message", .nullable(.string(0...2_000)), "Why training failed."),
            .required("chunk_count", .integer(0...Int64.max)),
            .required("metadata", .anyObject()),
            .required("created_at", .dateTime),
            .required("updated_at", .dateTime),
        ])
    )

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.value(source.id.description)
        json.key("name")
        json.value(source.name)
        json.key("type")
        json.value(source.kind.rawValue)
        json.key("location")
        json.value(source.location)
        json.key("status")
        json.value(source.status.rawValue)
        json.key("error_message")
        json.value(source.errorMessage)
        json.key("chunk_count")
        json.value(source.chunkCount)
        json.key("metadata")
        json.value(source.metadata)
        json.key("created_at")
        json.value(source.createdAt.description)
        json.key("updated_at")
        json.value(source.updatedAt.description)
        json.endObject()
    }
}

struct DocumentChunkBody: ResponseBody {
    let chunk: DocumentChunk

    static let schema = Schema.named("DocumentChunk", .object(properties))

    static let properties: [Schema.Property] = [
        .required("id", .uuid),
        .required("knowledge_source_id", .uuid),
        .required("ordinal", .integer(0...Int64.max), "The place in the document, from 0."),
        .required("content", .string(1...20_000)),
        .required("metadata", .anyObject(), "`section`: the headings above it, from the outside in."),
        .required("created_at", .dateTime),
    ]

    func write(to json: inout JSONWriter) {
        json.beginObject()
        writeMembers(to: &json)
        json.endObject()
    }

    func writeMembers(to json: inout JSONWriter) {
        json.key("id")
        json.value(chunk.id.description)
        json.key("knowledge_source_id")
        json.value(chunk.sourceID.description)
        json.key("ordinal")
        json.value(chunk.ordinal)
        json.key("content")
        json.value(chunk.content)
        json.key("metadata")
        json.value(chunk.metadata)
        json.key("created_at")
        json.value(chunk.createdAt.description)
    }
}

extension NewKnowledgeSource {
    static let schema = Schema.named(
        "NewKnowledgeSource",
        .object([
            .required("name", .string(1...200, [.singleLine, .notBlank]), example: "Returns and refunds"),
            .required("type", .choice("text", "file"), "`file` names its file in `location`."),
            .required(
                "content",
                .string(1...KnowledgeSource.maximumDocumentSize, .notBlank),
                "The document itself.",
                example: "# Returns\n\nYou can return what you bought within 30 days."
            ),
            .optional(
                "location",
                .nullable(.string(1...1_024, .singleLine)),
                "The file's name.",
                example: "returns.md"
            ),
            .optional(
                "format",
                .choice(DocumentFormat.names),
                "Without it, the ending of `location` decides; `markdown` when that says nothing."
            ),
            .optional("metadata", .anyObject()),
        ])
    )

    init(_ body: JSON) {
        let location = body["location"]?.string
        self.init(
            name: body["name"]?.string ?? "",
            kind: body["type"]?.string.flatMap(KnowledgeSource.Kind.init) ?? .text,
            location: location,
            content: body["content"]?.string ?? "",
            format: body["format"]?.string.flatMap(DocumentFormat.init(name:)) ?? DocumentFormat(fileName: location),
            metadata: body["metadata"] ?? [:]
        )
    }
}

struct KnowledgeSourceRoutes: Sendable {
    let service: KnowledgeSourceService

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/knowledge-sources",
            tag: "Knowledge",
            [
                Endpoint.organization(
                    .get,
                    "",
                    "List knowledge sources",
                    "Newest first.",
                    permission: .knowledgeRead,
                    query: .page + [
                        .optional("status", .choice(of: KnowledgeSource.Status.self)),
                        .optional("type", .choice(of: KnowledgeSource.Kind.self)),
                    ],
                    responses: [.ok(.page(of: KnowledgeSourceBody.schema))],
                    use: list
                ),
                Endpoint.organization(
                    .post,
                    "",
                    "Add a knowledge source",
                    "Answers at once; training follows. The source can be searched when its status is `ready`.",
                    permission: .knowledgeWrite,
                    body: NewKnowledgeSource.schema,
                    responses: [.created(KnowledgeSourceBody.schema)],
                    problems: [
                        ProblemKind(.contentTooLarge, "knowledge_source.too_large", "The document is too large.")
                    ],
                    bodyLimit: 3 * KnowledgeSource.maximumDocumentSize,
                    use: add
                ),
                Endpoint.organization(
                    .get,
                    "/{id}",
                    "Read a knowledge source",
                    permission: .knowledgeRead,
                    responses: [.ok(KnowledgeSourceBody.schema)],
                    problems: [.notFound("knowledge source")],
                    use: show
                ),
                Endpoint.organization(
                    .delete,
                    "/{id}",
                    "Delete a knowledge source",
                    "Its document and chunks go with it.",
                    permission: .knowledgeWrite,
                    responses: [.noContent],
                    problems: [.notFound("knowledge source")],
                    use: delete
                ),
                Endpoint.organization(
                    .post,
                    "/{id}/retrain",
                    "Train a knowledge source again",
                    "Until the new training is complete, searches and agents find what the last one left.",
                    permission: .knowledgeWrite,
                    responses: [.accepted(KnowledgeSourceBody.schema)],
                    problems: [.notFound("knowledge source")],
                    use: retrain
                ),
                Endpoint.organization(
                    .get,
                    "/{id}/chunks",
                    "List the chunks of a knowledge source",
                    "In the order of the document.",
                    permission: .knowledgeRead,
                    query: [
                        .optional("limit", .integer(1...100), "How many items at most.", default: 20),
                        .optional(
                            "after",
                            .integer(0...Int64(Int32.max)),
                            "The ordinal of the last chunk that was seen."
                        ),
                    ],
                    responses: [.ok(.object([.required("data", .array(of: DocumentChunkBody.schema))]))],
                    problems: [.notFound("knowledge source")],
                    use: chunks
                ),
            ]
        )
    }

    private func list(_ call: OrganizationCall) async throws -> Response {
        let page = try await service.list(
            status: call.query("status"),
            kind: call.query("type"),
            call.page,
            in: call.scope
        )
        return .page(page.map(KnowledgeSourceBody.init))
    }

    private func add(_ call: OrganizationCall) async throws -> Response {
        let source = try await service.add(NewKnowledgeSource(call.body), in: call.scope)
        return .created(
            KnowledgeSourceBody(source),
            at: "/api/v1/knowledge-sources/\(source.id)",
            tag: EntityTag(source.updatedAt)
        )
    }

    private func show(_ call: OrganizationCall) async throws -> Response {
        let source = try await service.get(call.pathID("id", or: .notFound("knowledge source")), in: call.scope)
        return .ok(KnowledgeSourceBody(source), tag: EntityTag(source.updatedAt))
    }

    private func delete(_ call: OrganizationCall) async throws -> Response {
        try await service.delete(call.pathID("id", or: .notFound("knowledge source")), in: call.scope)
        return .noContent
    }

    private func retrain(_ call: OrganizationCall) async throws -> Response {
        .accepted(
            KnowledgeSourceBody(
                try await service.retrain(call.pathID("id", or: .notFound("knowledge source")), in: call.scope)
            )
        )
    }

    private func chunks(_ call: OrganizationCall) async throws -> Response {
        let chunks = try await service.chunks(
            of: call.pathID("id", or: .notFound("knowledge source")),
            after: call.query("after")?.int.flatMap { Int(exactly: $0) } ?? -1,
            limit: call.query("limit")?.int.flatMap { Int(exactly: $0) } ?? 20,
            in: call.scope
        )
        return .json { json in
            json.beginObject()
            json.key("data")
            json.beginArray()
            for chunk in chunks { DocumentChunkBody(chunk: chunk).write(to: &json) }
            json.endArray()
            json.endObject()
        }
    }
}
