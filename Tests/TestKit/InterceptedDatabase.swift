package import Kernel
package import Storage

/// A database that a test makes slow, or takes away.
///
/// What is called before a transaction delays it, or refuses it by throwing, and what is called after a read delays its
/// result; queries pass as they are.
package struct InterceptedDatabase: Database {
    private let base: any Database
    private let beforeRead: @Sendable (DataScope) async throws -> Void
    private let afterRead: @Sendable (DataScope) async throws -> Void
    private let beforeWrite: @Sendable (DataScope) async throws -> Void

    package init(
        _ base: any Database,
        beforeRead: @escaping @Sendable (DataScope) async throws -> Void = { _ in },
        afterRead: @escaping @Sendable (DataScope) async throws -> Void = { _ in },
        beforeWrite: @escaping @Sendable (DataScope) async throws -> Void = { _ in }
    ) {
        self.base = base
        self.beforeRead = beforeRead
        self.afterRead = afterRead
        self.beforeWrite = beforeWrite
    }

    package var dialect: Dialect { base.dialect }
    package var signals: SignalHub { base.signals }

    package func read<Value: Sendable>(
        in scope: DataScope,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await beforeRead(scope)
        let value = try await base.read(in: scope, body)
        try await afterRead(scope)
        return value
    }

    package func fetch<Value: Sendable>(_ query: Query<Value>, in scope: DataScope) async throws -> Value {
        try await base.fetch(query, in: scope)
    }

    package func write<Value: Sendable>(
        in scope: DataScope,
        isolation: Isolation,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await beforeWrite(scope)
        return try await base.write(in: scope, isolation: isolation, body)
    }

    package func migrate<Value: Sendable>(
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await base.migrate(body)
    }

    package func finishErasing() async throws -> Bool { try await base.finishErasing() }

    package func checkRoom() async throws { try await base.checkRoom() }

    package func run() async throws { try await base.run() }

    package func close() async { await base.close() }
}
