import CPostgres
import Kernel

/// The rows of one result.
///
/// Reads the row that `next` returned last.
final class PostgresRows: RowSource, Rows {
    private var result: OpaquePointer?
    private let columns: Int32
    private let vectorType: UInt32
    let count: Int32
    /// The row that is read; before the first one until `next` is called.
    private var index: Int32 = -1

    /// Takes over `result`.
    init(_ result: OpaquePointer, vectorType: UInt32) {
        self.result = result
        self.vectorType = vectorType
        columns = PQnfields(result)
        count = PQntuples(result)
    }

    deinit { PQclear(result) }

    /// Frees the rows.
    ///
    /// A row that somebody kept cannot be read any more.
    func close() {
        PQclear(result)
        result = nil
    }

    func next() -> Row? {
        guard index + 1 < count else { return nil }
        index += 1
        return Row(source: self)
    }

    /// Calls `read` for each row in turn.
    func map<Value>(_ read: (inout Row) throws -> Value) rethrows -> [Value] {
        var values: [Value] = []
        values.reserveCapacity(Int(count))
        while var row = next() { values.append(try read(&row)) }
        return values
    }

    /// How many rows the statement inserted, changed, deleted or returned.
    var affected: Int {
        guard let result, let text = PQcmdTuples(result) else { return 0 }
        return Int(String(cString: text)) ?? 0
    }

    // MARK: RowSource

    /// A column that the statement does not have is not NULL: reading it throws.
    func isNull(_ column: Int) -> Bool {
        guard let result, let column = Int32(exactly: column), (0..<columns).contains(column), index >= 0
        else { return false }
        return PQgetisnull(result, index, column) == 1
    }

    func bool(_ column: Int) throws -> Bool {
        let (type, bytes) = try value(column, "a boolean")
        guard type == PostgresType.bool, bytes.count == 1 else { throw unexpected(column, "a boolean") }
        return bytes[0] != 0
    }

    func integer(_ column: Int) throws -> Int64 {
        let (type, bytes) = try value(column, "an integer")
        let number: Int64? =
            switch type {
            case PostgresType.int8: PostgresBinary.fixed(bytes, Int64.self)
            case PostgresType.int4: PostgresBinary.fixed(bytes, Int32.self).map(Int64.init)
            case PostgresType.int2: PostgresBinary.fixed(bytes, Int16.self).map(Int64.init)
            case PostgresType.oid: PostgresBinary.fixed(bytes, UInt32.self).map(Int64.init)
            // The sum of integers is a numeric.
            case PostgresType.numeric: PostgresBinary.decimal(bytes).flatMap { Int64($0) }
            default: nil
            }
        guard let number else { throw unexpected(column, "an integer") }
        return number
    }

    func double(_ column: Int) throws -> Double {
        let (type, bytes) = try value(column, "a number")
        let number: Double? =
            switch type {
            case PostgresType.float8: PostgresBinary.fixed(bytes, UInt64.self).map { Double(bitPattern: $0) }
            case PostgresType.float4: PostgresBinary.fixed(bytes, UInt32.self).map { Double(Float(bitPattern: $0)) }
            case PostgresType.numeric: PostgresBinary.decimal(bytes).flatMap { Double($0) }
            case PostgresType.int8, PostgresType.int4, PostgresType.int2: Double(try integer(column))
            default: nil
            }
        guard let number else { throw unexpected(column, "a number") }
        return number
    }

    func text(_ column: Int) throws -> UnsafeBufferPointer<UInt8> {
        let (type, bytes) = try value(column, "text")
        switch type {
        case PostgresType.text, PostgresType.varchar, PostgresType.bpchar, PostgresType.name, PostgresType.unknown:
            return bytes
        default: throw unexpected(column, "text")
        }
    }

    func bytes(_ column: Int) throws -> UnsafeBufferPointer<UInt8> {
        let (type, bytes) = try value(column, "bytes")
        guard type == PostgresType.bytes else { throw unexpected(column, "bytes") }
        return bytes
    }

    func uuid(_ column: Int) throws -> (high: UInt64, low: UInt64) {
        let (type, bytes) = try value(column, "a UUID")
        guard type == PostgresType.uuid, let uuid = PostgresBinary.uuid(bytes) else {
            throw unexpected(column, "a UUID")
        }
        return uuid
    }

    func timestamp(_ column: Int) throws -> Timestamp {
        let (type, bytes) = try value(column, "a time")
        guard type == PostgresType.timestamp, let moment = PostgresBinary.timestamp(bytes) else {
            throw unexpected(column, "a time between the years 1 and 9999")
        }
        return moment
    }

    func json(_ column: Int) throws -> UnsafeBufferPointer<UInt8> {
        let (type, bytes) = try value(column, "JSON")
        switch type {
        case PostgresType.jsonb:
            guard bytes.first == 1 else { throw unexpected(column, "version 1 of jsonb") }
            return UnsafeBufferPointer(rebasing: bytes[1...])
        case PostgresType.json, PostgresType.text: return bytes
        default: throw unexpected(column, "JSON")
        }
    }

    func decimal(_ column: Int) throws -> String {
        let (type, bytes) = try value(column, "a decimal number")
        let text: String? =
            switch type {
            case PostgresType.numeric: PostgresBinary.decimal(bytes)
            case PostgresType.int8, PostgresType.int4, PostgresType.int2: String(try integer(column))
            default: nil
            }
        guard let text else { throw unexpected(column, "a decimal number") }
        return text
    }

    func textArray(_ column: Int) throws -> [String] {
        let (type, bytes) = try value(column, "a list of texts")
        switch type {
        case PostgresType.textArray, PostgresType.varcharArray, PostgresType.nameArray:
            guard let texts = PostgresBinary.textArray(bytes) else { break }
            return texts
        default: break
        }
        throw unexpected(column, "a list of texts")
    }

    func inet(_ column: Int) throws -> String {
        let (type, bytes) = try value(column, "an IP address")
        guard type == PostgresType.inet || type == PostgresType.cidr, let text = PostgresBinary.inet(bytes) else {
            throw unexpected(column, "an IP address")
        }
        return text
    }

    func vector(_ column: Int) throws -> [Float] {
        let (type, bytes) = try value(column, "a vector")
        // While the extension's number is not known its format has to speak for itself.
        let isVector = vectorType == 0 ? type >= PostgresType.firstUserDefined : type == vectorType
        guard isVector, let elements = PostgresBinary.vector(bytes) else { throw unexpected(column, "a vector") }
        return elements
    }

    func copyUUID(_ column: Int, to json: inout JSONWriter) throws {
        let (high, low) = try uuid(column)
        json.value(ID<PostgresRows>(high: high, low: low))
    }

    func copyTimestamp(_ column: Int, to json: inout JSONWriter) throws { json.value(try timestamp(column)) }

    private func value(
        _ column: Int,
        _ expected: @autoclosure () -> String
    ) throws(StorageError) -> (type: UInt32, bytes: UnsafeBufferPointer<UInt8>) {
        guard let result, let number = Int32(exactly: column), (0..<columns).contains(number), index >= 0,
            PQgetisnull(result, index, number) == 0, let start = PQgetvalue(result, index, number)
        else { throw unexpected(column, expected()) }
        return (
            PQftype(result, number),
            UnsafeBufferPointer(
                start: UnsafeRawPointer(start).assumingMemoryBound(to: UInt8.self),
                count: Int(PQgetlength(result, index, number))
            )
        )
    }

    private func unexpected(_ column: Int, _ expected: String) -> StorageError {
        .unexpectedValue(column: column, expected: expected)
    }
}
