import HummingbirdCore
import Logging
import NIOCore

/// Runs tasks on one event loop.
///
/// A request whose task lives where its socket does changes threads only to reach the database.
final class EventLoopExecutor: TaskExecutor {
    private let eventLoop: any EventLoop

    init(_ eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        eventLoop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}

/// A kind of connection whose tasks run on the event loop of their socket.
///
/// What computes for long has to leave the loop with ``offEventLoop(if:_:)``: all connections of the loop wait meanwhile.
struct OnEventLoop<Base: ServerChildChannel>: ServerChildChannel {
    let base: Base

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Base.Value> {
        base.setup(channel: channel, logger: logger)
    }

    func handle(value: Base.Value, logger: Logger) async {
        await withTaskExecutorPreference(EventLoopExecutor(value.channel.eventLoop)) {
            await base.handle(value: value, logger: logger)
        }
    }
}

/// Runs what computes for long on the threads for computing, so that the caller's event loop goes on with its other
/// connections; afterwards the caller is back on its loop.
///
/// The way there and back takes some microseconds: for what takes less than about a hundred it is not worth it.
///
/// - Parameter isLong: Says whether to leave the loop at all, where that depends on a size.
package func offEventLoop<Value: Sendable>(
    if isLong: Bool = true,
    _ compute: @Sendable () async throws -> Value
) async rethrows -> Value {
    guard isLong else { return try await compute() }
    return try await withTaskExecutorPreference(globalConcurrentExecutor) { try await compute() }
}

extension ByteBuffer {
    /// Whether to parse, hash or compress it takes long for an event loop: from half a millisecond upwards.
    var isLong: Bool { readableBytes > 64 * 1_024 }
}
