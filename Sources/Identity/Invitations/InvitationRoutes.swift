package import Kernel
import Web

/// An invitation as the API shows it, after its creation without the code.
package struct InvitationBody: ResponseBody {
    let invitation: Invitation
    let code: InvitationCode?

    package init(_ invitation: Invitation, _ code: InvitationCode? = nil) {
        self.invitation = invitation
        self.code = code
    }

    private static let fields: [Schema.Property] = [
        .required("id", .uuid),
        .required("email", .email),
        .required("role", .choice(of: MemberRole.self)),
        .required("invited_by", .nullable(.uuid), "The user; null when a key invited."),
        .required("created_at", .dateTime),
        .required("expires_at", .dateTime, "Seven days after it was made."),
    ]

    package static let schema = Schema.named("Invitation", .object(fields))
    static let createdSchema = Schema.named(
        "CreatedInvitation",
        .object(fields + [.required("code", .string(1...200), "Send it to the address. It is shown this once.")])
    )

    package func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.value(invitation.id.description)
        json.key("email")
        json.value(invitation.email)
        json.key("role")
        json.value(invitation.role.rawValue)
        json.key("invited_by")
        json.value(invitation.invitedBy?.description)
        json.key("created_at")
        json.value(invitation.createdAt.description)
        json.key("expires_at")
        json.value(invitation.expiresAt.description)
        if let code {
            json.key("code")
            json.value(code.secret.exposed)
        }
        json.endObject()
    }
}

struct InvitationRoutes: Sendable {
    let service: InvitationService

    private static let new = Schema.named(
        "NewInvitation",
        .object([
            .required("email", .email, "Kept in lower case.", example: "ben@example.com"),
            .required("role", .choice(of: MemberRole.self)),
        ])
    )
    private static let acceptance = Schema.named(
        "InvitationAcceptance",
        .object([.required("code", .string(1...200), "From the invitation.")])
    )

    static let notFound = ProblemKind(
        .notFound,
        "invitation.not_found",
        "Unknown, expired, used, or for another address; it is not said which."
    )

    var endpoints: [Endpoint] { invitations + own }

    private var invitations: [Endpoint] {
        .under(
            "/api/v1/invitations",
            tag: "Invitations",
            [
                Endpoint.organization(
                    .get,
                    "",
                    "List invitations",
                    "Those that can still be taken, newest first.",
                    permission: .membersRead,
                    query: .page,
                    responses: [.ok(.page(of: InvitationBody.schema))],
                    use: list
                ),
                Endpoint.organization(
                    .post,
                    "",
                    "Invite somebody",
                    "The answer is the only place where the code is shown; no mail is sent. It takes the place of an earlier "
                        + "invitation of the address. Nobody can give a role that may do more than they may.",
                    permission: .membersWrite,
                    body: Self.new,
                    responses: [.created(InvitationBody.createdSchema)],
                    problems: [MembershipRoutes.exists, MembershipRoutes.beyondAuthority],
                    use: invite
                ),
                Endpoint.organization(
                    .get,
                    "/{id}",
                    "Read an invitation",
                    permission: .membersRead,
                    responses: [.ok(InvitationBody.schema)],
                    problems: [.notFound("invitation")],
                    use: show
                ),
                Endpoint.organization(
                    .delete,
                    "/{id}",
                    "Take an invitation back",
                    permission: .membersWrite,
                    responses: [.noContent],
                    problems: [.notFound("invitation"), MembershipRoutes.beyondAuthority],
                    use: delete
                ),
            ]
        )
    }

    private var own: [Endpoint] {
        .under(
            "/api/v1/me/memberships",
            tag: "Me",
            [
                Endpoint.organization(
                    .post,
                    "",
                    "Accept an invitation",
                    "It must be for the address of your account. `POST /api/v1/auth/switch` leads into the organization.",
                    permission: nil,
                    body: Self.acceptance,
                    responses: [.created(BelongingBody.schema)],
                    problems: [
                        .userRequired, Self.notFound, MembershipRoutes.exists, MembershipRoutes.changed,
                        OrganizationRoutes.tooMany,
                    ],
                    idempotent: false,
                    use: accept
                )
            ]
        )
    }

    private func list(_ call: OrganizationCall) async throws -> Response {
        .page(try await service.list(call.page, in: call.scope).map { InvitationBody($0) })
    }

    private func invite(_ call: OrganizationCall) async throws -> Response {
        let (invitation, code) = try await service.invite(
            NewInvitation(
                email: call.body["email"]?.string ?? "",
                role: call.body["role"]?.string.flatMap(MemberRole.init) ?? .member
            ),
            by: call.principal,
            in: call.scope
        )
        return .created(InvitationBody(invitation, code), at: "/api/v1/invitations/\(invitation.id)")
    }

    private func show(_ call: OrganizationCall) async throws -> Response {
        .ok(InvitationBody(try await service.get(call.pathID("id", or: .notFound("invitation")), in: call.scope)))
    }

    private func delete(_ call: OrganizationCall) async throws -> Response {
        try await service.delete(
            call.pathID("id", or: .notFound("invitation")),
            by: call.principal,
            in: call.scope
        )
        return .noContent
    }

    private func accept(_ call: OrganizationCall) async throws -> Response {
        let belonging = try await service.accept(
            Secret(call.body["code"]?.string ?? ""),
            by: call.principal,
            from: call.origin
        )
        return .created(BelongingBody(belonging), at: "/api/v1/me")
    }
}
