package import Kernel
import Web

/// An account as the API shows it to its owner.
package struct UserBody: ResponseBody {
    let user: User

    package init(_ user: User) { self.user = user }

    package static let schema = Schema.named(
        "User",
        .object([
            .required("id", .uuid),
            .required("organization_id", .uuid, "The home organization."),
            .required("email", .email),
            .required("name", .string(1...120)),
            .required("role", .choice(of: MemberRole.self), "In the home organization."),
            .required("email_verified", .nullable(.dateTime), "When the address was verified."),
            .required("image", .nullable(.uri)),
            .required("created_at", .dateTime),
            .required("updated_at", .dateTime),
        ])
    )

    package func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("id")
        json.value(user.id.description)
        json.key("organization_id")
        json.value(user.organizationID.description)
        json.key("email")
        json.value(user.email)
        json.key("name")
        json.value(user.name)
        json.key("role")
        json.value(user.role.rawValue)
        json.key("email_verified")
        json.value(user.emailVerifiedAt?.description)
        json.key("image")
        json.value(user.image)
        json.key("created_at")
        json.value(user.createdAt.description)
        json.key("updated_at")
        json.value(user.updatedAt.description)
        json.endObject()
    }
}

/// One of the caller's organizations.
struct BelongingBody: ResponseBody {
    let belonging: Belonging

    init(_ belonging: Belonging) { self.belonging = belonging }

    static let schema = Schema.named(
        "Membership",
        .object([
            .required("organization_id", .uuid),
            .required("organization_name", .string(1...120)),
            .required("organization_slug", .string(Slug.length, format: .slug)),
            .required("organization_status", .choice(of: Organization.Status.self)),
            .required("role", .choice(of: MemberRole.self)),
            .required("created_at", .dateTime, "When you joined."),
        ])
    )

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("organization_id")
        json.value(belonging.organization.id.description)
        json.key("organization_name")
        json.value(belonging.organization.name)
        json.key("organization_slug")
        json.value(belonging.organization.slug)
        json.key("organization_status")
        json.value(belonging.organization.status.rawValue)
        json.key("role")
        json.value(belonging.role.rawValue)
        json.key("created_at")
        json.value(belonging.joinedAt.description)
        json.endObject()
    }
}

struct MeBody: ResponseBody {
    let me: Me

    init(_ me: Me) { self.me = me }

    static let schema = Schema.named(
        "Me",
        .object([
            .optional("user", UserBody.schema, "When a user calls."),
            .optional("api_key", APIKeyBody.schema, "When an API key calls."),
            .required(
                "organization",
                OrganizationBody.outlineSchema,
                "Where the credential acts; in full for those who may read it."
            ),
            .required("role", .nullable(.choice(of: MemberRole.self)), "Of the user in this organization."),
            .required("permissions", .array(of: .string(1...100))),
            .optional(
                "memberships",
                .array(of: BelongingBody.schema),
                "When a user calls: all their organizations."
            ),
        ])
    )

    func write(to json: inout JSONWriter) {
        json.beginObject()
        var role: MemberRole?
        switch me.caller {
        case .user(let user, let itsRole):
            role = itsRole
            json.key("user")
            UserBody(user).write(to: &json)
        case .apiKey(let key):
            json.key("api_key")
            APIKeyBody(key).write(to: &json)
        }
        json.key("organization")
        OrganizationBody(me.organization, inFull: me.permissions.contains(.organizationRead)).write(to: &json)
        json.key("role")
        json.value(role?.rawValue)
        json.key("permissions")
        json.beginArray()
        for name in me.permissions.names { json.value(name) }
        json.endArray()
        if case .user = me.caller {
            json.key("memberships")
            json.beginArray()
            for belonging in me.belongings { BelongingBody(belonging).write(to: &json) }
            json.endArray()
        }
        json.endObject()
    }
}

extension UserChanges {
    static let schema = Schema.named(
        "UserChanges",
        .object([
            .optional("name", .string(1...120, [.singleLine, .notBlank])),
            .optional("image", .nullable(.uri), "The address of a picture; null takes it away."),
        ])
    )

    init(_ body: JSON) { self.init(name: body["name"]?.string, image: body["image"].map(\.string)) }
}

struct UserRoutes: Sendable {
    let service: UserService

    private static let passwordChange = Schema.named(
        "PasswordChange",
        .object([
            .required("current_password", PasswordRules.knownSchema),
            .required("new_password", PasswordRules.schema),
        ])
    )

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/me",
            tag: "Me",
            [
                Endpoint.organization(
                    .get,
                    "",
                    "Who am I",
                    "Who calls, in which organization, and what they may do there.",
                    permission: nil,
                    responses: [.ok(MeBody.schema)],
                    problems: [.notFound("user"), .notFound("api key")],
                    use: show
                ),
                Endpoint.organization(
                    .patch,
                    "",
                    "Change my account",
                    permission: nil,
                    body: UserChanges.schema,
                    responses: [.ok(UserBody.schema)],
                    problems: [.userRequired, .notFound("user")],
                    use: change
                ),
                Endpoint.organization(
                    .post,
                    "/password",
                    "Change my password",
                    "All my other sessions end.",
                    permission: nil,
                    body: Self.passwordChange,
                    responses: [.noContent],
                    problems: [
                        .userRequired, .notFound("user"), .busy, .tooManyAttempts,
                        ProblemKind(.badRequest, "user.wrong_password", "The current password is another one."),
                    ],
                    rateLimit: .authentication,
                    idempotent: false,
                    use: changePassword
                ),
            ]
        )
    }

    private func show(_ call: OrganizationCall) async throws -> Response {
        .ok(MeBody(try await service.me(call.principal, in: call.scope)))
    }

    private func change(_ call: OrganizationCall) async throws -> Response {
        let user = try await service.change(UserChanges(call.body), by: call.principal, in: call.scope)
        return .ok(UserBody(user))
    }

    private func changePassword(_ call: OrganizationCall) async throws -> Response {
        try await service.changePassword(
            from: Secret(call.body["current_password"]?.string ?? ""),
            to: Secret(call.body["new_password"]?.string ?? ""),
            by: call.principal,
            in: call.scope
        )
        return .noContent
    }
}
