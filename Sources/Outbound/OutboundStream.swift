import AsyncHTTPClient
import Kernel
import NIOCore
import NIOHTTP1

/// A response whose body is still coming in.
///
/// Usable only inside of the closure that it was handed to.
package struct OutboundStream: Sendable {
    package let status: Int
    package let headers: OutboundHeaders
    /// The body in the pieces in which it comes; to be read once.
    package let chunks: OutboundChunks

    init(_ response: HTTPClientResponse, _ request: OutboundRequest, _ progress: ExchangeProgress) {
        status = Int(response.status.code)
        headers = OutboundHeaders(response.headers)
        chunks = OutboundChunks(body: response.body, limit: request.maximumResponseBytes, progress: progress)
    }

    package var isSuccess: Bool { (200..<300).contains(status) }

    /// The whole body; the byte cap is that of the request.
    package func readAll() async throws -> [UInt8] {
        var bytes: [UInt8] = []
        for try await chunk in chunks { bytes += chunk }
        return bytes
    }
}

/// The pieces of a body, each fetched when it is asked for.
///
/// Throws `OutboundError`.
package struct OutboundChunks: AsyncSequence, Sendable {
    package typealias Element = [UInt8]

    let body: HTTPClientResponse.Body
    let limit: Int
    let progress: ExchangeProgress

    package func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(body: body.makeAsyncIterator(), limit: limit, progress: progress)
    }

    package struct AsyncIterator: AsyncIteratorProtocol {
        var body: HTTPClientResponse.Body.AsyncIterator
        let limit: Int
        let progress: ExchangeProgress
        var count = 0

        package mutating func next() async throws -> [UInt8]? {
            do {
                progress.beginRead()
                defer { progress.endRead() }
                guard let buffer = try await body.next() else { return nil }
                count += buffer.readableBytes
                guard count <= limit else { throw OutboundError.tooLarge(limit: limit) }
                return Array(buffer.readableBytesView)
            } catch {
                let failure = OutboundError(mapping: error, whileConnecting: false)
                progress.failed(failure)
                throw failure
            }
        }
    }
}
