import AsyncHTTPClient
import Kernel
import NIOCore
import Synchronization
import TestKit
import Testing
import Web

@Suite("Streams")
struct StreamTests {
    private func endpoint(_ produce: @escaping @Sendable (EventWriter) async throws -> Void) -> [Endpoint] {
        [
            Endpoint.public(.get, "/events", "Events", responses: [.events("Some.")]) { call in
                #expect(call.acceptsEvents || call.lastEventID == nil)
                return .events(produce)
            }
        ]
    }

    @Test("events arrive as they are written, and the stream ends with its source")
    func events() async throws {
        let endpoints = endpoint { writer in
            try await writer.send(StreamEvent(id: "1\n2", event: "token", data: "a\nb\r\nc"))
            try await writer.send([StreamEvent(data: "x"), StreamEvent(data: "")])
        }
        try await withServer(endpoints) { server in
            let response = try await server.get(
                "/events",
                headers: [("Accept", "text/event-stream"), ("Accept-Encoding", "gzip")]
            )
            #expect(response.status == 200)
            #expect(response.header("Content-Type") == "text/event-stream")
            #expect(response.header("Cache-Control") == "no-cache")
            #expect(response.header("X-Accel-Buffering") == "no")
            #expect(response.header("Content-Encoding") == nil)
            #expect(response.text == "id: 12\nevent: token\ndata: a\ndata: b\ndata: c\n\ndata: x\n\ndata: \n\n")
        }
    }

    @Test("a silent stream has heartbeats")
    func heartbeats() async throws {
        let endpoints = endpoint { _ in try await Task.sleep(for: .seconds(36_000)) }
        try await withServer(endpoints, configure: { $0.heartbeat = .milliseconds(50) }) { server in
            let request = "GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
            // Two comments, each in a chunk of its own.
            let two = "3\r\n:\n\n\r\n3\r\n:\n\n\r\n"
            let received = try await server.raw([ByteBuffer(string: request)], until: two)
            #expect(received?.contains(two) == true)
        }
    }

    @Test("the source is cancelled when the reader leaves")
    func disconnect() async throws {
        let ended = Gate()
        let endpoints = endpoint { writer in
            try await writer.send(StreamEvent(data: "hello"))
            defer { ended.open() }
            try await Task.sleep(for: .seconds(36_000))
        }
        try await withServer(endpoints) { server in
            let request = "GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
            let received = try await server.raw([ByteBuffer(string: request)], until: "hello")
            #expect(received?.contains("hello") == true)
            try await ended.pass()
        }
    }

    @Test("streams end when the server shuts down, running requests finish", .timeLimit(.minutes(10)))
    func shutdown() async throws {
        let (streams, runs, mayEnd) = (Gate(), Gate(), Gate())
        let stream = endpoint { writer in
            try await writer.send(StreamEvent(data: "hello"))
            streams.open()
            try await Task.sleep(for: .seconds(36_000))
        }
        let slow = Endpoint.public(.get, "/slow", "Slow", responses: [.ok(.any)]) { _ in
            runs.open()
            try await mayEnd.pass()
            return .json { $0.value("done") }
        }
        try await withServer(stream + [slow]) { server in
            async let streamed = server.get("/events", headers: [("Accept", "text/event-stream")])
            async let answered = server.get("/slow")
            try await streams.pass()
            try await runs.pass()
            async let stopped: Void = server.stop()
            #expect(try await streamed.text == "data: hello\n\n")
            mayEnd.open()
            #expect(try await answered.json == "done")
            await stopped
        }
    }

    @Test("requests that do not finish within the grace of a shutdown are broken off", .timeLimit(.minutes(10)))
    func grace() async throws {
        let started = Gate()
        let stuck = Endpoint.public(.get, "/stuck", "Stuck", responses: [.noContent]) { _ in
            started.open()
            try await Task.sleep(for: .seconds(36_000))
            return .noContent
        }
        try await withServer([stuck], configure: { $0.shutdownGrace = .milliseconds(300) }) { server in
            async let answer = try? server.get("/stuck")
            try await started.pass()
            await server.stop()
            _ = await answer
        }
    }
}
