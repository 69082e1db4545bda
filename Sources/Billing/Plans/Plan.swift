package import Kernel
package import Storage

/// What an organization can subscribe to.
package struct Plan: Sendable {
    package let id: String
    package let productType: String
    package let tier: String
    package let billingPeriod: String
    package let currency: String
    package let price: DecimalText
    package let isActive: Bool
    package let limits: JSON
    package let createdAt: Timestamp
    package let updatedAt: Timestamp

    static let flags = [
        "has_widget_api", "has_kb_training", "has_basic_analytics", "has_advanced_analytics", "has_n8n_integration",
        "has_priority_support", "has_dedicated_support", "has_custom_integrations", "has_audit_logs",
        "has_call_recording", "has_call_analytics", "has_custom_voice_training", "has_white_label",
    ]
    static let productTypes = ["chatbot", "voice", "bundle"]
    static let tiers = ["standard", "pro", "enterprise"]
    static let billingPeriods = ["monthly", "yearly"]

    /// What a price page compares: the limits, then the flags.
    static let features = ["max_conversations_per_month", "max_voice_calls_per_month"] + flags

    /// Where it stands on a price page: by product, period and tier.
    var place: [Int] {
        [
            Self.productTypes.firstIndex(of: productType) ?? 9, Self.billingPeriods.firstIndex(of: billingPeriod) ?? 9,
            Self.tiers.firstIndex(of: tier) ?? 9,
        ]
    }
}

/// Which plans a price page shows.
package struct PlanFilter: Sendable {
    package var productType: String?
    package var billingPeriod: String?

    package init(productType: String? = nil, billingPeriod: String? = nil) {
        self.productType = productType
        self.billingPeriod = billingPeriod
    }
}
