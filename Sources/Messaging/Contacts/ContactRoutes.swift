import Kernel
import Storage
import Web

/// A contact as the API shows it.
struct ContactBody: ResponseBody {
    let contact: Contact

    init(_ contact: Contact) { self.contact = contact }

    static let schema = Schema.named(
        "Contact",
        .object([
            .required("id", .uuid),
            .required("email", .nullable(.email)),
            .required("phone", .nullable(.e164)),
            .required("name", .nullable(.string(1...200))),
            .required("external_id", .nullable(.string(1...200))),
            .required("metadata", .anyObject()),
            .required("created_at", .dateTime),
            .required("updated_at", .dateTime),
        ])
    )

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.value(contact.id.description)
        json.key("email")
        json.value(contact.email)
        json.key("phone")
        json.value(contact.phone)
        json.key("name")
        json.value(contact.name)
        json.key("external_id")
        json.value(contact.externalID)
        json.key("metadata")
        json.value(contact.metadata)
        json.key("created_at")
        json.value(contact.createdAt.description)
        json.key("updated_at")
        json.value(contact.updatedAt.description)
        json.endObject()
    }
}

private let fields: [Schema.Property] = [
    .optional("email", .nullable(.email), "Kept in lower case.", example: "ana@example.com"),
    .optional("phone", .nullable(.e164), "In international form.", example: "+355691234567"),
    .optional("name", .nullable(.string(1...200, [.singleLine, .notBlank])), example: "Ana"),
    .optional("external_id", .nullable(.string(1...200, .singleLine)), "Your own id of the contact; unique."),
    .optional("metadata", .anyObject()),
]

extension NewContact {
    static let schema = Schema.named("NewContact", .object(fields))

    init(_ body: JSON) {
        self.init(
            email: body["email"]?.string,
            phone: body["phone"]?.string,
            name: body["name"]?.string,
            externalID: body["external_id"]?.string
        )
        metadata = body["metadata"] ?? [:]
    }
}

extension ContactChanges {
    static let schema = Schema.named("ContactChanges", .object(fields))

    init(_ body: JSON) {
        email = body["email"].map(\.string)
        phone = body["phone"].map(\.string)
        name = body["name"].map(\.string)
        externalID = body["external_id"].map(\.string)
        metadata = body["metadata"]
    }
}

struct ContactRoutes: Sendable {
    let service: ContactService

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/contacts",
            tag: "Contacts",
            [
                Endpoint.organization(
                    .get,
                    "",
                    "List contacts",
                    "Newest first.",
                    permission: .contactsRead,
                    query: .page + [
                        .optional("email", .email), .optional("phone", .e164),
                        .optional("external_id", .string(1...200, .singleLine)),
                    ],
                    responses: [.ok(.page(of: ContactBody.schema))],
                    use: list
                ),
                Endpoint.organization(
                    .post,
                    "",
                    "Create a contact",
                    permission: .contactsWrite,
                    body: NewContact.schema,
                    responses: [.created(ContactBody.schema)],
                    problems: [
                        ProblemKind(.conflict, "contact.external_id_taken", "Another contact has the external_id.")
                    ],
                    use: create
                ),
                Endpoint.organization(
                    .get,
                    "/{id}",
                    "Read a contact",
                    permission: .contactsRead,
                    responses: [.ok(ContactBody.schema)],
                    problems: [.notFound("contact")],
                    use: show
                ),
                Endpoint.organization(
                    .patch,
                    "/{id}",
                    "Change a contact",
                    "null empties a field.",
                    permission: .contactsWrite,
                    body: ContactChanges.schema,
                    edits: true,
                    responses: [.ok(ContactBody.schema)],
                    problems: [
                        .notFound("contact"),
                        ProblemKind(.conflict, "contact.external_id_taken", "Another contact has the external_id."),
                    ],
                    use: change
                ),
                Endpoint.organization(
                    .delete,
                    "/{id}",
                    "Delete a contact",
                    permission: .contactsWrite,
                    responses: [.noContent],
                    problems: [
                        .notFound("contact"),
                        ProblemKind(.conflict, "contact.in_use", "The contact has conversations."),
                    ],
                    use: delete
                ),
            ]
        )
    }

    private func list(_ call: OrganizationCall) async throws -> Response {
        let filter = ContactFilter(
            email: call.query("email")?.string,
            phone: call.query("phone")?.string,
            externalID: call.query("external_id")?.string
        )
        return .page(try await service.list(filter, call.page, in: call.scope).map(ContactBody.init))
    }

    private func create(_ call: OrganizationCall) async throws -> Response {
        let contact = try await service.create(NewContact(call.body), in: call.scope)
        return .created(ContactBody(contact), at: "/api/v1/contacts/\(contact.id)", tag: EntityTag(contact.updatedAt))
    }

    private func show(_ call: OrganizationCall) async throws -> Response {
        let contact = try await service.get(call.pathID("id", or: .notFound("contact")), in: call.scope)
        return .ok(ContactBody(contact), tag: EntityTag(contact.updatedAt))
    }

    private func change(_ call: OrganizationCall) async throws -> Response {
        let precondition = call.ifMatch
        let contact = try await service.change(
            call.pathID("id", or: .notFound("contact")),
            ContactChanges(call.body),
            in: call.scope
        ) { updatedAt in
            try precondition.check(EntityTag(updatedAt))
        }
        return .ok(ContactBody(contact), tag: EntityTag(contact.updatedAt))
    }

    private func delete(_ call: OrganizationCall) async throws -> Response {
        try await service.delete(call.pathID("id", or: .notFound("contact")), in: call.scope)
        return .noContent
    }
}
