import HTTPTypes
import HummingbirdCore
import NIOCore
import ServiceLifecycle

/// Writes one stream until its source ends, its reader leaves or loses the right to read, its time is over or the server
/// shuts down.
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

    /// How long a stream may stay open.
    struct Watch: Sendable {
        /// At the latest after this time the stream ends; the reader comes back.
        let lifetime: Duration
        /// How often `isAllowed` is asked.
        let interval: Duration
        /// Whether the reader still has the right to read; nil when anybody has.
        let isAllowed: (@Sendable () async -> Bool)?

        /// Returns when the stream has to end, or is cancelled with it.
        fileprivate func ending() async {
            let end = ContinuousClock.now + lifetime
            while true {
                let now = ContinuousClock.now
                guard now < end else { return }
                let next = isAllowed == nil ? end : min(end, now + interval)
                do { try await Task.sleep(until: next, clock: .continuous) } catch { return }
                if let isAllowed, await !isAllowed() { return }
            }
        }
    }

    func run(_ stream: EventStream, until closed: EventLoopFuture<Void>, watchedBy watch: Watch) async throws {
        let (endings, ending) = AsyncStream.makeStream(of: Void.self)
        closed.whenComplete { _ in ending.finish() }
        try await withGracefulShutdownHandler {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { for await _ in endings {} }
                group.addTask { await watch.ending() }
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
