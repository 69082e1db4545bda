import HTTPTypes
import HummingbirdCore
import NIOCore
import ServiceLifecycle

/// Writes one stream until its source ends, its reader leaves or the server shuts down.
///
/// Unchecked: `writer` is a value around `NIOAsyncChannelOutboundWriter`, which is `Sendable` and may be used by several
/// tasks; Hummingbird's protocol only does not say so. It is copied before each use, never changed.
final class EventSink: @unchecked Sendable {
    private let writer: any ResponseBodyWriter

    init(_ writer: any ResponseBodyWriter) { self.writer = writer }

    private func write(_ buffer: ByteBuffer) async throws {
        var writer = writer
        try await writer.write(buffer)
    }

    func run(_ stream: EventStream, until closed: EventLoopFuture<Void>) async throws {
        let (endings, ending) = AsyncStream.makeStream(of: Void.self)
        closed.whenComplete { _ in ending.finish() }
        try await withGracefulShutdownHandler {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { for await _ in endings {} }
                group.addTask {
                    do {
                        try await stream.produce(EventWriter { try await self.write($0) })
                    } catch  where Task.isCancelled {
                        // The stream was ended from outside; what its source says about that tells nothing.
                    }
                }
                try await group.next()
                group.cancelAll()
                try await group.waitForAll()
            }
        } onGracefulShutdown: {
            ending.finish()
        }
    }

    func finish() async throws { try await writer.finish(nil) }
}
