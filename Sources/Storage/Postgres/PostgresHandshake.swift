import CPostgres
import Kernel

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The beginning of a connection, up to where the server has let it in.
enum PostgresHandshake {
    /// - Returns: An open connection, which the caller closes.
    static func connect(
        to url: Secret,
        until deadline: UInt64,
        unless isStopped: () -> Bool
    ) throws(PostgresFailure) -> OpaquePointer {
        guard PostgresConfiguration.canRead(url) else { throw .lost("the URL of the database cannot be read") }

        // In this order the URL can change the first ones, but not the last.
        let settings = [
            ("application_name", "kuvend"), ("keepalives_idle", "30"), ("keepalives_interval", "10"),
            ("keepalives_count", "3"), ("tcp_user_timeout", "30000"), ("dbname", url.exposed),
            ("client_encoding", "UTF8"),
        ]
        let strings = settings.map { (strdup($0.0), strdup($0.1)) }
        defer {
            for (name, value) in strings {
                free(name)
                free(value)
            }
        }
        let names = strings.map { UnsafePointer<CChar>($0.0) } + [nil]
        let values = strings.map { UnsafePointer<CChar>($0.1) } + [nil]
        guard let handle = PQconnectStartParams(names, values, 1) else { throw .lost("out of memory") }
        _ = PQsetNoticeReceiver(handle, { _, _ in }, nil)
        do throws(PostgresFailure) {
            try finish(handle, until: deadline, unless: isStopped)
        } catch {
            PQfinish(handle)
            throw error
        }
        return handle
    }

    private static func finish(
        _ handle: OpaquePointer,
        until deadline: UInt64,
        unless isStopped: () -> Bool
    ) throws(PostgresFailure) {
        guard PQstatus(handle) != CONNECTION_BAD else { throw .lost(PostgresFailure.trimmed(PQerrorMessage(handle))) }
        var state = PGRES_POLLING_WRITING
        while true {
            switch state {
            case PGRES_POLLING_OK: return
            case PGRES_POLLING_READING, PGRES_POLLING_WRITING:
                // In slices, so that closing the pool does not wait for a server that does not answer.
                let events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT
                let slice = min(deadline, monotonicNanoseconds() &+ 200_000_000)
                let isReady = waitForSocket(of: handle, Int16(events), until: slice) != 0
                guard !isStopped() else { throw .lost("the database has been closed") }
                if !isReady {
                    guard monotonicNanoseconds() < deadline else {
                        throw .lost("no connection within the time allowed")
                    }
                    continue
                }
            default: throw .lost(PostgresFailure.trimmed(PQerrorMessage(handle)))
            }
            state = PQconnectPoll(handle)
        }
    }
}
