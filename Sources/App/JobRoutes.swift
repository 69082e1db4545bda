import Jobs
import Kernel
import Storage
import Web

/// Work that was given up, for the people who can do something about it.
struct QuarantinedJobBody: ResponseBody {
    let job: QuarantinedJob

    static let schema = Schema.named(
        "QuarantinedJob",
        .object([
            .required("id", .uuid),
            .required("kind", .string(1...100), example: "knowledge.train"),
            .required("lane", .string(1...100), example: "bulk"),
            .required("attempts", .integer(0...Int64.max)),
            .required("reason", .string(0...2_000)),
            .required("created_at", .dateTime),
            .required("quarantined_at", .dateTime),
        ])
    )

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.value(job.id.description)
        json.key("kind")
        json.value(job.kind)
        json.key("lane")
        json.value(job.lane.name)
        json.key("attempts")
        json.value(job.attempts)
        json.key("reason")
        json.value(job.reason)
        json.key("created_at")
        json.value(job.createdAt.description)
        json.key("quarantined_at")
        json.value(job.quarantinedAt.description)
        json.endObject()
    }
}

struct JobRoutes: Sendable {
    let service: JobService

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/jobs",
            tag: "Jobs",
            [
                Endpoint.organization(
                    .get,
                    "/quarantined",
                    "List work that was given up",
                    "Newest first.",
                    permission: .jobsRead,
                    query: .page,
                    responses: [.ok(.page(of: QuarantinedJobBody.schema))],
                    use: list
                ),
                Endpoint.organization(
                    .post,
                    "/{id}/retry",
                    "Try given-up work again",
                    permission: .jobsWrite,
                    responses: [.noContent],
                    problems: [
                        .notFound("job"),
                        ProblemKind(.conflict, "job.duplicate", "The same work is waiting or running."),
                    ],
                    use: retry
                ),
                Endpoint.organization(
                    .delete,
                    "/{id}",
                    "Discard given-up work",
                    permission: .jobsWrite,
                    responses: [.noContent],
                    problems: [.notFound("job")],
                    use: discard
                ),
            ]
        )
    }

    private func list(_ call: OrganizationCall) async throws -> Response {
        .page(try await service.listQuarantined(in: call.scope, call.page).map(QuarantinedJobBody.init))
    }

    private func retry(_ call: OrganizationCall) async throws -> Response {
        try await service.retry(call.pathID("id", or: .notFound("job")), in: call.scope)
        return .noContent
    }

    private func discard(_ call: OrganizationCall) async throws -> Response {
        try await service.discard(call.pathID("id", or: .notFound("job")), in: call.scope)
        return .noContent
    }
}
