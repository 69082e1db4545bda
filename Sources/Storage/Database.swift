package import Kernel

/// A database and the connections to it.
///
/// Two drivers: `SQLiteDatabase` and `PostgresDatabase`.
///
/// Bodies are synchronous and run on the driver's own threads. They see the rows of their scope only: on PostgreSQL
/// row level security enforces it, on SQLite the statements' own conditions do.
package protocol Database: Sendable {
    var dialect: Dialect { get }
    /// Where `Transaction.signal` is heard, on every node that shares the database.
    var signals: SignalHub { get }

    /// A consistent view of the rows. Writing in it is an error.
    func read<Value: Sendable>(
        in scope: DataScope,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value

    /// What a query's rows become.
    func fetch<Value: Sendable>(_ query: Query<Value>, in scope: DataScope) async throws -> Value

    /// Changes rows. When this returns the change is durable; when it throws, nothing of it remains - except after
    /// `StorageError.commitUnknown`.
    func write<Value: Sendable>(
        in scope: DataScope,
        isolation: Isolation,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value

    /// Runs `body` in a transaction that no other migrator, on any node, can overlap. Statements are not scoped.
    func migrate<Value: Sendable>(_ body: @escaping @Sendable (any Transaction) throws -> Value) async throws -> Value

    /// Removes from the disk what erasing transactions have left of rows that they deleted; see ``Database/erasing``.
    ///
    /// On PostgreSQL that is its own vacuum's work (`docs/operations.md`).
    ///
    /// - Returns: Whether all is gone; if not, the next call goes on.
    @discardableResult
    func finishErasing() async throws -> Bool

    /// Throws when a write found no room on the disk and there still is none, which is found out by writing something.
    func checkRoom() async throws

    /// Serves until cancelled: keeps connections alive, relays signals.
    func run() async throws

    /// Ends all connections. Later calls throw `StorageError.closed`.
    func close() async
}

package enum Isolation: Sendable {
    /// As if transactions ran one after the other; run again on conflict.
    case serializable
    /// Each statement sees what others have committed before it: for claims that skip what others hold, and for changes
    /// under one lock that everybody takes first.
    case readCommitted
}

extension Database {
    package func read<Value: Sendable>(
        _ scope: OrganizationScope,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await read(in: .organization(scope), body)
    }

    package func write<Value: Sendable>(
        _ scope: OrganizationScope,
        isolation: Isolation = .serializable,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await write(in: .organization(scope), isolation: isolation, body)
    }

    package func read<Value: Sendable>(
        for purpose: SystemPurpose,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await read(in: .system(purpose), body)
    }

    package func write<Value: Sendable>(
        for purpose: SystemPurpose,
        isolation: Isolation = .serializable,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await write(in: .system(purpose), isolation: isolation, body)
    }
}
