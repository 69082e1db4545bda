package import Kernel

/// One page of an organization's rows, newest first: filters, the place to go on at, and one row more than the page holds, which
/// says that there is another page.
///
/// The table has `created_at` and `id` as columns, and an index that begins with `organization_id`, what is filtered by, and
/// these two.
package struct Listing: Sendable {
    private let sql: SQL
    private let limit: Int

    /// - Parameters:
    ///   - columns: With `created_at` and `id` among them.
    ///   - filters: Conditions that all hold; nil for a filter that is not set.
    package init(
        of table: StaticString,
        _ columns: SQL,
        in scope: OrganizationScope,
        _ page: PageRequest,
        where filters: [SQL?] = []
    ) {
        var conditions: [SQL] = ["organization_id = \(scope.id)"] + filters.compactMap(\.self)
        if let after = page.after {
            conditions.append("(created_at, id) < (\(after.time), \(after.id(of: Void.self)))")
        }
        limit = page.limit
        sql = """
            SELECT \(columns) FROM \(SQL(trusted: "\(table)")) WHERE \(SQL.join(conditions, " AND "))
            ORDER BY created_at DESC, id DESC LIMIT \(limit: page.limit + 1)
            """
    }

    /// The page as values.
    package func values<Value: Noun & RowDecodable>(in tx: any Transaction) throws -> Page<Value> {
        try values(in: tx) { Cursor(time: $0.createdAt, id: $0.id) }
    }

    /// - Parameter place: The place of a value in the list.
    package func values<Value: RowDecodable & Sendable>(
        in tx: any Transaction,
        place: (Value) -> Cursor
    ) throws -> Page<Value> {
        Page(cutting: try tx.all(sql), to: limit, place: place)
    }

    /// The page as encoded JSON, straight from the rows.
    ///
    /// - Parameters:
    ///   - write: Writes one row, from its first column on.
    ///   - time: The place of `created_at` among the columns.
    ///   - id: The place of `id` among them.
    package func bytes(
        time: Int,
        id: Int = 0,
        _ write: @escaping @Sendable (inout Row, inout JSONWriter) throws -> Void
    ) -> Query<[UInt8]> {
        let limit = limit
        return Query(sql) { rows in
            try rows.page(from: try rows.next(), limit: limit, write: write) { row in
                Cursor(
                    time: try Timestamp(column: time, of: row.source),
                    id: try ID<Void>(column: id, of: row.source)
                )
            }
        }
    }
}
