import Dispatch
import Kernel
import NIOCore
import NIOPosix
import Synchronization
import TestKit
import Testing

@testable import Web

@Suite("Event loops")
struct EventLoopTests {
    @Test("what computes elsewhere leaves the loop, and comes back to it")
    func thereAndBack() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let places = await withTaskExecutorPreference(EventLoopExecutor(loop)) {
            let before = loop.inEventLoop
            let long = await offEventLoop { loop.inEventLoop }
            let between = loop.inEventLoop
            let short = await offEventLoop(if: false) { loop.inEventLoop }
            return [before, long, between, short, loop.inEventLoop]
        }
        #expect(places == [true, false, true, true, true])
    }

    @Test("while a handler computes for long, other connections of its loop are answered", .timeLimit(.minutes(5)))
    func othersAreAnswered() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let started = Gate()
        let isAnswered = DispatchSemaphore(value: 0)
        let endpoints = [
            Endpoint.public(.get, "/long", "Compute", responses: [.ok(.any)]) { _ in
                let wasAnswered = await offEventLoop {
                    started.open()
                    // Blocks its thread, as a long computation does; the deadline only keeps a failure from hanging.
                    return isAnswered.wait(timeout: .now() + .seconds(60)) == .success
                }
                return .json { $0.value(wasAnswered) }
            },
            Endpoint.public(.get, "/short", "Answer", responses: [.noContent]) { _ in .noContent },
        ]
        try await withServer(endpoints, eventLoopGroup: group) { server async throws in
            async let long = server.get("/long")
            try await started.pass()
            #expect(try await server.get("/short").status == 204)
            isAnswered.signal()
            #expect(try await long.json == true)
        }
        try await group.shutdownGracefully()
    }

    @Test("long bodies and answers mean the same as short ones", arguments: [100, 10_000, 200_000])
    func sizes(_ size: Int) async throws {
        let text = Schema.object([.required("text", .string(1...150_000), "Some.")])
        let echo = Endpoint.organization(
            .post,
            "/echo",
            "Echo",
            permission: nil,
            body: text,
            responses: [.ok(text)]
        ) { call in
            .json { json in
                json.beginObject()
                json.key("text")
                json.value(call.body["text"]?.string)
                json.endObject()
            }
        }
        try await withServer([echo]) { server in
            let body = #"{"text":"\#(String(repeating: "a", count: size))"}"#
            let response = try await server.post("/echo", body)
            #expect(response.status == (size > 150_000 ? 400 : 200))
            if size > 150_000 { #expect(response.errors == ["/text too_long"]) } else { #expect(response.text == body) }
            let packed = try await server.send("POST", "/echo", body, headers: [("Accept-Encoding", "gzip")])
            if size == 10_000 {
                #expect(packed.header("Content-Encoding") == "gzip")
                #expect(packed.bytes.count < 1_000)
            }
            #expect(try await server.post("/echo", body + "]").code == "request.malformed")
        }
    }
}
