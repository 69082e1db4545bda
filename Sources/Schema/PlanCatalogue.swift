import Kernel
import Storage

/// Migration 101: the 18 plans, 3 products x 3 tiers x 2 billing periods.
///
/// Prices are in euros.
enum PlanCatalogue {
    static var statements: [SQL] {
        products.flatMap { product in
            product.tiers.flatMap { tier in
                [
                    insert(product, tier, period: "monthly", price: "\(tier.monthlyPrice).00", saving: nil),
                    // A year costs ten months.
                    insert(product, tier, period: "yearly", price: "\(tier.monthlyPrice * 10).00", saving: 17),
                ]
            }
        }
    }

    private struct Product {
        let name: String
        let tiers: [Tier]
    }

    private struct Tier {
        let name: String
        let monthlyPrice: Int
        /// A month's allowance; nil is no limit.
        let conversations: Int64?
        let calls: Int64?
    }

    private static let products = [
        Product(
            name: "chatbot",
            tiers: [
                Tier(name: "standard", monthlyPrice: 49, conversations: 1_000, calls: 0),
                Tier(name: "pro", monthlyPrice: 149, conversations: 10_000, calls: 0),
                Tier(name: "enterprise", monthlyPrice: 499, conversations: nil, calls: 0),
            ]
        ),
        Product(
            name: "voice",
            tiers: [
                Tier(name: "standard", monthlyPrice: 79, conversations: 0, calls: 500),
                Tier(name: "pro", monthlyPrice: 249, conversations: 0, calls: 5_000),
                Tier(name: "enterprise", monthlyPrice: 799, conversations: 0, calls: nil),
            ]
        ),
        Product(
            name: "bundle",
            tiers: [
                Tier(name: "standard", monthlyPrice: 109, conversations: 1_000, calls: 500),
                Tier(name: "pro", monthlyPrice: 349, conversations: 10_000, calls: 5_000),
                Tier(name: "enterprise", monthlyPrice: 1_149, conversations: nil, calls: nil),
            ]
        ),
    ]

    private static func limits(_ product: Product, _ tier: Tier, saving: Int64?) -> JSON {
        let chats = product.name != "voice"
        let calls = product.name != "chatbot"
        let pro = tier.name != "standard"
        let enterprise = tier.name == "enterprise"
        var limits: JSONObject = [
            "max_conversations_per_month": tier.conversations.map(JSON.integer) ?? .null,
            "max_voice_calls_per_month": tier.calls.map(JSON.integer) ?? .null,
            "has_widget_api": .bool(chats),
            "has_kb_training": true,
            "has_basic_analytics": true,
            "has_advanced_analytics": .bool(pro),
            "has_n8n_integration": .bool(pro),
            "has_priority_support": .bool(pro),
            "has_dedicated_support": .bool(enterprise),
            "has_custom_integrations": .bool(enterprise),
            "has_audit_logs": .bool(pro),
            "has_call_recording": .bool(calls),
            "has_call_analytics": .bool(calls && pro),
            "has_custom_voice_training": .bool(calls && enterprise),
            "has_white_label": .bool(enterprise),
        ]
        if tier.name == "standard" { limits["trial_days"] = 14 }
        if let saving { limits["savings_percent"] = .integer(saving) }
        return .object(limits)
    }

    private static func insert(_ product: Product, _ tier: Tier, period: String, price: String, saving: Int64?) -> SQL {
        // 2026-01-01: the same on every installation, so that a copy of the database compares equal.
        let seeded = Timestamp(milliseconds: 1_767_225_600_000)
        return """
            INSERT INTO plans
                (id, product_type, tier, billing_period, currency, price, is_active, limits, created_at, updated_at)
            VALUES (\("\(product.name)_\(tier.name)_\(period)"), \(product.name), \(tier.name), \(period), \("EUR"),
                \(SQLValue.decimal(price)), \(true), \(limits(product, tier, saving: saving)), \(seeded), \(seeded))
            """
    }
}
