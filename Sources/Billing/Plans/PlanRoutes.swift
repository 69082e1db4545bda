import Kernel
import Storage
import Web

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
    let service: PlanService

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
        let plans = try await service.list(filter(call))
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
        let plans = try await service.list(filter(call))
        return .json { json in
            json.beginObject()
            json.key("plans")
            json.beginArray()
            for plan in plans { PlanBody(plan: plan).write(to: &json) }
            json.endArray()
            json.key("features")
            json.beginArray()
            for feature in Plan.features {
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

    private func filter(_ call: PublicCall) -> PlanFilter {
        PlanFilter(
            productType: call.query("product_type")?.string,
            billingPeriod: call.query("billing_period")?.string
        )
    }
}
