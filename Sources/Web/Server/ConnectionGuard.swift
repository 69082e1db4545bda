import HTTPTypes
import HummingbirdCore
import Kernel
import NIOCore
import NIOHTTPTypes

/// Watches one connection from its event loop: a body that does not arrive, a reader that takes nothing, a stream
/// that is silent or whose reader has left, and the end of a connection that cannot go on.
///
/// Requests that arrive whole, which is nearly all, set no timer.
final class ConnectionGuard: ChannelDuplexHandler, RemovableChannelHandler {
    struct Times: Sendable {
        /// From the head of a request to the end of its body.
        var body: TimeAmount
        /// How long a reader may take nothing.
        var stall: TimeAmount
        /// How long a stream may be silent.
        var heartbeat: TimeAmount
        /// How long what is left of a refused body is discarded, so that the answer can be read.
        var linger = TimeAmount.seconds(1)
    }

    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private static let comment = ByteBuffer(staticString: ":\n\n")

    private let times: Times
    private var isReading = false
    private var isStreaming = false
    private var isInputClosed = false
    private var wroteLately = false
    private var closesAfterResponse = false
    private var closesAfterRequest = false
    private var bodyTimer: Scheduled<Void>?
    private var stallTimer: Scheduled<Void>?
    private var heartbeatTimer: Scheduled<Void>?
    private var lingerTimer: Scheduled<Void>?

    init(_ times: Times) { self.times = times }

    func handlerRemoved(context: ChannelHandlerContext) { cancelTimers() }

    func channelInactive(context: ChannelHandlerContext) {
        cancelTimers()
        context.fireChannelInactive()
    }

    private func cancelTimers() {
        for timer in [bodyTimer, stallTimer, heartbeatTimer, lingerTimer] { timer?.cancel() }
        (bodyTimer, stallTimer, heartbeatTimer, lingerTimer) = (nil, nil, nil, nil)
    }

    // MARK: Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head: isReading = true
        case .body: break
        case .end:
            isReading = false
            bodyTimer?.cancel()
            bodyTimer = nil
        }
        context.fireChannelRead(data)
        if closesAfterRequest, !isReading { context.close(promise: nil) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if isReading, bodyTimer == nil {
            bodyTimer = schedule(times.body, context) { guardian, context in
                guardian.bodyTimer = nil
                guardian.closesAfterResponse = true
                context.fireErrorCaught(BodyTimeout())
            }
        }
        context.fireChannelReadComplete()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        context.fireUserInboundEventTriggered(event)
        guard let event = event as? ChannelEvent, event == .inputClosed else { return }
        isInputClosed = true
        if isStreaming { context.close(promise: nil) }
    }

    // MARK: Responses

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head(let head) where head.status == .badRequest && head.headerFields[.requestID] == nil:
            refuse(context, promise)
        case .head(let head):
            if head.headerFields[.connection] == "close" { closesAfterResponse = true }
            if head.headerFields[.contentType] == "text/event-stream" {
                isStreaming = true
                // Whoever reads a stream and has closed its side has left.
                guard !isInputClosed else {
                    promise?.fail(ChannelError.inputClosed)
                    return context.close(promise: nil)
                }
                scheduleHeartbeat(context)
            }
            context.write(data, promise: promise)
        case .body:
            wroteLately = true
            context.write(data, promise: promise)
        case .end:
            isStreaming = false
            heartbeatTimer?.cancel()
            heartbeatTimer = nil
            guard closesAfterResponse else { return context.write(data, promise: promise) }
            let written = promise ?? context.eventLoop.makePromise()
            written.futureResult.assumeIsolated().whenComplete { _ in self.closeOnceRead(context) }
            context.writeAndFlush(data, promise: written)
        }
    }

    /// Says what is wrong with a request that is no HTTP.
    ///
    /// Hummingbird answers those itself, with a 400 that has neither body nor request id, and closes the connection.
    private func refuse(_ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>?) {
        let id = ID<Request>().description
        let problem = Problem(.badRequest, "request.malformed", "This is no request of HTTP/1.1 that can be read here.")
        let response = Response(problem, requestID: id)
        var head = HTTPResponse(status: response.status, headerFields: response.headers)
        head.headerFields[.requestID] = id
        head.headerFields[.connection] = "close"
        guard case .bytes(let body) = response.content else {
            return context.write(wrapOutboundOut(.head(head)), promise: promise)
        }
        head.headerFields[.contentLength] = String(body.readableBytes)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(body)), promise: promise)
    }

    private func closeOnceRead(_ context: ChannelHandlerContext) {
        guard isReading else { return context.close(promise: nil) }
        closesAfterRequest = true
        lingerTimer = schedule(times.linger, context) { _, context in context.close(promise: nil) }
    }

    private func scheduleHeartbeat(_ context: ChannelHandlerContext) {
        wroteLately = false
        heartbeatTimer = schedule(times.heartbeat, context) { guardian, context in
            if !guardian.wroteLately, context.channel.isWritable {
                context.writeAndFlush(guardian.wrapOutboundOut(.body(Self.comment)), promise: nil)
            }
            guardian.scheduleHeartbeat(context)
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        stallTimer?.cancel()
        stallTimer = nil
        if !context.channel.isWritable {
            stallTimer = schedule(times.stall, context) { _, context in context.close(promise: nil) }
        }
        context.fireChannelWritabilityChanged()
    }

    private func schedule(
        _ time: TimeAmount,
        _ context: ChannelHandlerContext,
        _ action: @escaping (ConnectionGuard, ChannelHandlerContext) -> Void
    ) -> Scheduled<Void> {
        context.eventLoop.assumeIsolated().scheduleTask(in: time) { action(self, context) }
    }
}

@available(*, unavailable)
extension ConnectionGuard: Sendable {}
