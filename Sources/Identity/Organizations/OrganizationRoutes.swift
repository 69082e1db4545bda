package import Kernel
import Web

/// An organization as the API shows it.
package struct OrganizationBody: ResponseBody {
    let organization: Organization
    let isInFull: Bool

    /// - Parameter isInFull: Whether more than id, name and slug is shown.
    package init(_ organization: Organization, inFull isInFull: Bool = true) {
        self.organization = organization
        self.isInFull = isInFull
    }

    private static let outline: [Schema.Property] = [
        .required("id", .uuid),
        .required("name", .string(1...120)),
        .required("slug", .string(Slug.length, format: .slug)),
    ]

    package static let schema = Schema.named(
        "Organization",
        .object(
            outline + [
                .required("plan", .nullable(.string(1...100))),
                .required("status", .choice(of: Organization.Status.self)),
                .required("settings", .anyObject()),
                .required("created_at", .dateTime),
                .required("updated_at", .dateTime),
            ]
        )
    )

    /// For callers who may lack `organization:read`.
    static let outlineSchema = Schema.named(
        "OwnOrganization",
        .object(
            outline + [
                .optional("plan", .nullable(.string(1...100))),
                .optional("status", .choice(of: Organization.Status.self)),
                .optional("settings", .anyObject()),
                .optional("created_at", .dateTime),
                .optional("updated_at", .dateTime),
            ]
        )
    )

    package func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.value(organization.id.description)
        json.key("name")
        json.value(organization.name)
        json.key("slug")
        json.value(organization.slug)
        guard isInFull else { return json.endObject() }
        json.key("plan")
        json.value(organization.plan)
        json.key("status")
        json.value(organization.status.rawValue)
        json.key("settings")
        json.value(organization.settings)
        json.key("created_at")
        json.value(organization.createdAt.description)
        json.key("updated_at")
        json.value(organization.updatedAt.description)
        json.endObject()
    }
}

extension NewOrganization {
    static let schema = Schema.named(
        "NewOrganization",
        .object([
            .required("name", .string(1...120, [.singleLine, .notBlank]), example: "Kafe Tirana"),
            .optional(
                "slug",
                .string(Slug.length, format: .slug),
                "Made from the name when absent.",
                example: "kafe-tirana"
            ),
        ])
    )

    init(_ body: JSON) { self.init(name: body["name"]?.string ?? "", slug: body["slug"]?.string) }
}

extension OrganizationChanges {
    static let schema = Schema.named(
        "OrganizationChanges",
        .object([
            .optional("name", .string(1...120, [.singleLine, .notBlank])),
            .optional("slug", .string(Slug.length, format: .slug)),
            .optional("settings", .anyObject(), "Replaces the settings."),
        ])
    )

    init(_ body: JSON) {
        self.init(name: body["name"]?.string, slug: body["slug"]?.string, settings: body["settings"])
    }
}

struct OrganizationRoutes: Sendable {
    let service: OrganizationService

    static let slugTaken = ProblemKind(.conflict, "organization.slug_taken", "Another organization has this slug.")

    static let tooMany = ProblemKind(
        .conflict,
        "organization.too_many",
        "You belong to \(Belonging.limit) organizations, which is the most."
    )

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/organizations",
            tag: "Organizations",
            [
                Endpoint.organization(
                    .get,
                    "",
                    "List organizations",
                    "Those that you belong to, newest first; for an API key just its own.",
                    permission: .organizationRead,
                    query: .page,
                    responses: [.ok(.page(of: OrganizationBody.schema))],
                    use: list
                ),
                Endpoint.organization(
                    .post,
                    "",
                    "Create an organization",
                    "You become its owner. `POST /api/v1/auth/switch` leads into it.",
                    permission: nil,
                    body: NewOrganization.schema,
                    responses: [.created(OrganizationBody.schema)],
                    problems: [.userRequired, Self.slugTaken, Self.tooMany],
                    use: create
                ),
                Endpoint.organization(
                    .get,
                    "/{id}",
                    "Read an organization",
                    "A credential sees the one that it belongs to.",
                    permission: .organizationRead,
                    responses: [.ok(OrganizationBody.schema)],
                    problems: [.notFound("organization")],
                    use: show
                ),
                Endpoint.organization(
                    .patch,
                    "/{id}",
                    "Change an organization",
                    permission: .organizationWrite,
                    body: OrganizationChanges.schema,
                    edits: true,
                    responses: [.ok(OrganizationBody.schema)],
                    problems: [.notFound("organization"), Self.slugTaken],
                    use: change
                ),
                Endpoint.organization(
                    .delete,
                    "/{id}",
                    "Delete an organization",
                    "All its sessions and API keys stop working. Its data is deleted for good after the grace period.",
                    permission: .organizationDelete,
                    responses: [.noContent],
                    problems: [.notFound("organization")],
                    use: delete
                ),
            ]
        )
    }

    private func list(_ call: OrganizationCall) async throws -> Response {
        .page(try await service.list(call.page, in: call.scope).map { OrganizationBody($0) })
    }

    private func create(_ call: OrganizationCall) async throws -> Response {
        let organization = try await service.create(
            NewOrganization(call.body),
            by: call.principal.user,
            in: call.scope,
            from: call.origin
        )
        return .created(
            OrganizationBody(organization),
            at: "/api/v1/organizations/\(organization.id)",
            tag: EntityTag(organization.updatedAt)
        )
    }

    private func show(_ call: OrganizationCall) async throws -> Response {
        let organization = try await service.get(call.pathID("id", or: .notFound("organization")), in: call.scope)
        return .ok(OrganizationBody(organization), tag: EntityTag(organization.updatedAt))
    }

    private func change(_ call: OrganizationCall) async throws -> Response {
        let precondition = call.ifMatch
        let organization = try await service.change(
            call.pathID("id", or: .notFound("organization")),
            OrganizationChanges(call.body),
            in: call.scope
        ) { updatedAt in
            try precondition.check(EntityTag(updatedAt))
        }
        return .ok(OrganizationBody(organization), tag: EntityTag(organization.updatedAt))
    }

    private func delete(_ call: OrganizationCall) async throws -> Response {
        try await service.delete(call.pathID("id", or: .notFound("organization")), in: call.scope)
        return .noContent
    }
}
