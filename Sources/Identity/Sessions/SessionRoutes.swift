import Kernel
import Web

/// What a sign-in answers.
struct SignedInBody: ResponseBody {
    let signedIn: SignedIn

    init(_ signedIn: SignedIn) { self.signedIn = signedIn }

    static let schema = Schema.named(
        "SignedIn",
        .object([
            .required("access_token", .string(1...2_048), "Send it as `Authorization: Bearer …`."),
            .required("token_type", .constant("Bearer")),
            .required("expires_in", .integer(1...86_400), "Seconds until the access token ends.", example: 900),
            .required("refresh_token", .string(1...200), "For `POST /api/v1/auth/refresh`, once."),
            .required("user", UserBody.schema),
            .required("organization", OrganizationBody.schema, "Where the tokens act."),
        ])
    )

    func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("access_token")
        json.value(signedIn.accessToken.exposed)
        json.key("token_type")
        json.value("Bearer")
        json.key("expires_in")
        json.value(signedIn.expiresIn.components.seconds)
        json.key("refresh_token")
        json.value(signedIn.refreshToken.exposed)
        json.key("user")
        UserBody(signedIn.user).write(to: &json)
        json.key("organization")
        OrganizationBody(signedIn.organization).write(to: &json)
        json.endObject()
    }
}

extension SignUp {
    static let schema = Schema.named(
        "SignUp",
        .object([
            .required("email", .email, "Kept in lower case.", example: "ana@example.com"),
            .required(
                "password",
                PasswordRules.schema,
                "Any characters; not the address.",
                example: "mirë se erdhe 1912"
            ),
            .required("name", .string(1...120, [.singleLine, .notBlank]), example: "Ana"),
            .required("organization_name", .string(1...120, [.singleLine, .notBlank]), example: "Kafe Tirana"),
            .optional(
                "organization_slug",
                .string(Slug.length, format: .slug),
                "Made from the name when absent.",
                example: "kafe-tirana"
            ),
        ])
    )

    init(_ body: JSON) {
        self.init(
            email: body["email"]?.string ?? "",
            password: Secret(body["password"]?.string ?? ""),
            name: body["name"]?.string ?? "",
            organization: NewOrganization(
                name: body["organization_name"]?.string ?? "",
                slug: body["organization_slug"]?.string
            )
        )
    }
}

struct SessionRoutes: Sendable {
    /// In bytes: nothing that strangers may send here is long.
    private static let bodyLimit = 16 * 1_024

    let service: SessionService

    private static let logIn = Schema.named(
        "LogIn",
        .object([
            .required("email", .email, example: "ana@example.com"),
            .required("password", PasswordRules.knownSchema, example: "mirë se erdhe 1912"),
            .optional("organization_id", .uuid, "One of yours; the home when absent."),
        ])
    )
    private static let join = Schema.named(
        "Join",
        .object([
            .required("code", .string(1...200), "From the invitation."),
            .required("name", .string(1...120, [.singleLine, .notBlank]), example: "Ben"),
            .required("password", PasswordRules.schema, "Any characters; not the address."),
        ])
    )
    private static let emailTaken = ProblemKind(
        .conflict,
        "user.email_taken",
        "There is an account with this address."
    )
    private static let refresh = Schema.named("Refresh", .object([.required("refresh_token", .string(1...200))]))
    private static let `switch` = Schema.named("SwitchOrganization", .object([.required("organization_id", .uuid)]))

    private static let invalidCredentials = ProblemKind(
        .unauthorized,
        "auth.invalid_credentials",
        "The address or the password is wrong; it is not said which."
    )
    private static let suspended = ProblemKind(
        .forbidden,
        "organization.suspended",
        "The organization is suspended."
    )

    var endpoints: [Endpoint] {
        .under(
            "/api/v1/auth",
            tag: "Sign-in",
            [
                Endpoint.public(
                    .post,
                    "/signup",
                    "Sign up",
                    "Creates an account and an organization that it owns.",
                    body: SignUp.schema,
                    responses: [.created(SignedInBody.schema)],
                    problems: [
                        Self.emailTaken, OrganizationRoutes.slugTaken, .busy,
                    ],
                    rateLimit: .authentication,
                    bodyLimit: Self.bodyLimit,
                    use: signUp
                ),
                Endpoint.public(
                    .post,
                    "/join",
                    "Join an organization that invited you",
                    "Creates an account with the address of the invitation. Who has one logs in and accepts the invitation with "
                        + "`POST /api/v1/me/memberships`.",
                    body: Self.join,
                    responses: [.created(SignedInBody.schema)],
                    problems: [InvitationRoutes.notFound, Self.emailTaken, .busy],
                    rateLimit: .authentication,
                    bodyLimit: Self.bodyLimit,
                    use: join
                ),
                Endpoint.public(
                    .post,
                    "/login",
                    "Log in",
                    body: Self.logIn,
                    responses: [.ok(SignedInBody.schema)],
                    problems: [
                        Self.invalidCredentials, Self.suspended,
                        ProblemKind(
                            .notFound,
                            "organization.not_found",
                            "The account does not belong to this organization."
                        ),
                        .tooManyAttempts, .busy,
                    ],
                    rateLimit: .authentication,
                    bodyLimit: Self.bodyLimit,
                    use: logIn
                ),
                Endpoint.public(
                    .post,
                    "/refresh",
                    "Refresh the tokens",
                    "A refresh token can be used once. Sent again within 10 s it receives the same successor; later its "
                        + "session ends.",
                    body: Self.refresh,
                    responses: [.ok(SignedInBody.schema)],
                    problems: [
                        ProblemKind(.unauthorized, "auth.invalid_refresh_token", "The token is unknown or has ended."),
                        ProblemKind(
                            .unauthorized,
                            "auth.refresh_reused",
                            "The token was used before; its session was ended."
                        ),
                        Self.suspended,
                    ],
                    bodyLimit: Self.bodyLimit,
                    use: refresh
                ),
                Endpoint.organization(
                    .post,
                    "/logout",
                    "Log out",
                    "Ends the session of the token, and those that it was switched to or from.",
                    permission: nil,
                    responses: [.noContent],
                    problems: [.userRequired],
                    idempotent: false,
                    use: logOut
                ),
                Endpoint.organization(
                    .post,
                    "/switch",
                    "Switch to another organization",
                    "A new session in another organization of yours. The present one goes on; both belong to one sign-in and end "
                        + "together.",
                    permission: nil,
                    body: Self.switch,
                    responses: [.ok(SignedInBody.schema)],
                    problems: [
                        .userRequired, Self.suspended, .notFound("organization"),
                        ProblemKind(
                            .conflict,
                            "auth.same_organization",
                            "The token acts in this organization already."
                        ),
                    ],
                    idempotent: false,
                    use: switchOrganization
                ),
            ]
        )
    }

    private func signUp(_ call: PublicCall) async throws -> Response {
        .created(SignedInBody(try await service.signUp(SignUp(call.body), from: call.origin)), at: "/api/v1/me")
    }

    private func join(_ call: PublicCall) async throws -> Response {
        let new = Joining(
            code: Secret(call.body["code"]?.string ?? ""),
            name: call.body["name"]?.string ?? "",
            password: Secret(call.body["password"]?.string ?? "")
        )
        return .created(SignedInBody(try await service.join(new, from: call.origin)), at: "/api/v1/me")
    }

    private func logIn(_ call: PublicCall) async throws -> Response {
        let signedIn = try await service.logIn(
            email: call.body["email"]?.string ?? "",
            password: Secret(call.body["password"]?.string ?? ""),
            organization: call.body["organization_id"]?.string.flatMap { ID($0) },
            from: call.origin
        )
        return .ok(SignedInBody(signedIn))
    }

    private func refresh(_ call: PublicCall) async throws -> Response {
        let secret = Secret(call.body["refresh_token"]?.string ?? "")
        return .ok(SignedInBody(try await service.refresh(secret, from: call.origin)))
    }

    private func logOut(_ call: OrganizationCall) async throws -> Response {
        try await service.logOut(call.principal, in: call.scope)
        return .noContent
    }

    private func switchOrganization(_ call: OrganizationCall) async throws -> Response {
        guard let id = call.body["organization_id"]?.string.flatMap({ ID<OrganizationEntity>($0) }) else {
            throw OrganizationError.unknown
        }
        return .ok(
            SignedInBody(try await service.switchOrganization(to: id, by: call.principal, from: call.origin))
        )
    }
}
