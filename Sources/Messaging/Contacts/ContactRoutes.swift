import Events
import Kernel
import Web

struct ContactRoutes: Sendable {
    let service: ContactService

    private static let taken = ProblemKind(
        .conflict,
        "contact.external_id_taken",
        "Another contact has the external_id."
    )

    var endpoints: [Endpoint] {
        .resource(
            "contact",
            at: "/api/v1/contacts",
            tag: "Contacts",
            read: .contactsRead,
            write: .contactsWrite,
            filters: [
                .optional("email", .email), .optional("phone", .e164),
                .optional("external_id", .string(1...200, .singleLine)),
            ],
            changing: "null empties a field.",
            problems: ResourceProblems(
                create: [Self.taken],
                change: [Self.taken],
                delete: [ProblemKind(.conflict, "contact.in_use", "The contact has conversations.")]
            ),
            list: list,
            create: { call in try await service.create(from: call.body, in: call.scope) },
            get: service.get,
            change: { id, call in try await service.change(id, if: call.ifMatch, with: call.body, in: call.scope) },
            delete: service.delete
        )
    }

    private func list(_ call: OrganizationCall) async throws -> Page<Contact> {
        let filter = ContactFilter(
            email: call.query("email")?.string,
            phone: call.query("phone")?.string,
            externalID: call.query("external_id")?.string
        )
        return try await service.list(filter, call.page, in: call.scope)
    }
}
