import Kernel
import Simulators
import TestKit
import Testing

@Suite("An answer that cannot be given")
struct GivenUpTests {
    @Test("leaves the message, says so, and can be asked for again", arguments: TestDatabase.kinds)
    func quotaExhausted(on kind: TestDatabase.Kind) async throws {
        try await withOpenAISimulator { simulator in
            let environment = [
                "KUVEND_LLM_BASE_URL": simulator.baseURL, "KUVEND_LLM_API_KEY": simulator.apiKey.exposed,
                "KUVEND_LLM_MODEL": "gpt-4o-mini",
            ]
            try await withApp(on: kind, environment: environment) { app in
                let owner = try await app.signUp()
                _ = try await owner.create("/api/v1/ai-agents", ["name": "Support"])
                let conversation = try await owner.startConversation()
                simulator.fail(next: 1, with: .quota)

                let events = try await owner.ask("Where is my order?", in: conversation)
                #expect(events.last?.kind == "reply.failed")
                #expect(events.last?.data["reason"]?.string?.contains("quota") == true)
                let state = try await owner.get("/api/v1/conversations/\(conversation)")
                #expect(state.json["reply_state"]?.string == "failed")
                #expect(state.json["reply_error"]?.string?.contains("quota") == true)
                let page = try await owner.get("/api/v1/conversations/\(conversation)/messages")
                #expect(page.json["data"]?.array?.count == 1)

                let jobs = try await owner.get("/api/v1/jobs/quarantined")
                let job = try #require(jobs.json["data"]?.array?.first)
                #expect(job["kind"]?.string == "reply.generate")
                let last = try #require(events.last?.eventID)
                async let answer = owner.events(
                    "GET",
                    "/api/v1/conversations/\(conversation)/events",
                    headers: ["last-event-id": last]
                ) { $0.kind == "reply.completed" }
                let retried = try await owner.post("/api/v1/jobs/\(job["id"]?.string ?? "")/retry")
                #expect(retried.status == 204)
                #expect(try await answer.last?.kind == "reply.completed")
            }
        }
    }
}
