package import Kernel

/// Something that is counted for an organization: `conversations_count`.
///
/// Declared by the subsystem that does what is counted; a name that is read from a row and that this node does not know is
/// kept and shown.
package struct Meter: Sendable, Hashable, SQLBindable, ColumnDecodable {
    package let name: String

    package init(_ name: String) { self.name = name }

    package init(column: Int, of source: any RowSource) throws { name = try String(column: column, of: source) }

    package var sqlValue: SQLValue { .text(name) }
}

/// What organizations use, counted inside the transaction that uses it.
///
/// Billing makes the one value, App hands it to all.
package struct Entitlements: Sendable {
    package typealias Recorder =
        @Sendable (
            _ tx: any Transaction, _ scope: OrganizationScope, _ meter: Meter, _ quantity: Int64, _ now: Timestamp
        ) throws -> Void

    private let record: Recorder

    package init(record: @escaping Recorder) { self.record = record }

    /// Counts a quantity; nothing is counted when the transaction does not commit, or when the quantity is not positive.
    package func count(
        _ meter: Meter,
        _ quantity: Int64 = 1,
        in scope: OrganizationScope,
        at now: Timestamp,
        _ tx: any Transaction
    ) throws {
        guard quantity > 0 else { return }
        try record(tx, scope, meter, quantity, now)
    }
}
