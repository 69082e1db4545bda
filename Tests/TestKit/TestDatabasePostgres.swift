import CPostgres
import Foundation
import Kernel
import Logging
import Storage

package struct TestDatabaseError: Error, CustomStringConvertible {
    package let description: String
}

/// Databases of the cluster that `KUVEND_TEST_DATABASE_URL` names, by a user who may create them.
///
/// Only databases whose names begin with `test_` are made, opened or dropped; the one that the URL names serves to give
/// the orders.
enum PostgresTestDatabase {
    private static let templates = TestTemplates()
    /// Each holds up to a dozen connections, and other test processes may share the cluster.
    private static let places = TestPlaces(count: 8)

    static func copy(of migrations: [Migration]) async throws -> TestDatabaseCopy {
        guard let url = ProcessInfo.processInfo.environment["KUVEND_TEST_DATABASE_URL"], !url.isEmpty else {
            throw TestDatabaseError(
                description: """
                    KUVEND_TEST_DATABASE_URL is not set, so the tests on PostgreSQL cannot run. ./test sets it, or: \
                    export KUVEND_TEST_DATABASE_URL=$(Scripts/postgres.sh start)
                    """
            )
        }
        let fingerprint = TestDatabase.fingerprint(of: migrations)
        let template = "test_template_\(fingerprint)"
        await places.enter()
        do {
            try await templates.make("leftovers") { try await command(at: url) { try $0.dropLeftovers() } }
            try await templates.make(fingerprint) { try await makeTemplate(template, of: migrations, at: url) }
            let name = "test_\(getpid())_\(String(UInt64.random(in: 0...(.max)), radix: 36))"
            try await command(at: url) { try $0.create(name, from: template) }
            return TestDatabaseCopy(
                url: try uri(of: name, at: url),
                open: { limits, signals in
                    try await PostgresDatabase(
                        configuration: PostgresConfiguration(
                            url: try address(of: name, at: url),
                            maximumConnections: limits.connections,
                            acquireTimeout: limits.patience,
                            transactionTimeout: limits.body,
                            connectTimeout: .seconds(60)
                        ),
                        signals: signals,
                        logger: TestDatabase.logger
                    )
                },
                delete: {
                    let result = await Result { try await command(at: url) { try $0.drop(name) } }
                    await places.leave()
                    try result.get()
                }
            )
        } catch {
            await places.leave()
            throw error
        }
    }

    /// Makes the template unless another process has; under a lock, and under another name until it is complete.
    private static func makeTemplate(_ template: String, of migrations: [Migration], at url: String) async throws {
        let session = try await command(at: url) { $0 }
        let exists = try await onThread {
            try session.execute("SELECT pg_advisory_lock(hashtextextended('\(template)', 0))")
            return try session.execute("SELECT FROM pg_database WHERE datname = '\(template)'") == 1
        }
        guard !exists else { return await close(session) }
        let building = template.replacing("test_template_", with: "test_building_")
        do {
            try await onThread {
                try session.drop(building)
                try session.create(building, from: "template0")
            }
            let database = try await PostgresDatabase(
                configuration: PostgresConfiguration(
                    url: address(of: building, at: url),
                    maximumConnections: 1,
                    connectTimeout: .seconds(60)
                ),
                signals: SignalHub(),
                logger: TestDatabase.logger
            )
            do {
                try await Migrator(migrations).apply(to: database)
            } catch {
                await database.close()
                throw error
            }
            await database.close()
            try await onThread { try session.rename(building, to: template) }
        } catch {
            await close(session)
            throw error
        }
        await close(session)
    }

    /// The URL with another database in it, as libpq's words.
    private static func address(of name: String, at url: String) throws -> Secret {
        let text = try parameters(of: name, at: url).map { key, value in
            let escaped = value.replacing("\\", with: "\\\\").replacing("'", with: "\\'")
            return "\(key)='\(escaped)'"
        }
        return Secret(text.joined(separator: " "))
    }

    /// The URL with another database in it, as a URL.
    private static func uri(of name: String, at url: String) throws -> String {
        let text = try parameters(of: name, at: url).map { key, value in
            "\(key)=\(value.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? "")"
        }
        return "postgresql://?" + text.joined(separator: "&")
    }

    private static func parameters(of name: String, at url: String) throws -> [String: String] {
        guard name.hasPrefix("test_") else { throw TestDatabaseError(description: "\(name) is no test database") }
        var message: UnsafeMutablePointer<CChar>?
        guard let options = PQconninfoParse(url, &message) else {
            defer { PQfreemem(message) }
            throw TestDatabaseError(
                description: "KUVEND_TEST_DATABASE_URL: \(message.map { String(cString: $0) } ?? "cannot be read")"
            )
        }
        defer { PQconninfoFree(options) }
        var pairs = ["dbname": name]
        var option = options
        while let keyword = option.pointee.keyword {
            let key = String(cString: keyword)
            if let value = option.pointee.val, key != "dbname" { pairs[key] = String(cString: value) }
            option += 1
        }
        return pairs
    }

    private static func command<Value: Sendable>(
        at url: String,
        _ body: @escaping @Sendable (PostgresSession) throws -> Value
    ) async throws -> Value {
        try await onThread { try body(try PostgresSession(url)) }
    }

    private static func close(_ session: PostgresSession) async {
        await Result { try await onThread { session.close() } }
    }

    private static func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value
    {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
        }
    }
}

extension Result where Failure == any Error {
    @discardableResult
    fileprivate init(_ body: () async throws -> Success) async {
        do {
            self = .success(try await body())
        } catch {
            self = .failure(error)
        }
    }
}

/// A plain connection for the commands that no transaction can hold.
///
/// `@unchecked Sendable`: libpq's connection is used by one caller at a time, under the lock.
private final class PostgresSession: @unchecked Sendable {
    private var connection: OpaquePointer?
    private let lock = NSLock()

    init(_ url: String) throws {
        connection = PQconnectdb(url)
        // Notices, such as that there was nothing to drop, would go to the output of the tests.
        PQsetNoticeProcessor(connection, { _, _ in }, nil)
        guard PQstatus(connection) == CONNECTION_OK else {
            let message = String(cString: PQerrorMessage(connection))
            PQfinish(connection)
            connection = nil
            throw TestDatabaseError(description: "cannot reach KUVEND_TEST_DATABASE_URL: \(message)")
        }
    }

    deinit { PQfinish(connection) }

    func close() {
        lock.withLock {
            PQfinish(connection)
            connection = nil
        }
    }

    /// - Returns: The number of rows.
    @discardableResult
    func execute(_ command: String) throws -> Int {
        try lock.withLock {
            let result = PQexec(connection, command)
            defer { PQclear(result) }
            guard [PGRES_COMMAND_OK, PGRES_TUPLES_OK].contains(PQresultStatus(result)) else {
                throw TestDatabaseError(description: "\(command): \(String(cString: PQerrorMessage(connection)))")
            }
            return Int(PQntuples(result))
        }
    }

    func create(_ name: String, from template: String) throws {
        try check(name)
        try execute("CREATE DATABASE \(name) TEMPLATE \(template) ENCODING 'UTF8' LOCALE 'C'")
    }

    func rename(_ name: String, to newName: String) throws {
        try check(name)
        try check(newName)
        try execute("ALTER DATABASE \(name) RENAME TO \(newName)")
    }

    func drop(_ name: String) throws {
        try check(name)
        try execute("DROP DATABASE IF EXISTS \(name) WITH (FORCE)")
    }

    /// Drops what processes of this machine left behind when they were killed.
    func dropLeftovers() throws {
        let host = lock.withLock { PQhost(connection).map { String(cString: $0) } } ?? ""
        guard host.hasPrefix("/") || ["127.0.0.1", "::1", "localhost"].contains(host) else { return }
        for name in try names("SELECT datname FROM pg_database WHERE datname ~ '^test_[0-9]+_'") {
            guard let process = name.split(separator: "_").dropFirst().first.flatMap({ Int32($0) }) else { continue }
            // Another process may be dropping it as well.
            if kill(process, 0) != 0, errno == ESRCH { try? drop(name) }
        }
    }

    private func names(_ query: String) throws -> [String] {
        try lock.withLock {
            let result = PQexec(connection, query)
            defer { PQclear(result) }
            guard PQresultStatus(result) == PGRES_TUPLES_OK else {
                throw TestDatabaseError(description: String(cString: PQerrorMessage(connection)))
            }
            return (0..<PQntuples(result)).compactMap { row in PQgetvalue(result, row, 0).map { String(cString: $0) } }
        }
    }

    private func check(_ name: String) throws {
        guard name.hasPrefix("test_"), name.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") })
        else {
            throw TestDatabaseError(description: "\(name) is no test database")
        }
    }
}

/// Lets a number of callers in, the others wait in order.
private actor TestPlaces {
    private var free: Int
    private var waiting: [CheckedContinuation<Void, Never>] = []

    init(count: Int) { free = count }

    func enter() async {
        if free > 0 {
            free -= 1
            return
        }
        await withCheckedContinuation { waiting.append($0) }
    }

    func leave() {
        if waiting.isEmpty { free += 1 } else { waiting.removeFirst().resume() }
    }
}
