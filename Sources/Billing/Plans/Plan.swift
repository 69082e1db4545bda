package import Kernel
package import Storage
import Web

/// What an organization can subscribe to.
package struct Plan: Sendable, RowDecodable {
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

    static let columns: SQL = """
        id, product_type, tier, billing_period, currency, price, is_active, limits, created_at, updated_at
        """

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

    static let flags = [
        "has_widget_api", "has_kb_training", "has_basic_analytics", "has_advanced_analytics", "has_n8n_integration",
        "has_priority_support", "has_dedicated_support", "has_custom_integrations", "has_audit_logs",
        "has_call_recording", "has_call_analytics", "has_custom_voice_training", "has_white_label",
    ]
    static let productTypes = ["chatbot", "voice", "bundle"]
    static let tiers = ["standard", "pro", "enterprise"]
    static let billingPeriods = ["monthly", "yearly"]
}

struct PlanBody: ResponseBody {
    let plan: Plan

    static let limits = Schema.named(
        "PlanLimits",
        .object(
            [
                .required(
                    "max_conversations_per_month",
                    .nullable(.integer(0...Int64.max)),
                    "null: as many as you like."
                ),
                .required(
                    "max_voice_calls_per_month",
                    .nullable(.integer(0...Int64.max)),
                    "null: as many as you like."
                ),
            ] + Plan.flags.map { .required($0, .boolean) } + [
                .optional("trial_days", .integer(0...365)), .optional("savings_percent", .integer(0...100)),
            ]
        )
    )

    static let schema = Schema.named(
        "Plan",
        .object([
            .required("id", .string(1...100), example: "chatbot_standard_monthly"),
            .required("product_type", .choice(Plan.productTypes)),
            .required("tier", .choice(Plan.tiers)),
            .required("billing_period", .choice(Plan.billingPeriods)),
            .required("currency", .currency),
            .required("price", .string(1...20), "A decimal number as text.", example: "49.00"),
            .required("is_active", .boolean),
            .required("limits", limits),
            .required("created_at", .dateTime),
            .required("updated_at", .dateTime),
        ])
    )

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.value(plan.id)
        json.key("product_type")
        json.value(plan.productType)
        json.key("tier")
        json.value(plan.tier)
        json.key("billing_period")
        json.value(plan.billingPeriod)
        json.key("currency")
        json.value(plan.currency)
        json.key("price")
        json.value(plan.price.text)
        json.key("is_active")
        json.value(plan.isActive)
        json.key("limits")
        json.value(plan.limits)
        json.key("created_at")
        json.value(plan.createdAt.description)
        json.key("updated_at")
        json.value(plan.updatedAt.description)
        json.endObject()
    }
}

/// The catalogue, open to everybody.
struct PlanRoutes: Sendable {
    let database: any Database

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/plans",
            tag: "Plans",
            [
                Endpoint.public(
                    .get,
                    "",
                    "List plans",
                    query: [
                        .optional("product_type", .choice(Plan.productTypes)),
                        .optional("billing_period", .choice(Plan.billingPeriods)),
                    ],
                    responses: [.ok(.object([.required("data", .array(of: PlanBody.schema))]))],
                    use: list
                ),
                Endpoint.public(
                    .get,
                    "/comparison",
                    "Compare plans",
                    "One row a feature, one column a plan: what a price page shows. Monthly plans unless asked otherwise.",
                    query: [
                        .optional("product_type", .choice(Plan.productTypes)),
                        .optional("billing_period", .choice(Plan.billingPeriods), default: "monthly"),
                    ],
                    responses: [.ok(Self.comparison)],
                    use: compare
                ),
            ]
        )
    }

    private static let comparison = Schema.named(
        "PlanComparison",
        .object([
            .required("plans", .array(of: PlanBody.schema)),
            .required(
                "features",
                .array(
                    of: .object([
                        .required("name", .string(1...100)),
                        .required("values", .map(of: .any), "By plan id: a number, null for no limit, or a boolean."),
                    ])
                )
            ),
        ])
    )

    private func list(_ call: PublicCall) async throws -> Response {
        let plans = try await plans(
            product: call.query("product_type")?.string,
            period: call.query("billing_period")?.string
        )
        return .json { json in
            json.beginObject()
            json.key("data")
            json.beginArray()
            for plan in plans { PlanBody(plan: plan).write(to: &json) }
            json.endArray()
            json.endObject()
        }
    }

    private func compare(_ call: PublicCall) async throws -> Response {
        let plans = try await plans(
            product: call.query("product_type")?.string,
            period: call.query("billing_period")?.string ?? "monthly"
        )
        let features = ["max_conversations_per_month", "max_voice_calls_per_month"] + Plan.flags
        return .json { json in
            json.beginObject()
            json.key("plans")
            json.beginArray()
            for plan in plans { PlanBody(plan: plan).write(to: &json) }
            json.endArray()
            json.key("features")
            json.beginArray()
            for feature in features {
                json.beginObject()
                json.key("name")
                json.value(feature)
                json.key("values")
                json.beginObject()
                for plan in plans {
                    json.key(plan.id)
                    json.value(plan.limits[feature] ?? .null)
                }
                json.endObject()
                json.endObject()
            }
            json.endArray()
            json.endObject()
        }
    }

    /// In the order of a price page: by product, period and price.
    private func plans(product: String?, period: String?) async throws -> [Plan] {
        var conditions: [SQL] = ["is_active = \(true)"]
        if let product { conditions.append("product_type = \(product)") }
        if let period { conditions.append("billing_period = \(period)") }
        let statement: SQL = "SELECT \(Plan.columns) FROM plans WHERE \(SQL.join(conditions, " AND "))"
        let plans: [Plan] = try await database.read(for: .billing) { tx in try tx.all(statement) }
        func place(_ plan: Plan) -> [Int] {
            [
                Plan.productTypes.firstIndex(of: plan.productType) ?? 9,
                Plan.billingPeriods.firstIndex(of: plan.billingPeriod) ?? 9, Plan.tiers.firstIndex(of: plan.tier) ?? 9,
            ]
        }
        return plans.sorted { place($0).lexicographicallyPrecedes(place($1)) }
    }
}
