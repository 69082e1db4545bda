import Kernel

extension Database {
    /// The same database, whose writes erase: what they delete is overwritten on the disk as well.
    ///
    /// For purges, so that none can forget it. What the indexes of texts still hold of it goes with
    /// ``Database/finishErasing()``.
    package var erasing: any Database { ErasingDatabase(base: self) }
}

private struct ErasingDatabase: Database {
    let base: any Database

    var dialect: Dialect { base.dialect }
    var signals: SignalHub { base.signals }

    func read<Value: Sendable>(
        in scope: DataScope,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await base.read(in: scope, body)
    }

    func fetch<Value: Sendable>(_ query: Query<Value>, in scope: DataScope) async throws -> Value {
        try await base.fetch(query, in: scope)
    }

    func write<Value: Sendable>(
        in scope: DataScope,
        isolation: Isolation,
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await base.write(in: scope, isolation: isolation) { tx in
            try tx.overwriteDeleted()
            return try body(tx)
        }
    }

    func migrate<Value: Sendable>(_ body: @escaping @Sendable (any Transaction) throws -> Value) async throws -> Value {
        try await base.migrate(body)
    }

    func finishErasing() async throws -> Bool { try await base.finishErasing() }

    func checkRoom() async throws { try await base.checkRoom() }

    func run() async throws { try await base.run() }

    func close() async { await base.close() }
}
