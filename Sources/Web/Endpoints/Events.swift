package import HTTPTypes
import NIOCore

/// One event of a stream (HTML Living Standard §9.2).
package struct StreamEvent: Sendable, Hashable {
    /// What `Last-Event-ID` will name.
    ///
    /// Must not contain line breaks or U+0000; they are left out.
    package let id: String?
    /// The kind, `message` when nil.
    ///
    /// The same holds.
    package let event: String?
    /// Any text; line breaks arrive as `\n`.
    package let data: String

    package init(id: String? = nil, event: String? = nil, data: String) {
        self.id = id
        self.event = event
        self.data = data
    }

    func write(to buffer: inout ByteBuffer) {
        if let id { Self.field("id: ", id, to: &buffer) }
        if let event { Self.field("event: ", event, to: &buffer) }
        buffer.writeStaticString("data: ")
        if data.utf8.contains(where: { $0 == 0x0A || $0 == 0x0D }) {
            writeLines(to: &buffer)
        } else {
            buffer.writeString(data)
        }
        buffer.writeStaticString("\n\n")
    }

    private func writeLines(to buffer: inout ByteBuffer) {
        var isAfterReturn = false
        for byte in data.utf8 {
            switch byte {
            case 0x0A where isAfterReturn: isAfterReturn = false
            case 0x0A, 0x0D:
                buffer.writeStaticString("\ndata: ")
                isAfterReturn = byte == 0x0D
            default:
                buffer.writeInteger(byte)
                isAfterReturn = false
            }
        }
    }

    private static func field(_ name: StaticString, _ value: String, to buffer: inout ByteBuffer) {
        buffer.writeStaticString(name)
        buffer.writeBytes(value.utf8.lazy.filter { $0 != 0x0A && $0 != 0x0D && $0 != 0 })
        buffer.writeStaticString("\n")
    }
}

/// Where the events of one stream are written.
///
/// Each call is one flush, and waits while the reader is behind.
package struct EventWriter: Sendable {
    let write: @Sendable (ByteBuffer) async throws -> Void

    package func send(_ event: StreamEvent) async throws { try await send(CollectionOfOne(event)) }

    /// Sends several events at once.
    package func send(_ events: some Collection<StreamEvent>) async throws {
        guard !events.isEmpty else { return }
        var buffer = ByteBuffer()
        for event in events { event.write(to: &buffer) }
        try await write(buffer)
    }
}

struct EventStream: Sendable {
    let produce: @Sendable (EventWriter) async throws -> Void
    /// What a repeated request with the same idempotency key receives instead of the stream.
    let replay: ReplayedReply?
}

/// A buffered answer, boxed because a reply that holds a stream holds one.
final class ReplayedReply: Sendable {
    let response: Response

    init(_ response: Response) { self.response = response }
}

extension Response {
    /// A live stream.
    ///
    /// `produce` is cancelled when the reader has left or lost the right to read, when the stream has been open for long
    /// and when the server shuts down; the reader comes back with `Last-Event-ID`. While it is silent, comments keep the connection alive.
    ///
    /// - Parameter replay: The buffered answer for a request that repeats this one's idempotency key. Without it such a
    ///   request is told that the answer is lost.
    package static func events(
        status: HTTPResponse.Status = .ok,
        replay: Response? = nil,
        _ produce: @escaping @Sendable (EventWriter) async throws -> Void
    ) -> Response {
        var headers = HTTPFields()
        headers.append(HTTPField(name: .contentType, value: "text/event-stream"))
        headers.append(HTTPField(name: .cacheControl, value: "no-cache"))
        headers.append(HTTPField(name: .accelBuffering, value: "no"))
        let stream = EventStream(produce: produce, replay: replay.map(ReplayedReply.init))
        return Response(status, headers: headers, content: .events(stream))
    }

    /// A live stream of the elements of a sequence; see ``events(status:replay:_:)``.
    package static func events<Events: AsyncSequence & Sendable>(
        _ events: Events,
        status: HTTPResponse.Status = .ok,
        replay: Response? = nil
    ) -> Response where Events.Element == StreamEvent {
        self.events(status: status, replay: replay) { writer in
            for try await event in events { try await writer.send(event) }
        }
    }
}
