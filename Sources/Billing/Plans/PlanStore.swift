import Kernel
package import Storage

extension Plan: RowDecodable {
    package init(row: inout Row) throws {
        id = try row.next()
        productType = try row.next()
        tier = try row.next()
        billingPeriod = try row.next()
        currency = try row.next()
        price = try row.next()
        isActive = try row.next()
        limits = try row.next()
        createdAt = try row.next()
        updatedAt = try row.next()
    }
}

/// The catalogue, in a transaction of `SystemPurpose.billing`.
struct PlanStore {
    let tx: any Transaction

    static let columns: SQL = """
        id, product_type, tier, billing_period, currency, price, is_active, limits, created_at, updated_at
        """

    /// Those that can be subscribed to, in no order.
    func list(_ filter: PlanFilter) throws -> [Plan] {
        let filters: [SQL?] = [
            "is_active = \(true)", filter.productType.map { "product_type = \($0)" },
            filter.billingPeriod.map { "billing_period = \($0)" },
        ]
        return try tx.all(
            "SELECT \(Self.columns) FROM plans WHERE \(SQL.join(filters.compactMap(\.self), " AND "))"
        )
    }
}
