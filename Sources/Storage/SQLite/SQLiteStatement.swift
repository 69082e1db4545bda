import GRDBSQLite
import Kernel

/// One prepared statement of one connection, and the row it stands on.
///
/// Like its connection it is used by one thread at a time. The connection makes sure that nobody uses it twice at a time.
final class SQLiteStatement: RowSource, Rows {
    private let pointer: OpaquePointer
    private let handle: OpaquePointer
    private let columnCount: Int32
    private let parameterCount: Int32
    /// Room for the text of one id or timestamp per parameter, which SQLite may read as long as the statement lives.
    private let scratch: UnsafeMutablePointer<UInt8>
    /// Whether it would begin or end the transaction that several bodies share.
    let controlsTransaction: Bool
    var isInUse = false
    /// When the statement was last used, in uses of the connection's statements.
    var lastUse: UInt64 = 0

    private static let scratchWidth = 36

    /// - Throws: ``SQLiteFailure``
    init(_ text: String, on handle: OpaquePointer) throws {
        var pointer: OpaquePointer?
        var text = text
        let isSingle = try text.withUTF8 { bytes in
            guard let base = bytes.baseAddress, bytes.count < Int(Int32.max) else {
                throw SQLiteFailure(code: SQLITE_MISUSE, message: "a statement of \(bytes.count) bytes")
            }
            return try base.withMemoryRebound(to: CChar.self, capacity: bytes.count) { characters in
                var rest: UnsafePointer<CChar>?
                let code = sqlite3_prepare_v3(
                    handle,
                    characters,
                    Int32(bytes.count),
                    UInt32(SQLITE_PREPARE_PERSISTENT),
                    &pointer,
                    &rest
                )
                guard code == SQLITE_OK else { throw SQLiteFailure(handle) }
                let used = rest.map { characters.distance(to: $0) } ?? bytes.count
                return bytes[used...].allSatisfy { [0x20, 0x09, 0x0A, 0x0D, UInt8(ascii: ";")].contains($0) }
            }
        }
        guard let pointer else { throw SQLiteFailure(code: SQLITE_MISUSE, message: "an empty statement") }
        guard isSingle else {
            sqlite3_finalize(pointer)
            throw SQLiteFailure(code: SQLITE_MISUSE, message: "more than one command in a statement")
        }
        self.pointer = pointer
        self.handle = handle
        let command = text.drop { $0.isWhitespace }.prefix { $0.isLetter }.uppercased()
        controlsTransaction = ["BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"].contains(command)
        columnCount = sqlite3_column_count(pointer)
        parameterCount = sqlite3_bind_parameter_count(pointer)
        scratch = .allocate(capacity: Int(parameterCount) * Self.scratchWidth)
    }

    deinit {
        sqlite3_finalize(pointer)
        scratch.deallocate()
    }

    // MARK: Stepping

    /// Whether there is a row.
    ///
    /// - Throws: ``SQLiteFailure``
    func step() throws -> Bool {
        switch sqlite3_step(pointer) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        default: throw SQLiteFailure(handle)
        }
    }

    func next() throws -> Row? { try step() ? Row(source: self) : nil }

    func reset() {
        sqlite3_reset(pointer)
        sqlite3_clear_bindings(pointer)
    }

    // MARK: Binding

    /// - Throws: `StorageError.unstorable`, ``SQLiteFailure``
    func bind(_ values: [SQLValue]) throws {
        guard values.count == Int(parameterCount) else {
            throw SQLiteFailure(code: SQLITE_RANGE, message: "\(values.count) values for \(parameterCount) parameters")
        }
        var index: Int32 = 0
        for value in values {
            index += 1
            try value.checkStorable()
            guard bind(value, at: index) == SQLITE_OK else { throw SQLiteFailure(handle) }
        }
    }

    private func bind(_ value: SQLValue, at index: Int32) -> Int32 {
        switch value {
        case .null: sqlite3_bind_null(pointer, index)
        case .bool(let flag): sqlite3_bind_int64(pointer, index, flag ? 1 : 0)
        case .integer(let number): sqlite3_bind_int64(pointer, index, number)
        case .double(let number): sqlite3_bind_double(pointer, index, number)
        case .text(let text), .json(let text), .decimal(let text): bind(text, at: index)
        case .bytes(let bytes): bytes.withUnsafeBytes { bind($0, at: index) }
        case .uuid(let high, let low):
            bindScratch(at: index) { buffer in
                ID<SQLiteStatement>(high: high, low: low)
                    .write(into: UnsafeMutableRawBufferPointer(start: buffer, count: Self.scratchWidth))
                return 36
            }
        case .timestamp(let time):
            bindScratch(at: index) { buffer in
                time.write(into: UnsafeMutableBufferPointer(start: buffer, count: Self.scratchWidth))
                return 24
            }
        case .textArray(let texts): bind(encodeTextArray(texts), at: index)
        case .inet(let text): bind(canonicalAddress(text) ?? text, at: index)
        case .vector(let elements):
            #if _endian(little)
            elements.withUnsafeBytes { bind($0, at: index) }
            #else
            elements.map(\.bitPattern.littleEndian).withUnsafeBytes { bind($0, at: index) }
            #endif
        }
    }

    private func bind(_ text: String, at index: Int32) -> Int32 {
        var text = text
        return text.withUTF8 { bytes in
            guard let base = bytes.baseAddress else { return sqlite3_bind_text(pointer, index, "", 0, nil) }
            return base.withMemoryRebound(to: CChar.self, capacity: bytes.count) { characters in
                sqlite3_bind_text64(
                    pointer,
                    index,
                    characters,
                    sqlite3_uint64(bytes.count),
                    copied,
                    UInt8(SQLITE_UTF8)
                )
            }
        }
    }

    private func bind(_ bytes: UnsafeRawBufferPointer, at index: Int32) -> Int32 {
        // A blob without an address would be NULL.
        guard let base = bytes.baseAddress, !bytes.isEmpty else { return sqlite3_bind_zeroblob(pointer, index, 0) }
        return sqlite3_bind_blob64(pointer, index, base, sqlite3_uint64(bytes.count), copied)
    }

    private func bindScratch(at index: Int32, _ write: (UnsafeMutablePointer<UInt8>) -> Int32) -> Int32 {
        let place = scratch + Int(index - 1) * Self.scratchWidth
        let count = write(place)
        return place.withMemoryRebound(to: CChar.self, capacity: Self.scratchWidth) { characters in
            sqlite3_bind_text(pointer, index, characters, count, nil)
        }
    }

    // MARK: Reading

    func isNull(_ column: Int) -> Bool { type(of: column) == SQLITE_NULL }

    func bool(_ column: Int) throws -> Bool {
        switch try integer(column) {
        case 0: false
        case 1: true
        default: throw StorageError.unexpectedValue(column: column, expected: "a flag")
        }
    }

    func integer(_ column: Int) throws -> Int64 {
        guard type(of: column) == SQLITE_INTEGER else {
            throw StorageError.unexpectedValue(column: column, expected: "an integer")
        }
        return sqlite3_column_int64(pointer, Int32(column))
    }

    func double(_ column: Int) throws -> Double {
        let type = type(of: column)
        guard type == SQLITE_FLOAT || type == SQLITE_INTEGER else {
            throw StorageError.unexpectedValue(column: column, expected: "a number")
        }
        return sqlite3_column_double(pointer, Int32(column))
    }

    func text(_ column: Int) throws -> UnsafeBufferPointer<UInt8> { try text(column, expected: "text") }

    func bytes(_ column: Int) throws -> UnsafeBufferPointer<UInt8> {
        let raw = try blob(column, expected: "bytes")
        return UnsafeBufferPointer(start: raw.baseAddress?.assumingMemoryBound(to: UInt8.self), count: raw.count)
    }

    func uuid(_ column: Int) throws -> (high: UInt64, low: UInt64) {
        guard let uuid = readUUID(try text(column, expected: "a UUID")) else {
            throw StorageError.unexpectedValue(column: column, expected: "a UUID")
        }
        return uuid
    }

    func timestamp(_ column: Int) throws -> Timestamp {
        guard let time = Timestamp(utf8: try text(column, expected: "a timestamp")) else {
            throw StorageError.unexpectedValue(column: column, expected: "a timestamp")
        }
        return time
    }

    func json(_ column: Int) throws -> UnsafeBufferPointer<UInt8> { try text(column, expected: "JSON") }

    func decimal(_ column: Int) throws -> String {
        // A whole number may come out of an expression; anything binary has lost its digits already.
        if type(of: column) == SQLITE_INTEGER { return String(sqlite3_column_int64(pointer, Int32(column))) }
        return String(decoding: try text(column, expected: "a decimal number"), as: UTF8.self)
    }

    func textArray(_ column: Int) throws -> [String] {
        let text = try text(column, expected: "a list of texts")
        guard let elements = try? JSON(parsing: text, limits: JSONLimits(depth: 1, values: .max)).array else {
            throw StorageError.unexpectedValue(column: column, expected: "a list of texts")
        }
        return try elements.map { element in
            guard let text = element.string else {
                throw StorageError.unexpectedValue(column: column, expected: "a list of texts")
            }
            return text
        }
    }

    func inet(_ column: Int) throws -> String {
        String(decoding: try text(column, expected: "an IP address"), as: UTF8.self)
    }

    func vector(_ column: Int) throws -> [Float] {
        let raw = try blob(column, expected: "a vector")
        guard raw.count % 4 == 0 else {
            throw StorageError.unexpectedValue(column: column, expected: "a vector")
        }
        return [Float](unsafeUninitializedCapacity: raw.count / 4) { buffer, count in
            #if _endian(little)
            UnsafeMutableRawBufferPointer(buffer).copyMemory(from: raw)
            #else
            for index in 0..<raw.count / 4 {
                let bits = raw.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self)
                buffer.initializeElement(at: index, to: Float(bitPattern: UInt32(littleEndian: bits)))
            }
            #endif
            count = raw.count / 4
        }
    }

    // Both lie there in the form that the API shows.

    func copyUUID(_ column: Int, to json: inout JSONWriter) throws {
        json.value(utf8: try text(column, expected: "a UUID"))
    }

    func copyTimestamp(_ column: Int, to json: inout JSONWriter) throws {
        json.value(utf8: try text(column, expected: "a timestamp"))
    }

    private func type(of column: Int) -> Int32 {
        guard column >= 0, column < Int(columnCount) else { return SQLITE_NULL }
        return sqlite3_column_type(pointer, Int32(column))
    }

    private func text(_ column: Int, expected: String) throws -> UnsafeBufferPointer<UInt8> {
        guard type(of: column) == SQLITE_TEXT, let start = sqlite3_column_text(pointer, Int32(column)) else {
            throw StorageError.unexpectedValue(column: column, expected: expected)
        }
        return UnsafeBufferPointer(start: start, count: Int(sqlite3_column_bytes(pointer, Int32(column))))
    }

    private func blob(_ column: Int, expected: String) throws -> UnsafeRawBufferPointer {
        guard type(of: column) == SQLITE_BLOB else {
            throw StorageError.unexpectedValue(column: column, expected: expected)
        }
        let start = sqlite3_column_blob(pointer, Int32(column))
        return UnsafeRawBufferPointer(
            start: start,
            count: start == nil ? 0 : Int(sqlite3_column_bytes(pointer, Int32(column)))
        )
    }
}

/// `SQLITE_TRANSIENT`: SQLite copies what it is given.
private var copied: sqlite3_destructor_type { unsafeBitCast(-1, to: sqlite3_destructor_type.self) }

/// The form in which SQLite keeps `SQLValue.textArray`.
func encodeTextArray(_ texts: [String]) -> String {
    var writer = JSONWriter()
    writer.beginArray()
    for text in texts { writer.value(text) }
    writer.endArray()
    return String(decoding: writer.bytes, as: UTF8.self)
}

/// Reads the canonical 36 characters of a UUID, in either letter case; nil for anything else.
///
/// Without a branch for each character: whether the next one is a digit or a letter is a coin toss.
private func readUUID(_ text: UnsafeBufferPointer<UInt8>) -> (high: UInt64, low: UInt64)? {
    let hyphen = UInt8(ascii: "-")
    guard text.count == 36, text[8] == hyphen, text[13] == hyphen, text[18] == hyphen, text[23] == hyphen else {
        return nil
    }
    var isValid: UInt8 = 1
    func number(_ range: Range<Int>, after start: UInt64 = 0) -> UInt64 {
        var value = start
        for position in range {
            let byte = text[position]
            let isDigit: UInt8 = byte &- UInt8(ascii: "0") < 10 ? 1 : 0
            let isLetter: UInt8 = (byte | 0x20) &- UInt8(ascii: "a") < 6 ? 1 : 0
            isValid &= isDigit | isLetter
            // In ASCII the letters have bit 6 set, and A is 1 in the lower half.
            value = value << 4 | UInt64((byte & 0x0F) &+ (byte >> 6) &* 9)
        }
        return value
    }
    let high = number(14..<18, after: number(9..<13, after: number(0..<8)))
    let low = number(24..<36, after: number(19..<23))
    return isValid == 1 ? (high, low) : nil
}
