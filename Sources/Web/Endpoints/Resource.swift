import HTTPTypes
package import Kernel

/// What the endpoints of a resource refuse, beside what every endpoint does and an id that does not exist.
package struct ResourceProblems: Sendable {
    package let create: [ProblemKind]
    package let change: [ProblemKind]
    package let delete: [ProblemKind]

    package init(create: [ProblemKind] = [], change: [ProblemKind] = [], delete: [ProblemKind] = []) {
        self.create = create
        self.change = change
        self.delete = delete
    }
}

extension [Endpoint] {
    /// The five endpoints of a plain noun: list, create, read, change, delete.
    ///
    /// - Parameters:
    ///   - noun: In the singular, as problems name it.
    ///   - path: Of the list; the others append the id.
    ///   - tag: Its name in the plural, with a capital: the heading in the API description.
    ///   - filters: Query parameters of the list.
    ///   - changing: What is to be said about editing.
    ///   - deleting: What is to be said about deleting.
    package static func resource<Value: Noun>(
        _ noun: String,
        at path: String,
        tag: String,
        read: Permission,
        write: Permission,
        filters: [Schema.Property] = [],
        changing: String = "",
        deleting: String = "",
        problems: ResourceProblems = ResourceProblems(),
        list: @escaping @Sendable (OrganizationCall) async throws -> Page<Value>,
        create: @escaping @Sendable (OrganizationCall) async throws -> Value,
        get: @escaping @Sendable (ID<Value.Entity>, OrganizationScope) async throws -> Value,
        change: @escaping @Sendable (ID<Value.Entity>, OrganizationCall) async throws -> Value,
        delete: @escaping @Sendable (ID<Value.Entity>, OrganizationScope) async throws -> Void
    ) -> [Endpoint] {
        let fields = Value.fields
        let missing = Problem.notFound(noun)
        let article = "aeiou".contains(noun.prefix(1)) ? "an" : "a"
        return .under(
            path,
            tag: tag,
            [
                Endpoint.organization(
                    .get,
                    "",
                    "List \(tag.prefix(1).lowercased())\(tag.dropFirst())",
                    "Newest first.",
                    permission: read,
                    query: .page + filters,
                    responses: [.ok(.page(of: fields.body))]
                ) { call in .page(try await list(call)) },
                Endpoint.organization(
                    .post,
                    "",
                    "Create \(article) \(noun)",
                    permission: write,
                    body: fields.new,
                    responses: [.created(fields.body)],
                    problems: problems.create
                ) { call in
                    let value = try await create(call)
                    return .created(value, at: "\(path)/\(value.id)")
                },
                Endpoint.organization(
                    .get,
                    "/{id}",
                    "Read \(article) \(noun)",
                    permission: read,
                    responses: [.ok(fields.body)],
                    problems: [.notFound(noun)]
                ) { call in .ok(try await get(call.pathID("id", or: missing), call.scope)) },
                Endpoint.organization(
                    .patch,
                    "/{id}",
                    "Change \(article) \(noun)",
                    changing,
                    permission: write,
                    body: fields.patch,
                    edits: true,
                    responses: [.ok(fields.body)],
                    problems: [.notFound(noun)] + problems.change
                ) { call in .ok(try await change(call.pathID("id", or: missing), call)) },
                Endpoint.organization(
                    .delete,
                    "/{id}",
                    "Delete \(article) \(noun)",
                    deleting,
                    permission: write,
                    responses: [.noContent],
                    problems: [.notFound(noun)] + problems.delete
                ) { call in
                    try await delete(call.pathID("id", or: missing), call.scope)
                    return .noContent
                },
            ]
        )
    }
}

extension Response {
    package static func ok<Value: Noun>(_ value: Value) -> Response {
        json { Value.fields.write(value, to: &$0) }.with(tag: value.tag)
    }

    /// - Parameter location: The path of what was created.
    package static func created<Value: Noun>(_ value: Value, at location: String) -> Response {
        json(status: .created) { Value.fields.write(value, to: &$0) }.with(tag: value.tag)
            .with(.location, location)
    }

    package static func page<Value: Noun>(_ page: Page<Value>) -> Response {
        let fields = Value.fields
        return json(reserving: 32 + page.items.count * 512) { json in
            json.page(next: page.next) { json in
                for item in page.items { fields.write(item, to: &json) }
            }
        }
    }
}
