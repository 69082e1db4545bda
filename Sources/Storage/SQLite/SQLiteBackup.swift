import Foundation
import GRDBSQLite
import Kernel
import Synchronization

/// Why there is no backup.
///
/// The database itself is unharmed.
package enum BackupError: Error, Sendable, CustomStringConvertible {
    /// Something is there already: a file, or the log of a database that is in use.
    case exists(path: String)
    case failed(path: String, reason: String)

    package var description: String {
        switch self {
        case .exists(let path): "\(path) exists already"
        case .failed(let path, let reason): "cannot write \(path): \(reason)"
        }
    }
}

extension SQLiteDatabase {
    /// Writes a consistent copy of the database as it is now.
    ///
    /// Readers and writers go on meanwhile.
    ///
    /// The copy is made under a name of its own, checked, synced and then renamed, so `path` never names half a copy.
    /// It reads from one snapshot on a connection of its own; the log cannot be emptied until it has ended.
    ///
    /// - Parameter replacing: Whether a file at `path` may be replaced.
    package func backup(to path: String, replacing: Bool = false) async throws {
        let source = self.path
        let isCancelled = CancellationFlag()
        let result = await withTaskCancellationHandler {
            await onOwnThread("kuvend-backup") {
                Result { try copyDatabase(from: source, to: path, replacing: replacing, isCancelled: isCancelled) }
            }
        } onCancel: {
            isCancelled.set()
        }
        try result.get()
    }

    /// Reads every page and every reference between rows.
    ///
    /// Readers and writers go on meanwhile.
    ///
    /// - Returns: What is wrong, at most 100 findings; empty when nothing is.
    package func checkIntegrity() async throws -> [String] {
        let path = self.path
        return try await onOwnThread("kuvend-check") {
            Result { () throws -> [String] in
                try withFile(path, flags: SQLITE_OPEN_READONLY) { handle in
                    try findings("PRAGMA integrity_check(100)", on: handle, from: 0).filter { $0 != "ok" }
                        + findings("PRAGMA foreign_key_check", on: handle, from: 0).prefix(100).map {
                            "a row of \($0) refers to nothing"
                        }
                }
            }
        }.get()
    }
}

private final class CancellationFlag: Sendable {
    private let flag = Atomic<Bool>(false)

    var isSet: Bool { flag.load(ordering: .relaxed) }

    func set() { flag.store(true, ordering: .relaxed) }
}

private func copyDatabase(from source: String, to path: String, replacing: Bool, isCancelled: CancellationFlag) throws {
    if !replacing, exists(path) { throw BackupError.exists(path: path) }
    // The log of whatever was there would be taken for the copy's.
    for log in ["\(path)-wal", "\(path)-journal"] where exists(log) { throw BackupError.exists(path: log) }
    let partial = "\(path).\(UInt64.random(in: 0...(.max)))-partial"
    defer {
        for leftover in [partial, "\(partial)-wal", "\(partial)-shm", "\(partial)-journal"] { unlink(leftover) }
    }
    let descriptor = open(partial, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw BackupError.failed(path: path, reason: String(cString: strerror(errno))) }
    _ = Foundation.close(descriptor)

    do {
        try withFile(source, flags: SQLITE_OPEN_READONLY) { source in
            // The snapshot: without it, each change to the source would start the copy anew.
            try run("BEGIN", on: source)
            _ = try findings("SELECT count(*) FROM sqlite_schema", on: source, from: 0)
            try withFile(partial, flags: SQLITE_OPEN_READWRITE) { target in
                try copyPages(from: source, to: target, isCancelled: isCancelled)
                let findings = try findings("PRAGMA quick_check(1)", on: target, from: 0)
                guard findings == ["ok"] else {
                    throw BackupError.failed(path: path, reason: findings.first ?? "the check said nothing")
                }
            }
            try run("COMMIT", on: source)
        }
    } catch let error as SQLiteFailure {
        throw BackupError.failed(path: path, reason: error.message)
    }
    try sync(partial, for: path)
    // A link does not replace what came there in the meantime, a renaming does.
    guard (replacing ? rename(partial, path) : link(partial, path)) == 0 else {
        throw errno == EEXIST
            ? BackupError.exists(path: path)
            : BackupError.failed(path: path, reason: String(cString: strerror(errno)))
    }
    try sync(URL(fileURLWithPath: path).deletingLastPathComponent().path, for: path)
}

private func copyPages(from source: OpaquePointer, to target: OpaquePointer, isCancelled: CancellationFlag) throws {
    guard let backup = sqlite3_backup_init(target, "main", source, "main") else { throw SQLiteFailure(target) }
    var code: Int32
    repeat {
        code = sqlite3_backup_step(backup, 1_000)
    } while code == SQLITE_OK && !isCancelled.isSet
    let end = sqlite3_backup_finish(backup)
    if code == SQLITE_OK { throw CancellationError() }
    guard code == SQLITE_DONE, end == SQLITE_OK else { throw SQLiteFailure(target) }
}

/// Opens a file for a while, on the calling thread.
private func withFile<Value>(_ path: String, flags: Int32, _ body: (OpaquePointer) throws -> Value) throws -> Value {
    var handle: OpaquePointer?
    let code = sqlite3_open_v2(path, &handle, flags | SQLITE_OPEN_NOMUTEX, nil)
    defer { sqlite3_close_v2(handle) }
    guard code == SQLITE_OK, let handle else {
        throw StorageError.unavailable("\(path): \(String(cString: sqlite3_errstr(code)))")
    }
    sqlite3_extended_result_codes(handle, 1)
    sqlite3_busy_timeout(handle, SQLiteDatabase.lockPatience)
    return try body(handle)
}

private func run(_ text: String, on handle: OpaquePointer) throws { _ = try findings(text, on: handle, from: 0) }

/// One column of every row, as text.
private func findings(_ text: String, on handle: OpaquePointer, from column: Int32) throws -> [String] {
    var statement: OpaquePointer?
    guard sqlite3_prepare_v2(handle, text, -1, &statement, nil) == SQLITE_OK else { throw SQLiteFailure(handle) }
    defer { sqlite3_finalize(statement) }
    var texts: [String] = []
    while true {
        switch sqlite3_step(statement) {
        case SQLITE_ROW: texts.append(sqlite3_column_text(statement, column).map { String(cString: $0) } ?? "")
        case SQLITE_DONE: return texts
        default: throw SQLiteFailure(handle)
        }
    }
}

private func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

/// Makes a file or the entries of a directory durable.
private func sync(_ place: String, for path: String) throws {
    let descriptor = open(place, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw BackupError.failed(path: path, reason: String(cString: strerror(errno))) }
    defer { _ = Foundation.close(descriptor) }
    guard fsync(descriptor) == 0 else { throw BackupError.failed(path: path, reason: String(cString: strerror(errno))) }
}
