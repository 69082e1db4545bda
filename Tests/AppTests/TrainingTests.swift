import App
import Kernel
import Knowledge
import Simulators
import Storage
import Synchronization
import TestKit
import Testing

@Suite("Training a source anew")
struct TrainingTests {
    @Test("searches find what it was until the new training is complete", arguments: TestDatabase.kinds)
    func keepsWhatIsThere(on kind: TestDatabase.Kind) async throws {
        try await withOpenAISimulator { simulator in
            let environment = [
                "KUVEND_EMBEDDING_BASE_URL": simulator.baseURL,
                "KUVEND_EMBEDDING_API_KEY": simulator.apiKey.exposed,
                "KUVEND_EMBEDDING_MODEL": "text-embedding-3-small",
            ]
            try await withApp(on: kind, environment: environment) { app in
                let owner = try await app.signUp()
                let source = try await owner.create(
                    "/api/v1/knowledge-sources",
                    ["name": "Returns", "type": "text", "content": "# Returns\n\nA book can be returned in 30 days."]
                )
                try await owner.waitUntilReady(source)
                let first = try await owner.found("How do I return a book?")
                #expect(first.count == 1)

                // A training that ends badly.
                simulator.fail(next: 1, with: .status(400, retryAfter: nil))
                #expect(try await owner.post("/api/v1/knowledge-sources/\(source)/retrain").status == 202)
                #expect(try await owner.statusOfTraining(of: source) == "failed")
                #expect(try await owner.found("How do I return a book?") == first)
                #expect(try await owner.chunks(of: source) == first)

                // One that ends well takes the place of the first, all at once.
                #expect(try await owner.post("/api/v1/knowledge-sources/\(source)/retrain").status == 202)
                try await owner.waitUntilReady(source)
                let second = try await owner.found("How do I return a book?")
                #expect(second.count == 1 && second != first)
                #expect(try await owner.chunks(of: source) == second)

                // And one that hangs in the middle.
                simulator.fail(next: 1, with: .hangBeforeHeaders)
                #expect(try await owner.post("/api/v1/knowledge-sources/\(source)/retrain").status == 202)
                _ = try await simulator.counts { $0.held > 0 }
                let state = try await owner.get("/api/v1/knowledge-sources/\(source)")
                #expect(state.json["status"]?.string == "processing")
                #expect(state.json["chunk_count"]?.int == 1)
                #expect(try await owner.chunks(of: source) == second)
                let words = try await owner.found("book")
                #expect(words == second)
            }
        }
    }

    @Test(
        "a search that is slow does not put the old vectors in the place of the new ones",
        arguments: TestDatabase.kinds
    )
    func slowSearch(on kind: TestDatabase.Kind) async throws {
        try await withApp(on: kind) { app in
            let owner = try await app.signUp()
            let source = try await owner.create(
                "/api/v1/knowledge-sources",
                ["name": "Returns", "type": "text", "content": "# Returns\n\nA book can be returned in 30 days."]
            )
            try await owner.waitUntilReady(source)
            // The first read of a search is what the vectors of each source should be.
            let (hasRead, mayGoOn) = (Gate(), Gate())
            let isFirst = Mutex(true)
            let database = InterceptedDatabase(
                app.node.database,
                afterRead: { _ in
                    let isHeld = isFirst.withLock { isFirst in
                        defer { isFirst = false }
                        return isFirst
                    }
                    guard isHeld else { return }
                    hasRead.open()
                    try await mayGoOn.pass()
                }
            )
            let search = KnowledgeSearch(
                database: database,
                embedder: BuiltInEmbedder(),
                cacheBudget: 64 << 20,
                logger: ServerFleet.silent
            )
            let scope = OrganizationScope.job(of: try #require(ID(owner.organization)))
            async let slow = search.find("return a book", limit: 5, in: scope)
            try await hasRead.pass()
            #expect(try await owner.post("/api/v1/knowledge-sources/\(source)/retrain").status == 202)
            try await owner.waitUntilReady(source)
            let quick = try await search.find("return a book", limit: 5, in: scope)
            #expect(quick.map(\.vectorRank) == [1])
            mayGoOn.open()
            let late = try await slow
            #expect(late.map(\.vectorRank) == [1])
            #expect(late.map(\.chunk.id) == quick.map(\.chunk.id))
            #expect(try await search.find("return a book", limit: 5, in: scope).map(\.vectorRank) == [1])
        }
    }
}

extension TestClient {
    /// The ids of the chunks that a search finds.
    fileprivate func found(_ question: String) async throws -> [String] {
        let reply = try await post("/api/v1/knowledge/search", ["query": .string(question)])
        #expect(reply.status == 200)
        return reply.json["data"]?.array?.compactMap { $0["chunk_id"]?.string ?? $0["id"]?.string } ?? []
    }

    fileprivate func chunks(of source: String) async throws -> [String] {
        let reply = try await get("/api/v1/knowledge-sources/\(source)/chunks")
        return reply.json["data"]?.array?.compactMap { $0["id"]?.string } ?? []
    }
}
