import CZlib
import NIOCore
import Synchronization

/// Compresses whole answers.
///
/// A stream's memory (about 260 KB) is kept for the next answer; as many stay as were in use at once, at most eight.
final class Gzip: Sendable {
    private static let mostIdle = 8

    private let level: Int32
    private let idle = Mutex<[Deflater]>([])

    /// - Parameter level: 1 (fast) to 9 (small).
    init(level: Int) { self.level = Int32(min(max(level, 1), 9)) }

    /// The bytes as one gzip member, or nil when they do not get smaller.
    func compress(_ buffer: ByteBuffer) -> ByteBuffer? {
        guard let deflater = idle.withLock({ $0.popLast() }) ?? Deflater(level: level) else { return nil }
        let compressed = deflater.compress(buffer)
        idle.withLock { idle in
            if idle.count < Self.mostIdle { idle.append(deflater) }
        }
        return compressed
    }
}

/// One zlib stream.
///
/// Unchecked: `Gzip` hands it to one caller at a time, and nobody else holds it.
private final class Deflater: @unchecked Sendable {
    private let stream: UnsafeMutablePointer<z_stream>

    init?(level: Int32) {
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        // 15 bits of window, and 16 more to ask for gzip's framing instead of zlib's.
        let status = deflateInit2_(
            stream,
            level,
            Z_DEFLATED,
            15 + 16,
            8,
            Z_DEFAULT_STRATEGY,
            ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size)
        )
        guard status == Z_OK else {
            stream.deallocate()
            return nil
        }
    }

    deinit {
        deflateEnd(stream)
        stream.deallocate()
    }

    func compress(_ input: ByteBuffer) -> ByteBuffer? {
        guard let size = UInt32(exactly: input.readableBytes), deflateReset(stream) == Z_OK else { return nil }
        var output = ByteBufferAllocator().buffer(capacity: input.readableBytes)
        let isDone = input.withUnsafeReadableBytes { source in
            output.writeWithUnsafeMutableBytes(minimumWritableBytes: input.readableBytes) { target in
                stream.pointee.next_in = UnsafeMutablePointer(
                    mutating: source.bindMemory(to: UInt8.self).baseAddress
                )
                stream.pointee.avail_in = size
                stream.pointee.next_out = target.bindMemory(to: UInt8.self).baseAddress
                stream.pointee.avail_out = size
                // Room for as much as there was: what does not fit into it is better sent as it is.
                return deflate(stream, Z_FINISH) == Z_STREAM_END ? Int(size - stream.pointee.avail_out) : 0
            }
        }
        return isDone > 0 ? output : nil
    }
}
