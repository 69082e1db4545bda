package import Kernel
package import Storage

/// The facts that are recorded of a plain noun.
package struct NounEvents<Value: Noun>: Sendable {
    let created: EventType
    let updated: EventType
    let deleted: EventType
    let data: @Sendable (Value) -> JSON

    /// - Parameter data: What the three types say of one, beside what an edit changed; holds no secret.
    package init(
        created: EventType,
        updated: EventType,
        deleted: EventType,
        data: @escaping @Sendable (Value) -> JSON = { ["id": .string($0.id.description)] }
    ) {
        self.created = created
        self.updated = updated
        self.deleted = deleted
        self.data = data
    }

    fileprivate func event(_ type: EventType, _ value: Value, _ changes: JSON? = nil) -> Event {
        Event(type, subject: value.id.description, data: data(value), changes: changes)
    }
}

/// A new state of a noun, before it is stored.
package struct NounEdit<Value: Noun>: Sendable {
    package let value: Value
    /// nil for a new one.
    package let old: Value?
    fileprivate let body: JSON?

    /// Whether somebody says what a member is, be it what it was before.
    package func sets<Member: Equatable>(_ name: String, _ member: KeyPath<Value, Member>) -> Bool {
        if let body { return body[name] != nil }
        return old.map { $0[keyPath: member] != value[keyPath: member] } ?? true
    }
}

/// The use cases of a plain noun: each is one transaction that loads, checks, saves and records what happened.
package struct NounService<Store: NounStore>: Sendable {
    package typealias Value = Store.Value

    package let database: any Database
    private let events: NounEvents<Value>
    private let check: @Sendable (NounEdit<Value>, OrganizationScope, any Transaction) throws -> Void
    private let complete: @Sendable (inout Value) -> Void
    private let deleted: @Sendable (Value, OrganizationScope, Timestamp, any Transaction) throws -> Void
    private let now: @Sendable () -> Timestamp

    /// - Parameters:
    ///   - complete: Adds what the API shows and no row knows.
    ///   - deleted: What follows when one is deleted, in the same transaction.
    ///   - check: Throws where a new one, or one that was edited, is not what the rest of the database allows.
    package init(
        database: any Database,
        events: NounEvents<Value>,
        now: @escaping @Sendable () -> Timestamp,
        complete: @escaping @Sendable (inout Value) -> Void = { _ in },
        deleted: @escaping @Sendable (Value, OrganizationScope, Timestamp, any Transaction) throws -> Void = {
            _,
            _,
            _,
            _ in
        },
        check: @escaping @Sendable (NounEdit<Value>, OrganizationScope, any Transaction) throws -> Void = { _, _, _ in }
    ) {
        self.database = database
        self.events = events
        self.now = now
        self.complete = complete
        self.deleted = deleted
        self.check = check
    }

    /// - Parameter fill: Says what the new one is.
    package func create(
        in scope: OrganizationScope,
        _ fill: @Sendable (inout Value) throws -> Void
    ) async throws -> Value {
        var new = Value(at: now())
        try fill(&new)
        return try await create(NounEdit(value: new, old: nil, body: nil), in: scope)
    }

    /// - Parameter body: Fits the schema of a new one.
    package func create(from body: JSON, in scope: OrganizationScope) async throws -> Value {
        var new = Value(at: now())
        try new.fill(from: body)
        return try await create(NounEdit(value: new, old: nil, body: body), in: scope)
    }

    private func create(_ edit: NounEdit<Value>, in scope: OrganizationScope) async throws -> Value {
        let value = edit.value
        try await database.write(scope) { tx in
            try check(edit, scope, tx)
            try Store(tx: tx, scope: scope).insert(value)
            try tx.record(events.event(events.created, value), in: scope, now: value.createdAt)
        }
        return completed(value)
    }

    private func completed(_ value: Value) -> Value {
        var value = value
        complete(&value)
        return value
    }

    package func get(_ id: ID<Value.Entity>, in scope: OrganizationScope) async throws -> Value {
        completed(try await database.read(scope) { tx in try Store(tx: tx, scope: scope).get(id) })
    }

    /// One page, newest first.
    ///
    /// - Parameter filters: Conditions that all hold; nil for a filter that is not set.
    package func list(
        _ page: PageRequest,
        where filters: [SQL?] = [],
        in scope: OrganizationScope
    ) async throws -> Page<Value> {
        try await database.read(scope) { tx in try Store(tx: tx, scope: scope).list(page, where: filters) }
            .map(completed)
    }

    /// - Parameters:
    ///   - precondition: What the caller knows of the state that is edited.
    ///   - edit: Makes the edit; it may run again after a conflict.
    /// - Returns: The state afterwards. An edit that changes nothing leaves no trace.
    package func change(
        _ id: ID<Value.Entity>,
        if precondition: Precondition = .none,
        in scope: OrganizationScope,
        _ edit: @escaping @Sendable (inout Value) throws -> Void
    ) async throws -> Value {
        try await change(id, if: precondition, in: scope, body: nil, edit)
    }

    /// - Parameter body: Fits the schema of a patch.
    package func change(
        _ id: ID<Value.Entity>,
        if precondition: Precondition = .none,
        with body: JSON,
        in scope: OrganizationScope
    ) async throws -> Value {
        try await change(id, if: precondition, in: scope, body: body) { try $0.edit(with: body) }
    }

    private func change(
        _ id: ID<Value.Entity>,
        if precondition: Precondition,
        in scope: OrganizationScope,
        body: JSON?,
        _ edit: @escaping @Sendable (inout Value) throws -> Void
    ) async throws -> Value {
        let now = now()
        let result = try await database.write(scope) { tx in
            let store = Store(tx: tx, scope: scope)
            let old = try store.get(id)
            try precondition.check(completed(old).tag)
            var value = old
            try edit(&value)
            try check(NounEdit(value: value, old: old, body: body), scope, tx)
            guard value.differs(from: old) else { return old }
            value.touch(at: now)
            try store.save(value)
            try tx.record(events.event(events.updated, value, value.changes(since: old)), in: scope, now: now)
            return value
        }
        return completed(result)
    }

    package func delete(_ id: ID<Value.Entity>, in scope: OrganizationScope) async throws {
        let now = now()
        try await database.write(scope) { tx in
            let store = Store(tx: tx, scope: scope)
            let value = try store.get(id)
            try store.delete(id, at: now)
            try deleted(value, scope, now, tx)
            try tx.record(events.event(events.deleted, value), in: scope, now: now)
        }
    }
}
