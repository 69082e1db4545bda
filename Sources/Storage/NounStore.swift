package import Kernel

/// One column of a noun's table, and the value that goes into it.
package struct NounColumn<Value: Noun>: Sendable {
    let name: String
    let isFixed: Bool
    let value: @Sendable (Value) -> SQLValue

    /// - Parameter isFixed: Whether it stays as it was inserted.
    package static func column(
        _ name: StaticString,
        _ member: any KeyPath<Value, some SQLBindable> & Sendable,
        isFixed: Bool = false
    ) -> NounColumn {
        NounColumn(name: "\(name)", isFixed: isFixed) { $0[keyPath: member].sqlValue }
    }

    package static func column<Member: SQLBindable>(
        _ name: StaticString,
        _ member: any KeyPath<Value, Member?> & Sendable,
        isFixed: Bool = false
    ) -> NounColumn {
        NounColumn(name: "\(name)", isFixed: isFixed) { $0[keyPath: member]?.sqlValue ?? .null }
    }
}

/// The rows of a plain noun: its table, columns and constraints, from which the statements come.
package struct NounTable<Value: Noun & RowDecodable>: Sendable {
    package let name: StaticString
    /// As they are read: `id, name, …`.
    package let columns: SQL
    package let columnNames: [String]
    /// Those that ``NounStore/save(_:)`` writes, but for the time of the edit.
    package var editableNames: [String] { all.filter { !$0.isFixed }.map(\.name).filter { $0 != "updated_at" } }
    fileprivate let table: SQL
    fileprivate let all: [NounColumn<Value>]
    /// What holds for the rows that are there; nil: every row is.
    fileprivate let isThere: SQL?
    fileprivate let missing: @Sendable (ID<Value.Entity>) -> any Error
    fileprivate let constraints: [ConstraintMapping]
    fileprivate let inUse: [ConstraintMapping]

    /// - Parameters:
    ///   - columns: In the order in which `Value.init(row:)` reads them; `id` and `created_at` are fixed.
    ///   - isThere: What holds for a row that is there, where some are kept for a while after they were deleted.
    ///   - missing: What is thrown where there is no such row.
    ///   - inUse: What is thrown when other rows hold one that is to be deleted.
    ///   - constraints: What is thrown when a row breaks one of the table's.
    package init(
        _ name: StaticString,
        _ columns: [NounColumn<Value>],
        isThere: SQL? = nil,
        missing: @escaping @Sendable (ID<Value.Entity>) -> any Error,
        inUse: (any Error)? = nil,
        constraints: [ConstraintMapping] = []
    ) {
        self.name = name
        all = columns
        columnNames = columns.map(\.name)
        self.columns = SQL(trusted: columnNames.joined(separator: ", "))
        table = SQL(trusted: "\(name)")
        self.isThere = isThere
        self.missing = missing
        self.constraints = constraints
        self.inUse = inUse.map { [.foreignKey($0)] } ?? []
    }

    fileprivate var andIsThere: SQL { isThere.map { " AND \($0)" } ?? .empty }
}

/// Reads and writes the rows of a plain noun; what else its store does stands beside it.
package protocol NounStore: SendableMetatype {
    associatedtype Value: Noun & RowDecodable

    static var table: NounTable<Value> { get }

    var tx: any Transaction { get }
    var scope: OrganizationScope { get }

    init(tx: any Transaction, scope: OrganizationScope)

    /// Takes a row away from everybody: deletes it, unless the store has another way.
    func delete(_ id: ID<Value.Entity>, at now: Timestamp) throws
}

extension NounStore {
    package func find(_ id: ID<Value.Entity>) throws -> Value? {
        let table = Self.table
        return try tx.first(
            "SELECT \(table.columns) FROM \(table.table) WHERE organization_id = \(scope.id) AND id = \(id)\(table.andIsThere)"
        )
    }

    /// - Throws: What the table says of a row that is not there.
    package func get(_ id: ID<Value.Entity>) throws -> Value {
        guard let value = try find(id) else { throw Self.table.missing(id) }
        return value
    }

    /// One page, newest first.
    ///
    /// - Parameter filters: Conditions that all hold; nil for a filter that is not set.
    package func list(_ page: PageRequest, where filters: [SQL?] = []) throws -> Page<Value> {
        let table = Self.table
        return try Listing(of: table.name, table.columns, in: scope, page, where: filters + [table.isThere]).values(
            in: tx
        )
    }

    package func insert(_ value: Value) throws {
        let table = Self.table
        let values: [SQL] = table.all.map { "\($0.value(value))" }
        try tx.run(
            """
            INSERT INTO \(table.table) (organization_id, \(table.columns))
            VALUES (\(scope.id), \(SQL.join(values, ", ")))
            """,
            violations: table.constraints
        )
    }

    package func save(_ value: Value) throws {
        let table = Self.table
        let changes: [SQL] = table.all.filter { !$0.isFixed }.map { "\(SQL(trusted: $0.name)) = \($0.value(value))" }
        try tx.run(
            """
            UPDATE \(table.table) SET \(SQL.join(changes, ", "))
            WHERE organization_id = \(scope.id) AND id = \(value.id)
            """,
            violations: table.constraints
        )
    }

    package func delete(_ id: ID<Value.Entity>, at now: Timestamp) throws {
        let table = Self.table
        try tx.run(
            "DELETE FROM \(table.table) WHERE organization_id = \(scope.id) AND id = \(id)",
            violations: table.inUse
        )
    }
}
