package import Kernel

/// A read of one statement, and what becomes of its rows.
///
/// Where a use case is one read, this is its fastest form: no transaction is begun or ended for it. On PostgreSQL
/// queries that come at the same time share a round trip, on SQLite they run on the caller's thread. So it is for
/// statements that are done within a millisecond or so, because an index leads to the few rows they read; what may
/// have to work for long is a `read`, in whose way nobody is.
package struct Query<Value: Sendable>: Sendable {
    package let sql: SQL
    /// Makes the value; may run again when the database could not give all rows.
    package let make: @Sendable (any Rows) throws -> Value

    package init(_ sql: SQL, _ make: @escaping @Sendable (any Rows) throws -> Value) {
        self.sql = sql
        self.make = make
    }
}

extension Query {
    /// The first row.
    package static func first<Element: RowDecodable & Sendable>(
        _ sql: SQL,
        as: Element.Type = Element.self
    ) -> Query where Value == Element? {
        Query(sql) { rows in
            guard var row = try rows.next() else { return nil }
            return try Element(row: &row)
        }
    }

    /// The first column of the first row.
    package static func value<Element: ColumnDecodable & Sendable>(
        _ sql: SQL,
        as: Element.Type = Element.self
    ) -> Query where Value == Element? {
        Query(sql) { rows in
            guard var row = try rows.next() else { return nil }
            return try row.next(Element.self)
        }
    }
}

/// The rows of a statement, one after the other.
package protocol Rows: AnyObject {
    /// The next row, valid until the one after it is asked for; nil after the last.
    func next() throws -> Row?
}

extension Rows {
    /// One page of a list as JSON, straight from the rows: `{"data": [...], "next_cursor": ...}`.
    ///
    /// - Parameters:
    ///   - first: A row that was taken already, if there is one.
    ///   - limit: The rows of the page; one more says that there is another page.
    ///   - cursor: The place of a row.
    package func page(
        from first: Row?,
        limit: Int,
        write: (inout Row, inout JSONWriter) throws -> Void,
        cursor: (Row) throws -> Cursor
    ) throws -> [UInt8] {
        var json = JSONWriter(reservingCapacity: 512 * min(max(limit, 1), 100))
        json.beginObject()
        json.key("data")
        json.beginArray()
        var next: Cursor?
        var written = 0
        var row = first
        while var current = row {
            if written == limit { break }
            try write(&current, &json)
            written += 1
            let place = written == limit ? try cursor(current) : nil
            row = try self.next()
            if row != nil { next = place }
        }
        json.endArray()
        json.key("next_cursor")
        json.value(next?.text)
        json.endObject()
        return json.bytes
    }
}

extension Database {
    package func fetch<Value: Sendable>(_ query: Query<Value>, in scope: OrganizationScope) async throws -> Value {
        try await fetch(query, in: .organization(scope))
    }
}
