import Events
import Jobs
import Kernel
import Web

struct SetAsideEventBody: ResponseBody {
    let event: SetAsideEvent

    static let schema = Schema.named(
        "SetAsideEvent",
        .object([
            .required("consumer", .string(1...100), "Who could not handle it.", example: "audit"),
            .required("place", .string(1...50), "Where it stands in the feed.", example: "742-1093"),
            .required("type", .string(1...100), example: "conversation.closed"),
            .required("reason", .string(0...2_000)),
            .required("set_aside_at", .dateTime),
        ])
    )

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("consumer")
        json.value(event.consumer)
        json.key("place")
        json.value(event.place.description)
        json.key("type")
        json.value(event.type)
        json.key("reason")
        json.value(event.reason)
        json.key("set_aside_at")
        json.value(event.setAsideAt.description)
        json.endObject()
    }
}

/// Events that the audit log and other readers of the feed could not handle.
struct SetAsideEventRoutes: Sendable {
    let events: SetAsideEvents

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/set-aside-events",
            tag: "Jobs",
            [
                Endpoint.organization(
                    .get,
                    "",
                    "List events that were set aside",
                    "The newest 100, newest first: what a reader of the event feed, such as the audit log, failed to handle three "
                        + "times while it went on with the others. Kept for 90 days.",
                    permission: .jobsRead,
                    responses: [.ok(.object([.required("data", .array(of: SetAsideEventBody.schema))]))],
                    use: list
                )
            ]
        )
    }

    private func list(_ call: OrganizationCall) async throws -> Response {
        let events = try await events.list(in: call.scope)
        return .json { json in
            json.beginObject()
            json.key("data")
            json.beginArray()
            for event in events { SetAsideEventBody(event: event).write(to: &json) }
            json.endArray()
            json.endObject()
        }
    }
}
