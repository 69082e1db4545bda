import Kernel
import Storage
import TestKit
import Testing

/// Marks the ids of the rows that these tests write.
enum Sample {}

/// A schema with one of everything that the drivers must agree on.
enum Conformance {
    static let migrations = [
        Migration(1, "preparation", TestDatabase.preparation),
        Migration(
            2,
            "conformance",
            [
                """
                CREATE TABLE samples (
                    id \(.uuid) NOT NULL CONSTRAINT samples_pkey PRIMARY KEY,
                    flag BOOLEAN, number BIGINT, ratio \(.double), words \(.text), raw \(.bytes), moment \(.timestamp),
                    data \(.json), price \(.decimal), tags \(.textArray), address \(.inet), embedding \(.vector(3))
                )
                """,
                """
                CREATE TABLE parents (
                    organization_id \(.uuid) NOT NULL,
                    id \(.uuid) NOT NULL,
                    name \(.text) NOT NULL,
                    CONSTRAINT parents_pkey PRIMARY KEY (organization_id, id),
                    CONSTRAINT parents_organization_id_name_key UNIQUE (organization_id, name),
                    CONSTRAINT parents_name_check CHECK (name <> '')
                )
                """,
                """
                CREATE TABLE children (
                    organization_id \(.uuid) NOT NULL,
                    id \(.uuid) NOT NULL,
                    parent_id \(.uuid) NOT NULL,
                    late_parent_id \(.uuid),
                    CONSTRAINT children_pkey PRIMARY KEY (organization_id, id),
                    CONSTRAINT children_parent_id_fkey FOREIGN KEY (organization_id, parent_id)
                        REFERENCES parents (organization_id, id) ON DELETE CASCADE,
                    CONSTRAINT children_late_parent_id_fkey FOREIGN KEY (organization_id, late_parent_id)
                        REFERENCES parents (organization_id, id) DEFERRABLE INITIALLY DEFERRED
                )
                """,
                "CREATE TABLE counters (id BIGINT NOT NULL PRIMARY KEY, value BIGINT NOT NULL)",
                "INSERT INTO counters (id, value) VALUES (1, 0)",
                """
                CREATE TABLE idempotency_keys (
                    organization_id \(.uuid) NOT NULL, principal \(.text) NOT NULL, key \(.text) NOT NULL,
                    token \(.text) NOT NULL, request_hash \(.text), state \(.text) NOT NULL,
                    created_at \(.timestamp), lease_expires_at \(.timestamp), expires_at \(.timestamp),
                    PRIMARY KEY (organization_id, principal, key),
                    CONSTRAINT idempotency_keys_state_check CHECK (state IN ('claimed', 'applied', 'done'))
                )
                """,
            ]
        ),
        Migration(3, "grants", TestDatabase.grants),
    ]

    static let organization = ID<OrganizationEntity>()
    static let scope = OrganizationScope.job(of: organization)

    static func with<Value: Sendable>(
        _ kind: TestDatabase.Kind,
        limits: TestDatabase.Limits = TestDatabase.Limits(),
        signals: SignalHub = SignalHub(),
        _ body: (any Database) async throws -> Value
    ) async throws -> Value {
        try await withDatabase(on: kind, migrations: migrations, limits: limits, signals: signals, body)
    }
}

extension Database {
    /// The rows of `parents`.
    func parents() async throws -> [String] {
        try await read(Conformance.scope) { tx in try tx.values("SELECT name FROM parents ORDER BY name") }
    }

    func counter(_ id: Int64 = 1) async throws -> Int64? {
        try await read(Conformance.scope) { tx in try tx.value("SELECT value FROM counters WHERE id = \(id)") }
    }
}

func insertParent(_ name: String, id: ID<Sample> = ID()) -> SQL {
    "INSERT INTO parents (organization_id, id, name) VALUES (\(Conformance.organization), \(id), \(name))"
}

/// A statement that takes minutes unless it is interrupted.
let endlessStatement: SQL = """
    WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < 10000000000)
    SELECT count(*) FROM n
    """

extension Database {
    /// Returns once so many calls wait for their turn.
    func hasWaiting(_ count: Int) async throws {
        try await eventually("\(count) calls wait") {
            switch self {
            case let database as SQLiteDatabase: database.waiting == count ? () : nil
            case let database as PostgresDatabase: database.waiting == count ? () : nil
            default: throw Refused("a driver that does not tell")
            }
        }
    }
}

struct Refused: Error, Equatable {
    let reason: String

    init(_ reason: String = "") { self.reason = reason }
}

/// Expects an error of storage, and returns it.
func storageError(
    sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () async throws -> Void
) async -> StorageError? {
    do {
        try await body()
        Issue.record("no error", sourceLocation: sourceLocation)
    } catch let error as StorageError {
        return error
    } catch {
        Issue.record("not an error of storage: \(error)", sourceLocation: sourceLocation)
    }
    return nil
}

/// Expects a violation of one constraint that no mapping catches.
func expectViolation(
    _ constraint: ConstraintMapping.Constraint,
    sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () async throws -> Void
) async {
    let error = await storageError(sourceLocation: sourceLocation, body)
    if case .violation(constraint)? = error { return }
    Issue.record("\(constraint) expected, not \(String(describing: error))", sourceLocation: sourceLocation)
}
