import Kernel
package import Storage

extension APIKey: RowDecodable {
    package init(row: inout Row) throws {
        id = try row.next()
        name = try row.next()
        prefix = try row.next()
        permissions = try Set(row.next([String].self).map(Permission.init(name:)))
        lastUsedAt = try row.next()
        expiresAt = try row.next()
        createdBy = try row.next()
        createdAt = try row.next()
    }
}

/// What the check of a key needs to know.
struct LiveKey: RowDecodable, Sendable {
    let id: ID<APIKeyEntity>
    let organization: ID<OrganizationEntity>
    let permissions: Set<Permission>
    let expiresAt: Timestamp?
    let status: Organization.Status

    init(row: inout Row) throws {
        id = try row.next()
        organization = try row.next()
        permissions = try Set(row.next([String].self).map(Permission.init(name:)))
        expiresAt = try row.next()
        status = try row.next()
    }
}

struct APIKeyStore {
    let tx: any Transaction
    let scope: OrganizationScope

    static let columns: SQL = "id, name, key_prefix, permissions, last_used_at, expires_at, created_by, created_at"

    /// The key with a hash, in a transaction of `SystemPurpose.authentication`.
    static func live(_ token: APIKeyToken, at now: Timestamp, in tx: any Transaction) throws -> LiveKey? {
        try tx.first(
            """
            SELECT k.id, k.organization_id, k.permissions, k.expires_at, o.status
            FROM api_keys k JOIN organizations o ON o.id = k.organization_id
            WHERE k.key_hash = \(token.hash) AND o.status <> 'deleted'
                AND (k.expires_at IS NULL OR k.expires_at > \(now))
            """
        )
    }

    /// Notes when keys were used, in a transaction of `SystemPurpose.authentication`.
    static func touch(_ uses: [APIKeyUse], in tx: any Transaction) throws {
        for use in uses {
            try tx.run(
                """
                UPDATE api_keys SET last_used_at = \(use.at)
                WHERE organization_id = \(use.organization) AND id = \(use.key)
                    AND (last_used_at IS NULL OR last_used_at < \(use.at))
                """
            )
        }
    }

    func find(_ id: ID<APIKeyEntity>) throws -> APIKey? {
        try tx.first("SELECT \(Self.columns) FROM api_keys WHERE organization_id = \(scope.id) AND id = \(id)")
    }

    func get(_ id: ID<APIKeyEntity>) throws -> APIKey {
        guard let key = try find(id) else { throw APIKeyError.unknown }
        return key
    }

    func list(_ page: PageRequest) throws -> Page<APIKey> {
        try Listing(of: "api_keys", Self.columns, in: scope, page)
            .values(in: tx) { Cursor(time: $0.createdAt, id: $0.id) }
    }

    func insert(_ key: APIKey, hash: String) throws {
        try tx.run(
            """
            INSERT INTO api_keys (organization_id, key_hash, \(Self.columns))
            VALUES (\(scope.id), \(hash), \(key.id), \(key.name), \(key.prefix),
                \(SQLValue.textArray(key.permissions.names)), \(key.lastUsedAt), \(key.expiresAt), \(key.createdBy),
                \(key.createdAt))
            """
        )
    }

    func rename(_ id: ID<APIKeyEntity>, to name: String) throws {
        try tx.run("UPDATE api_keys SET name = \(name) WHERE organization_id = \(scope.id) AND id = \(id)")
    }

    func delete(_ id: ID<APIKeyEntity>) throws {
        try tx.run("DELETE FROM api_keys WHERE organization_id = \(scope.id) AND id = \(id)")
    }
}
