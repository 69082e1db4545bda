import CPostgres
import Kernel

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// One connection in libpq's pipeline mode, used by one thread.
///
/// Whatever is sent gets a token in a queue, because libpq does not say which statement a result belongs to. Sending
/// never blocks: what the socket does not take stays in libpq's buffer until `collect` both reads and writes.
final class PostgresConnection {
    struct Token {
        enum Kind {
            /// BEGIN and the like: of interest only when it fails.
            case control
            case prepare(PostgresStatement)
            /// A statement of the body; results of those with a slot are kept.
            case statement(slot: Int?)
            case commit
            /// COMMIT or ROLLBACK that nobody waits for; the connection is of no use when it fails.
            case end
            /// A statement of a transaction that was given up, or housekeeping: nobody wants to know.
            case ignored
            case sync
        }

        var kind: Kind
        var violations: [ConstraintMapping] = []

        var isSync: Bool { if case .sync = kind { true } else { false } }
    }

    private let handle: OpaquePointer
    private var tokens: [Token] = []
    private var nextToken = 0
    private var cache = PostgresStatementCache()
    private var parameters = PostgresParameters()
    /// The number of pgvector's type in this database; 0 when it is not known.
    var vectorType: UInt32 = 0
    /// The connection must not be used any more.
    private(set) var isBroken = false
    /// The server is still at work on something that nobody will read.
    private var isBusyOnServer = false
    /// Roughly the bytes queued since the last Sync.
    ///
    /// The driver (libpq) sends by itself what passes 64 KiB.
    private var queuedBytes = 0
    /// When a result arrived last.
    private(set) var lastUse: UInt64 = 0
    /// The results of the statements with a slot, after `collect`.
    private var results: [PostgresRows?] = []
    /// How the server answered the last COMMIT that somebody waits for; empty until it did.
    private(set) var commitTag = ""

    private init(handle: OpaquePointer) { self.handle = handle }

    // MARK: Connecting

    /// Connects, and sets up the session with one more round trip.
    ///
    /// - Parameters:
    ///   - role: What the session acts as; nil for the URL's user.
    ///   - timeout: What the server enforces by itself; zero for none.
    static func connect(
        to url: Secret,
        role: String?,
        timeout: Duration,
        until deadline: UInt64,
        unless isStopped: () -> Bool = { false }
    ) throws(PostgresFailure) -> PostgresConnection {
        let handle = try PostgresHandshake.connect(to: url, until: deadline, unless: isStopped)
        let connection = PostgresConnection(handle: handle)
        do throws(PostgresFailure) {
            try connection.setUp(role: role, timeout: timeout, until: deadline)
        } catch {
            connection.close()
            throw error
        }
        return connection
    }

    private func setUp(role: String?, timeout: Duration, until deadline: UInt64) throws(PostgresFailure) {
        guard PQsetnonblocking(handle, 1) == 0, PQenterPipelineMode(handle) == 1 else {
            throw .lost(PostgresFailure.trimmed(PQerrorMessage(handle)))
        }
        var settings: [(String, String)] = [
            ("TimeZone", "UTC"), ("DateStyle", "ISO, YMD"), ("statement_timeout", String(timeout.wholeMilliseconds)),
            // Plans are kept, and one that was made while a table was small would read all of it later. Under
            // SERIALIZABLE that also locks all of it against everybody's changes.
            ("enable_seqscan", "off"),
            // What has to be read whole all the same looks so expensive then that it would be compiled first.
            ("jit", "off"),
        ]
        if timeout > .zero {
            // A node that hangs in the middle of a transaction does not hold its locks for ever.
            let idle = String((timeout + .seconds(5)).wholeMilliseconds)
            settings.append(("idle_in_transaction_session_timeout", idle))
        }
        if let role { settings.append(("role", role)) }
        let calls = settings.indices.map { "set_config($\($0 * 2 + 1), $\($0 * 2 + 2), false)" }
        do {
            let text = "SELECT to_regtype('vector')::oid, \(calls.joined(separator: ", "))"
            try send(text, settings.flatMap { [.text($0.0), .text($0.1)] }, as: .statement(slot: 0), isCached: false)
        } catch let error as PostgresFailure {
            throw error
        } catch {
            throw .lost("the settings of the session cannot be sent: \(error)")
        }
        try sync()
        try collect(until: deadline)
        readVectorType()
    }

    /// Reads the type's number out of the first column of the first result.
    func readVectorType() {
        guard let rows = takeResults().first, let rows, rows.next() != nil, !rows.isNull(0) else { return }
        vectorType = (try? rows.integer(0)).flatMap { UInt32(exactly: $0) } ?? 0
    }

    // MARK: Sending

    /// Queues one statement.
    ///
    /// - Throws: ``PostgresFailure``, or ``StorageError`` for a value that cannot be sent; nothing was queued then.
    func send(
        _ text: String,
        _ values: [SQLValue] = [],
        as kind: Token.Kind,
        violations: [ConstraintMapping] = [],
        isCached: Bool = true
    ) throws {
        defer { queuedBytes += parameters.bytes.count + text.utf8.count + 100 }
        parameters.removeAll()
        for value in values { try parameters.append(value, vectorType: vectorType) }
        guard let count = Int32(exactly: parameters.count), count <= 65_535 else {
            throw StorageError.unstorable("more than 65535 values in one statement")
        }
        guard isCached else {
            let status = parameters.withPointers { types, values, lengths, formats in
                PQsendQueryParams(handle, text, count, types, values, lengths, formats, 1)
            }
            try checkSent(status)
            tokens.append(Token(kind: kind, violations: violations))
            return
        }
        let (statement, isNew) = cache.statement(text, types: parameters.types)
        if isNew {
            let status = statement.types.withUnsafeBufferPointer { types in
                PQsendPrepare(handle, statement.name, text, count, types.baseAddress)
            }
            if status != 1 { cache.remove(statement) }
            try checkSent(status)
            tokens.append(Token(kind: .prepare(statement), violations: violations))
        }
        let status = parameters.withPointers { _, values, lengths, formats in
            PQsendQueryPrepared(handle, statement.name, count, values, lengths, formats, 1)
        }
        try checkSent(status)
        tokens.append(Token(kind: kind, violations: violations))
    }

    /// Queues what tells row level security whose rows the transaction may see.
    ///
    /// - Parameter readOnly: For transactions that no `BEGIN` says it of.
    func send(_ scope: DataScope, readOnly: Bool = false) throws {
        let settings: [SQLValue] =
            switch scope {
            case .organization(let scope): [.text(scope.id.description), .text("")]
            case .system(let purpose): [.text(""), .text(purpose.name)]
            }
        let text =
            readOnly
            ? """
            SELECT set_config('kuvend.organization_id', $1, true), set_config('kuvend.purpose', $2, true),
                set_config('transaction_read_only', 'on', true)
            """
            : "SELECT set_config('kuvend.organization_id', $1, true), set_config('kuvend.purpose', $2, true)"
        try send(text, settings, as: .control)
    }

    private func checkSent(_ status: Int32) throws(PostgresFailure) {
        guard status != 1 else { return }
        // Half of a message may be in the buffer.
        isBroken = true
        throw .lost(PostgresFailure.trimmed(PQerrorMessage(handle)))
    }

    /// Ends a batch: the server answers up to here, and an error skips no further than to here.
    func sync() throws(PostgresFailure) {
        try checkSent(PQpipelineSync(handle))
        tokens.append(Token(kind: .sync))
        queuedBytes = 0
    }

    /// Nobody will read what was sent so far.
    func ignoreOutstanding() {
        for index in nextToken..<tokens.count {
            switch tokens[index].kind {
            case .control, .statement, .commit: tokens[index].kind = .ignored
            case .prepare, .end, .ignored, .sync: break
            }
            tokens[index].violations = []
        }
    }

    /// Forgets all prepared statements, on both sides.
    ///
    /// Call it between transactions, before `sync`.
    func forgetStatements() throws {
        cache.removeAll()
        try send("DEALLOCATE ALL", as: .ignored, isCached: false)
    }

    /// Lets the server forget what the cache has dropped.
    func sendDiscarded() throws {
        guard !cache.discarded.isEmpty else { return }
        let names = cache.discarded
        cache.discarded = []
        for name in names {
            try send("DEALLOCATE \(name)", as: .ignored, isCached: false)
            // Each on its own: if one failed, the others would be skipped and stay.
            try sync()
        }
    }

    // MARK: Results

    var hasOutstanding: Bool { nextToken < tokens.count }

    func takeResults() -> [PostgresRows?] {
        defer { results = [] }
        return results
    }

    /// Reads the answers to everything that was sent, up to and with the last `sync`.
    ///
    /// - Throws: The first failure of a statement that somebody waits for, once all answers have been read.
    func collect(until deadline: UInt64) throws(PostgresFailure) {
        var failure: PostgresFailure?
        results = []
        commitTag = ""
        while nextToken < tokens.count {
            let token = tokens[nextToken]
            if case .sync = token.kind {
                guard let result = try nextResult(until: deadline) else { throw abandoned("a missing Sync") }
                let status = PQresultStatus(result)
                if status == PGRES_FATAL_ERROR {
                    let failed = PostgresFailure(result: result, isConnected: isConnected)
                    PQclear(result)
                    isBroken = true
                    throw failure ?? (failed.cause == .refused ? .lost(failed.message) : failed)
                }
                PQclear(result)
                guard status == PGRES_PIPELINE_SYNC else { throw abandoned("an answer out of order") }
                nextToken += 1
                continue
            }
            guard let result = try nextResult(until: deadline) else { throw abandoned("a missing answer") }
            nextToken += 1
            let refused = try take(result, of: token)
            if let refused, failure == nil {
                failure = refused
                if refused.cause != .refused {
                    isBroken = true
                    throw refused
                }
            }
            // Every answer ends with a NULL.
            guard try nextResult(until: deadline) == nil else { throw abandoned("more answers than questions") }
        }
        tokens.removeAll(keepingCapacity: true)
        nextToken = 0
        lastUse = monotonicNanoseconds()
        if let failure { throw failure }
    }

    /// Takes in one answer, and returns why it is not the one that was hoped for.
    private func take(_ result: OpaquePointer, of token: Token) throws(PostgresFailure) -> PostgresFailure? {
        let status = PQresultStatus(result)
        switch status {
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY:
            switch token.kind {
            case .prepare(let statement):
                statement.isConfirmed = true
            case .statement(let slot?):
                while results.count <= slot { results.append(nil) }
                results[slot] = PostgresRows(result, vectorType: vectorType)
                return nil
            case .commit:
                commitTag = PQcmdStatus(result).map { String(cString: $0) } ?? ""
            default: break
            }
            PQclear(result)
            return nil

        case PGRES_FATAL_ERROR:
            var failure = PostgresFailure(result: result, isConnected: isConnected)
            failure.violations = token.violations
            PQclear(result)
            if case .commit = token.kind { failure.isCommit = true }
            if case .prepare(let statement) = token.kind { cache.remove(statement) }
            guard failure.cause == .refused else { return failure }
            switch token.kind {
            case .ignored: return nil
            case .end:
                isBroken = true
                return .lost("the transaction before could not be ended: \(failure.message)")
            default: return failure
            }

        case PGRES_PIPELINE_ABORTED:
            PQclear(result)
            switch token.kind {
            case .prepare(let statement): cache.remove(statement)
            case .end:
                isBroken = true
                return .lost("the transaction before could not be ended")
            default: break
            }
            return nil

        default:
            // COPY, whose results never end.
            PQclear(result)
            throw abandoned("a statement that cannot run here")
        }
    }

    /// Asks several queries in one round trip, each in a transaction of its own that ends with its Sync.
    ///
    /// - Returns: The rows of each; nil where they did not come, for whatever reason.
    func rows(of queries: [PostgresQuery?], until deadline: UInt64) -> [PostgresRows?] {
        do {
            for (slot, query) in queries.enumerated() {
                guard let query else { continue }
                // What cannot be sent leaves nothing behind, and its Sync ends an empty transaction.
                do {
                    try send(query.scope, readOnly: true)
                    let (text, values) = query.sql.rendered(for: .postgres)
                    try send(text, values, as: .statement(slot: slot))
                } catch is StorageError {}
                try sync()
            }
            try collect(until: deadline)
        } catch {
            // The first that was refused; rows of the others have arrived unless the connection broke.
        }
        let rows = takeResults()
        if !isBroken { try? sendDiscarded() }
        return rows
    }

    private func abandoned(_ what: String) -> PostgresFailure {
        isBroken = true
        return .lost("the connection is out of step: \(what)")
    }

    private var isConnected: Bool { PQstatus(handle) == CONNECTION_OK }

    /// The next result; nil for the NULL between results.
    private func nextResult(until deadline: UInt64) throws(PostgresFailure) -> OpaquePointer? {
        while PQisBusy(handle) == 1 {
            let unsent = PQflush(handle)
            // -1: the reason is in what the server may have sent before, which is read below.
            let events = Int16(POLLIN) | (unsent == 1 ? Int16(POLLOUT) : 0)
            guard PQsocket(handle) >= 0 else { break }
            let ready = waitForSocket(of: handle, events, until: deadline)
            if ready == 0 {
                isBroken = true
                isBusyOnServer = true
                throw .late
            }
            if ready & ~Int16(POLLOUT) != 0, PQconsumeInput(handle) == 0 {
                // The connection broke. What was received is still there; PQgetResult returns it, or the error, and
                // does not block any more.
                break
            }
        }
        return PQgetResult(handle)
    }

    /// Reads what is left of the transaction before, so that the connection can rest.
    func drain() {
        guard hasOutstanding, !isBroken else { return }
        do {
            try collect(until: monotonicNanoseconds() &+ 5_000_000_000)
            _ = takeResults()
            if PQtransactionStatus(handle) != PQTRANS_IDLE { isBroken = true }
        } catch {
            isBroken = true
        }
    }

    /// Looks whether the server has hung up since the connection was used last; it is broken then.
    ///
    /// One system call.
    ///
    /// Called before a COMMIT, too, it tells a transaction that is lost for certain from one whose outcome is unknown.
    func checkAlive() {
        // Answers that are on their way would look like a farewell.
        guard !isBroken, queuedBytes < 32_768, tokens[nextToken...].allSatisfy({ !$0.isSync }) else { return }
        // A farewell is read first, then the end of the stream.
        for _ in 0..<4 {
            var descriptor = pollfd(fd: PQsocket(handle), events: Int16(POLLIN), revents: 0)
            guard descriptor.fd >= 0 else { break }
            guard poll(&descriptor, 1, 0) > 0 else { return }
            guard PQconsumeInput(handle) == 1 else { break }
        }
        isBroken = true
    }

    // MARK: Notifications

    /// Waits for notifications, for `wakeDescriptor` to become readable, or for the deadline.
    func notifications(until deadline: UInt64, wakeDescriptor: Int32) throws(PostgresFailure) -> [String] {
        var descriptors = [
            pollfd(fd: PQsocket(handle), events: Int16(POLLIN), revents: 0),
            pollfd(fd: wakeDescriptor, events: Int16(POLLIN), revents: 0),
        ]
        guard descriptors[0].fd >= 0 else { throw abandoned("no socket") }
        var payloads = pendingNotifications()
        guard payloads.isEmpty else { return payloads }
        let now = monotonicNanoseconds()
        let milliseconds = Int32(clamping: (deadline > now ? deadline - now : 0) / 1_000_000 + 1)
        guard poll(&descriptors, 2, milliseconds) > 0, descriptors[0].revents != 0 else { return [] }
        let isAlive = PQconsumeInput(handle) == 1
        payloads = pendingNotifications()
        guard isAlive else {
            isBroken = true
            throw .lost(PostgresFailure.trimmed(PQerrorMessage(handle)))
        }
        return payloads
    }

    private func pendingNotifications() -> [String] {
        var payloads: [String] = []
        while let notification = PQnotifies(handle) {
            if let extra = notification.pointee.extra { payloads.append(String(cString: extra)) }
            PQfreemem(notification)
        }
        return payloads
    }

    // MARK: Closing

    /// Frees the connection.
    ///
    /// Nothing may be called after it.
    func close() {
        isBroken = true
        PQfinish(handle)
    }

    /// Frees the connection; what the server still does for it is cancelled first, on a thread of its own, because
    /// libpq makes a connection for that and blocks.
    func close(using threads: ThreadGroup) {
        guard isBusyOnServer, let cancel = PQgetCancel(handle) else { return close() }
        isBroken = true
        let remains = PostgresRemains(handle: handle, cancel: cancel)
        if !threads.start("kuvend-cancel", { remains.bury() }) { remains.bury(cancelling: false) }
    }
}
