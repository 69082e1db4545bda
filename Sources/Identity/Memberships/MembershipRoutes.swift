package import Kernel
import Web

/// A member as the API shows them.
package struct MemberBody: ResponseBody {
    let member: Member

    package init(_ member: Member) { self.member = member }

    package static let schema = Schema.named(
        "Member",
        .object([
            .required("user_id", .uuid),
            .required("email", .email),
            .required("name", .string(1...120)),
            .required("image", .nullable(.uri)),
            .required("role", .choice(of: MemberRole.self)),
            .required("created_at", .dateTime, "When they became a member."),
            .required("updated_at", .dateTime),
        ])
    )

    package func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("user_id")
        json.value(member.user.id.description)
        json.key("email")
        json.value(member.user.email)
        json.key("name")
        json.value(member.user.name)
        json.key("image")
        json.value(member.user.image)
        json.key("role")
        json.value(member.membership.role.rawValue)
        json.key("created_at")
        json.value(member.membership.createdAt.description)
        json.key("updated_at")
        json.value(member.membership.updatedAt.description)
        json.endObject()
    }
}

extension NewMember {
    static let schema = Schema.named(
        "NewMember",
        .object([
            .required("email", .email, example: "ben@example.com"),
            .required("name", .string(1...120, [.singleLine, .notBlank]), example: "Ben"),
            .required("role", .choice(of: MemberRole.self)),
            .required("password", PasswordRules.schema, "Their first password, which you tell them."),
        ])
    )

    init(_ body: JSON) {
        self.init(
            email: body["email"]?.string ?? "",
            name: body["name"]?.string ?? "",
            role: body["role"]?.string.flatMap(MemberRole.init) ?? .member,
            password: Secret(body["password"]?.string ?? "")
        )
    }
}

struct MembershipRoutes: Sendable {
    let service: MembershipService

    private static let changes = Schema.named(
        "MemberChanges",
        .object([.required("role", .choice(of: MemberRole.self))])
    )
    static let exists = ProblemKind(.conflict, "member.exists", "They are a member already.")
    static let lastOwner = ProblemKind(
        .conflict,
        "member.last_owner",
        "They are the only owner; make somebody else an owner first."
    )
    static let beyondAuthority = ProblemKind(
        .forbidden,
        "member.beyond_authority",
        "The role may do something that you may not."
    )
    static let changed = ProblemKind(
        .conflict,
        "member.changed",
        "The account was changed at the same time; try again."
    )

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/members",
            tag: "Members",
            [
                Endpoint.organization(
                    .get,
                    "",
                    "List members",
                    "In the order in which they joined.",
                    permission: .membersRead,
                    query: .page,
                    responses: [.ok(.page(of: MemberBody.schema))],
                    use: list
                ),
                Endpoint.organization(
                    .post,
                    "",
                    "Add a member",
                    "Makes an account with a first password. Who has an account already is invited. Nobody can give a role "
                        + "that may do more than they may.",
                    permission: .membersWrite,
                    body: NewMember.schema,
                    responses: [.created(MemberBody.schema)],
                    problems: [
                        Self.exists,
                        ProblemKind(
                            .conflict,
                            "member.account_exists",
                            "There is an account with this address: invite it."
                        ),
                        Self.beyondAuthority, Self.changed, .busy,
                        ProblemKind(
                            .tooManyRequests,
                            "member.too_many_accounts",
                            "The organization made too many accounts; wait as `Retry-After` says."
                        ),
                    ],
                    use: add
                ),
                Endpoint.organization(
                    .get,
                    "/{user_id}",
                    "Read a member",
                    permission: .membersRead,
                    responses: [.ok(MemberBody.schema)],
                    problems: [.notFound("member")],
                    use: show
                ),
                Endpoint.organization(
                    .patch,
                    "/{user_id}",
                    "Change a member's role",
                    "Their sessions go on with the new role at once.",
                    permission: .membersWrite,
                    body: Self.changes,
                    edits: true,
                    responses: [.ok(MemberBody.schema)],
                    problems: [.notFound("member"), Self.lastOwner, Self.beyondAuthority],
                    use: change
                ),
                Endpoint.organization(
                    .delete,
                    "/{user_id}",
                    "Remove a member",
                    "Their sessions in this organization end. An account that belongs to no organization any more is deleted.",
                    permission: .membersWrite,
                    responses: [.noContent],
                    problems: [.notFound("member"), Self.lastOwner, Self.beyondAuthority, Self.changed],
                    use: remove
                ),
            ]
        )
    }

    private func list(_ call: OrganizationCall) async throws -> Response {
        .page(try await service.list(call.page, in: call.scope).map(MemberBody.init))
    }

    private func add(_ call: OrganizationCall) async throws -> Response {
        let member = try await service.add(NewMember(call.body), by: call.principal, in: call.scope)
        return .created(
            MemberBody(member),
            at: "/api/v1/members/\(member.user.id)",
            tag: EntityTag(member.membership.updatedAt)
        )
    }

    private func show(_ call: OrganizationCall) async throws -> Response {
        let member = try await service.get(call.pathID("user_id", or: .notFound("member")), in: call.scope)
        return .ok(MemberBody(member), tag: EntityTag(member.membership.updatedAt))
    }

    private func change(_ call: OrganizationCall) async throws -> Response {
        let precondition = call.ifMatch
        let member = try await service.change(
            call.pathID("user_id", or: .notFound("member")),
            to: call.body["role"]?.string.flatMap(MemberRole.init) ?? .member,
            by: call.principal,
            in: call.scope
        ) { updatedAt in
            try precondition.check(EntityTag(updatedAt))
        }
        return .ok(MemberBody(member), tag: EntityTag(member.membership.updatedAt))
    }

    private func remove(_ call: OrganizationCall) async throws -> Response {
        try await service.remove(
            call.pathID("user_id", or: .notFound("member")),
            by: call.principal,
            in: call.scope
        )
        return .noContent
    }
}

/// What members do with their own memberships.
struct OwnMembershipRoutes: Sendable {
    let service: MembershipService

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/me/memberships",
            tag: "Me",
            [
                Endpoint.organization(
                    .delete,
                    "/{organization_id}",
                    "Leave an organization",
                    "My sessions there end. An account that belongs to no organization any more is deleted.",
                    permission: nil,
                    responses: [.noContent],
                    problems: [.notFound("organization"), MembershipRoutes.lastOwner, MembershipRoutes.changed],
                    use: leave
                )
            ]
        )
    }

    private func leave(_ call: OrganizationCall) async throws -> Response {
        try await service.leave(
            call.pathID("organization_id", or: .notFound("organization")),
            by: call.principal,
            from: call.origin
        )
        return .noContent
    }
}

extension ProblemKind {
    static let busy = ProblemKind(
        .unavailable,
        "auth.busy",
        "Too many passwords are being checked; try again in a moment."
    )
    static let userRequired = ProblemKind(
        .forbidden,
        "auth.user_required",
        "An API key cannot do this, only a signed-in user."
    )
    static let tooManyAttempts = ProblemKind(
        .tooManyRequests,
        "auth.too_many_attempts",
        "Too many attempts for this account; wait as `Retry-After` says."
    )
}
