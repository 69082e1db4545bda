import CPostgres

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Returns what a connection's socket is ready for; 0 when the deadline passed.
func waitForSocket(of handle: OpaquePointer, _ events: Int16, until deadline: UInt64) -> Int16 {
    var descriptor = pollfd(fd: PQsocket(handle), events: events, revents: 0)
    while true {
        let milliseconds: Int32
        if deadline == .max {
            milliseconds = -1
        } else {
            let now = monotonicNanoseconds()
            guard now < deadline else { return 0 }
            milliseconds = Int32(clamping: (deadline - now) / 1_000_000 + 1)
        }
        let count = poll(&descriptor, 1, milliseconds)
        if count > 0 { return descriptor.revents }
        if count == 0 { return 0 }
        guard errno == EINTR || errno == EAGAIN else { return Int16(POLLERR) }
    }
}
