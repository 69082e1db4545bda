import Kernel
import Web

struct UsageBody: ResponseBody {
    let usage: Usage

    static let schema = Schema.named(
        "Usage",
        .object([
            .required("period_start", .dateTime),
            .required("period_end", .dateTime),
            .required(
                "metrics",
                .object(UsageMetric.allCases.map { .required($0.rawValue, .integer(0...Int64.max)) })
            ),
        ])
    )

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("period_start")
        json.value(usage.periodStart.description)
        json.key("period_end")
        json.value(usage.periodEnd.description)
        json.key("metrics")
        json.beginObject()
        for metric in UsageMetric.allCases {
            json.key(metric.rawValue)
            json.value(usage[metric])
        }
        json.endObject()
        json.endObject()
    }
}

struct UsageRoutes: Sendable {
    let service: UsageService

    var endpoints: EndpointGroup {
        EndpointGroup("/api/v1/usage", tag: "Usage") {
            Endpoint.organization(
                .get,
                "",
                "Read this month's usage",
                permission: .billingRead,
                answers: [.ok(UsageBody.schema)],
                use: show
            )
        }
    }

    private func show(_ call: OrganizationCall) async throws -> Reply {
        .ok(UsageBody(usage: try await service.current(in: call.scope)))
    }
}
