import Kernel
import TestKit
import Testing

@Suite("Answering a contact")
struct AnswerTests {
    @Test("quotes the knowledge base with citations, streamed, and keeps the answer", arguments: TestDatabase.kinds)
    func answersFromKnowledge(on kind: TestDatabase.Kind) async throws {
        try await withApp(on: kind) { app in
            let owner = try await app.signUp()
            let source = try await owner.create(
                "/api/v1/knowledge-sources",
                [
                    "name": "Returns", "type": "text",
                    "content": "# Returns\n\nA book can be returned within 30 days. We pay the postage.",
                ]
            )
            _ = try await owner.create("/api/v1/ai-agents", ["name": "Support"])
            let conversation = try await owner.startConversation()
            try await owner.waitUntilReady(source)

            let events = try await owner.ask("How long do I have to return a book?", in: conversation)

            let answer = try #require(events.last)
            #expect(answer.kind == "reply.completed")
            #expect(answer.data["content"]?.string?.contains("30 days") == true)
            #expect(answer.data["role"]?.string == "assistant")
            let citation = try #require(answer.data["metadata"]?["citations"]?.array?.first)
            #expect(citation["knowledge_source_id"]?.string == source)
            #expect(citation["section"]?.array == ["Returns"])
            #expect(answer.data["metadata"]?["tokens"]?["output"]?.int ?? 0 > 0)

            // The pieces are the answer.
            let pieces = events.filter { $0.kind == "reply.delta" }.compactMap { $0.data["text"]?.string }
            #expect(!pieces.isEmpty)
            #expect(answer.data["content"]?.string?.hasPrefix(pieces.joined()) == true)

            // Sequences have no gaps, and a client that comes back with one misses nothing.
            #expect(events.map(\.id) == Array((events.first?.id ?? 0)...(answer.id)))
            let middle = events[events.count / 2]
            let resumed = try await owner.events(
                "GET",
                "/api/v1/conversations/\(conversation)/events",
                headers: ["last-event-id": middle.eventID]
            ) { $0.kind == "reply.completed" }
            #expect(resumed.map(\.id) == events.map(\.id).filter { $0 > middle.id })

            let page = try await owner.get("/api/v1/conversations/\(conversation)/messages?order=oldest_first")
            #expect(page.json["data"]?.array?.map { $0["role"]?.string } == ["user", "assistant"])
            let state = try await owner.get("/api/v1/conversations/\(conversation)")
            #expect(state.json["reply_state"]?.string == "idle")
            let usage = try await owner.get("/api/v1/usage")
            #expect(usage.json["metrics"]?["conversations_count"]?.int == 1)
            #expect(usage.json["metrics"]?["ai_tokens"]?.int ?? 0 > 0)
        }
    }
}

extension TestClient {
    /// Waits until a source has been trained.
    func waitUntilReady(_ source: String) async throws {
        let status = try await statusOfTraining(of: source)
        guard status == "ready" else { throw TestAppFailure("training ended as \(status)") }
    }

    /// Waits until the training of a source has ended, either way.
    func statusOfTraining(of source: String) async throws -> String {
        try await eventually("the end of a training") {
            let status = try await get("/api/v1/knowledge-sources/\(source)").json["status"]?.string
            return status == "ready" || status == "failed" ? status : nil
        }
    }
}
