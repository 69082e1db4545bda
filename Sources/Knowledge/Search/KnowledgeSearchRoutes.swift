import Kernel
import Storage
import Web

struct FoundChunkBody: ResponseBody {
    let found: FoundChunk

    static let schema = Schema.named(
        "FoundChunk",
        .object(
            DocumentChunkBody.properties + [
                .required("source_name", .string(1...200)),
                .required("score", .number(0...1), "Comparable only within one search."),
                .required("text_rank", .nullable(.integer(1...1_000)), "The place in the ranking by words, from 1."),
                .required("vector_rank", .nullable(.integer(1...1_000)), "The place in the ranking by meaning."),
                .required("similarity", .nullable(.number(-1.01...1.01)), "The cosine of the angle to the question."),
            ]
        )
    )

    func write(to json: inout JSONWriter) {
        json.beginObject()
        DocumentChunkBody(chunk: found.chunk).writeMembers(to: &json)
        json.key("source_name")
        json.value(found.sourceName)
        json.key("score")
        json.value(found.score)
        json.key("text_rank")
        json.value(found.textRank.map(Int64.init))
        json.key("vector_rank")
        json.value(found.vectorRank.map(Int64.init))
        json.key("similarity")
        if let similarity = found.similarity { json.value(similarity) } else { json.null() }
        json.endObject()
    }
}

struct KnowledgeSearchRoutes: Sendable {
    let search: KnowledgeSearch

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/knowledge",
            tag: "Knowledge",
            [
                Endpoint.organization(
                    .post,
                    "/search",
                    "Search the knowledge base",
                    "What an agent would be given for this question. `embedding_model` says which embedder ranked by meaning.",
                    permission: .knowledgeRead,
                    body: .named(
                        "KnowledgeQuery",
                        .object([
                            .required(
                                "query",
                                .string(1...2_000, .notBlank),
                                example: "How long do I have to return a book?"
                            ),
                            .optional("limit", .integer(1...50), "How many chunks at most.", default: 8),
                        ])
                    ),
                    responses: [
                        .ok(
                            .object([
                                .required("data", .array(of: FoundChunkBody.schema, count: 0...50)),
                                .required("embedding_model", .string(1...200)),
                            ])
                        )
                    ],
                    idempotent: false,
                    use: find
                )
            ]
        )
    }

    private func find(_ call: OrganizationCall) async throws -> Response {
        let found = try await search.find(
            call.body["query"]?.string ?? "",
            limit: call.body["limit"]?.int.flatMap { Int(exactly: $0) } ?? 8,
            in: call.scope
        )
        let model = search.embedder.model
        return .json { json in
            json.beginObject()
            json.key("data")
            json.beginArray()
            for chunk in found { FoundChunkBody(found: chunk).write(to: &json) }
            json.endArray()
            json.key("embedding_model")
            json.value(model)
            json.endObject()
        }
    }
}
