package import Kernel

/// The columns of one result row, read from left to right.
///
/// Valid only inside the closure that receives it.
package struct Row {
    package let source: any RowSource
    /// The column that `next()` reads.
    package private(set) var column = 0

    package init(source: any RowSource) { self.source = source }

    /// The next column.
    ///
    /// The type follows from where the value goes; an unexpected NULL or type throws.
    package mutating func next<Value: ColumnDecodable>(_: Value.Type = Value.self) throws -> Value {
        defer { column += 1 }
        return try Value(column: column, of: source)
    }

    /// The bytes of encoded JSON, without a copy; nil for NULL.
    ///
    /// Valid as long as the row is.
    package mutating func nextJSONBytes() throws -> UnsafeBufferPointer<UInt8>? {
        defer { column += 1 }
        return source.isNull(column) ? nil : try source.json(column)
    }

    // Columns that become JSON as they are, with no value in between; NULL becomes null.

    package mutating func copyText(to json: inout JSONWriter) throws {
        defer { column += 1 }
        source.isNull(column) ? json.null() : json.value(utf8: try source.text(column))
    }

    package mutating func copyJSON(to json: inout JSONWriter) throws {
        defer { column += 1 }
        source.isNull(column) ? json.null() : json.raw(try source.json(column))
    }

    package mutating func copyInteger(to json: inout JSONWriter) throws {
        defer { column += 1 }
        source.isNull(column) ? json.null() : json.value(try source.integer(column))
    }

    package mutating func copyID(to json: inout JSONWriter) throws {
        defer { column += 1 }
        source.isNull(column) ? json.null() : try source.copyUUID(column, to: &json)
    }

    package mutating func copyTimestamp(to json: inout JSONWriter) throws {
        defer { column += 1 }
        source.isNull(column) ? json.null() : try source.copyTimestamp(column, to: &json)
    }

    package mutating func skip() { column += 1 }
}

/// What a driver can read from a column.
///
/// Columns count from 0; a call on a NULL column throws `StorageError.unexpectedValue`. Buffers are valid until the row
/// is left.
package protocol RowSource: AnyObject {
    func isNull(_ column: Int) -> Bool
    func bool(_ column: Int) throws -> Bool
    func integer(_ column: Int) throws -> Int64
    func double(_ column: Int) throws -> Double
    func text(_ column: Int) throws -> UnsafeBufferPointer<UInt8>
    func bytes(_ column: Int) throws -> UnsafeBufferPointer<UInt8>
    func uuid(_ column: Int) throws -> (high: UInt64, low: UInt64)
    func timestamp(_ column: Int) throws -> Timestamp
    /// Encoded JSON, without PostgreSQL's version byte.
    func json(_ column: Int) throws -> UnsafeBufferPointer<UInt8>
    /// Plain notation without exponent: `49.9000`.
    func decimal(_ column: Int) throws -> String
    func textArray(_ column: Int) throws -> [String]
    func inet(_ column: Int) throws -> String
    func vector(_ column: Int) throws -> [Float]
    /// Writes the text of a UUID.
    func copyUUID(_ column: Int, to json: inout JSONWriter) throws
    /// Writes the text of a timestamp.
    func copyTimestamp(_ column: Int, to json: inout JSONWriter) throws
}

package protocol ColumnDecodable {
    init(column: Int, of source: any RowSource) throws
}

/// A value that is made from the columns of one row, in the order in which its statement names them.
package protocol RowDecodable {
    init(row: inout Row) throws
}

extension Bool: ColumnDecodable {
    package init(column: Int, of source: any RowSource) throws { self = try source.bool(column) }
}

extension Int64: ColumnDecodable {
    package init(column: Int, of source: any RowSource) throws { self = try source.integer(column) }
}

extension Int: ColumnDecodable {
    package init(column: Int, of source: any RowSource) throws {
        guard let value = Int(exactly: try source.integer(column)) else {
            throw StorageError.unexpectedValue(column: column, expected: "an integer of this machine")
        }
        self = value
    }
}

extension Double: ColumnDecodable {
    package init(column: Int, of source: any RowSource) throws { self = try source.double(column) }
}

extension String: ColumnDecodable {
    package init(column: Int, of source: any RowSource) throws {
        self = String(decoding: try source.text(column), as: UTF8.self)
    }
}

/// An element of a list that lies in one column.
package protocol ColumnElement {
    static func list(column: Int, of source: any RowSource) throws -> [Self]
}

extension UInt8: ColumnElement {
    package static func list(column: Int, of source: any RowSource) throws -> [UInt8] {
        Array(try source.bytes(column))
    }
}

extension Float: ColumnElement {
    package static func list(column: Int, of source: any RowSource) throws -> [Float] { try source.vector(column) }
}

extension String: ColumnElement {
    package static func list(column: Int, of source: any RowSource) throws -> [String] {
        try source.textArray(column)
    }
}

extension Array: ColumnDecodable where Element: ColumnElement {
    package init(column: Int, of source: any RowSource) throws {
        self = try Element.list(column: column, of: source)
    }
}

extension Timestamp: ColumnDecodable {
    package init(column: Int, of source: any RowSource) throws { self = try source.timestamp(column) }
}

extension ID: ColumnDecodable {
    package init(column: Int, of source: any RowSource) throws {
        let (high, low) = try source.uuid(column)
        self.init(high: high, low: low)
    }
}

extension JSON: ColumnDecodable {
    package init(column: Int, of source: any RowSource) throws {
        do {
            self = try JSON(parsing: try source.json(column))
        } catch let error as JSONError {
            throw StorageError.unexpectedValue(column: column, expected: "JSON (\(error))")
        }
    }
}

extension Optional: ColumnDecodable where Wrapped: ColumnDecodable {
    package init(column: Int, of source: any RowSource) throws {
        self = source.isNull(column) ? nil : try Wrapped(column: column, of: source)
    }
}

/// A plain decimal number as text, such as a price.
package struct DecimalText: ColumnDecodable, SQLBindable, Sendable, Hashable {
    package let text: String

    package init(_ text: String) { self.text = text }

    package init(column: Int, of source: any RowSource) throws { text = try source.decimal(column) }

    package var sqlValue: SQLValue { .decimal(text) }
}

/// An IP address as text.
package struct InetText: ColumnDecodable, SQLBindable, Sendable, Hashable {
    package let text: String

    package init(_ text: String) { self.text = text }

    package init(column: Int, of source: any RowSource) throws { text = try source.inet(column) }

    package var sqlValue: SQLValue { .inet(text) }
}

/// Enumerations that are stored as their raw text.
///
/// Conform with an empty extension.
package protocol StoredEnumeration: RawRepresentable, ColumnDecodable, SQLBindable where RawValue == String {}

extension StoredEnumeration {
    package init(column: Int, of source: any RowSource) throws {
        let text = try String(column: column, of: source)
        guard let value = Self(rawValue: text) else {
            throw StorageError.unexpectedValue(column: column, expected: "one of \(Self.self)'s values")
        }
        self = value
    }

    package var sqlValue: SQLValue { .text(rawValue) }
}

// Single columns as whole rows: `tx.first("SELECT count(*) …", as: Int.self)`.
package struct Single<Value: ColumnDecodable>: RowDecodable {
    package let value: Value

    package init(row: inout Row) throws { value = try row.next() }
}
