import Kernel
import Storage
import Web

struct UsageBody: WritableBody {
    let usage: Usage

    /// - Parameter meters: Those that are always there.
    static func schema(_ meters: [Meter]) -> Schema {
        .named(
            "Usage",
            .object([
                .required("period_start", .dateTime),
                .required("period_end", .dateTime),
                .required(
                    "metrics",
                    .map(of: .integer(0...Int64.max)),
                    "How much of each was used: \(meters.map { "`\($0.name)`" }.joined(separator: ", ")), and whatever "
                        + "else was counted."
                ),
            ])
        )
    }

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("period_start")
        json.value(usage.periodStart.description)
        json.key("period_end")
        json.value(usage.periodEnd.description)
        json.key("metrics")
        json.beginObject()
        for (meter, quantity) in usage.quantities {
            json.key(meter.name)
            json.value(quantity)
        }
        json.endObject()
        json.endObject()
    }
}

struct UsageRoutes: Sendable {
    let service: UsageService

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/usage",
            tag: "Usage",
            [
                Endpoint.organization(
                    .get,
                    "",
                    "Read this month's usage",
                    permission: .billingRead,
                    responses: [.ok(UsageBody.schema(service.meters))],
                    use: show
                )
            ]
        )
    }

    private func show(_ call: OrganizationCall) async throws -> Response {
        .ok(UsageBody(usage: try await service.current(in: call.scope)))
    }
}
