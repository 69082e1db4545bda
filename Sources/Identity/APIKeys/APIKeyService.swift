import Events
package import Kernel
import Storage

package struct APIKeyService: Sendable {
    let database: any Database
    let credentials: CredentialCheck
    let roles: RoleMatrix
    let now: @Sendable () -> Timestamp

    /// Creates a key that can do no more than who creates it, and lives no longer than the key that does.
    ///
    /// Its token is in the result and nowhere else.
    package func create(
        _ new: NewAPIKey,
        by principal: Principal,
        in scope: OrganizationScope
    ) async throws -> (key: APIKey, token: APIKeyToken) {
        let now = now()
        if let expiresAt = new.expiresAt, expiresAt <= now { throw APIKeyError.expiresInThePast }
        let token = APIKeyToken()
        let key = APIKey(
            id: ID(),
            name: new.name,
            prefix: token.shown,
            permissions: new.permissions,
            lastUsedAt: nil,
            expiresAt: new.expiresAt,
            createdBy: principal.actor.userID,
            createdAt: now
        )
        try await database.write(scope) { tx in
            let authority = try Authority(of: principal, needing: .apiKeysWrite, in: scope, at: now, roles, tx)
            let lacking = key.permissions.subtracting(authority.permissions)
            guard lacking.isEmpty else { throw APIKeyError.beyondAuthority(lacking.names) }
            if let end = authority.endsAt, key.expiresAt.map({ $0 > end }) ?? true {
                throw APIKeyError.outlivesCreator(end)
            }
            try APIKeyStore(tx: tx, scope: scope).insert(key, hash: token.hash)
            try tx.record(.apiKey(IdentityEvents.apiKeyCreated, key), in: scope, now: now)
        }
        return (key, token)
    }

    package func get(_ id: ID<APIKeyEntity>, in scope: OrganizationScope) async throws -> APIKey {
        try await database.read(scope) { tx in try APIKeyStore(tx: tx, scope: scope).get(id) }
    }

    package func list(_ page: PageRequest, in scope: OrganizationScope) async throws -> Page<APIKey> {
        try await database.read(scope) { tx in try APIKeyStore(tx: tx, scope: scope).list(page) }
    }

    package func rename(
        _ id: ID<APIKeyEntity>,
        to name: String,
        in scope: OrganizationScope
    ) async throws -> APIKey {
        let now = now()
        return try await database.write(scope) { tx in
            let keys = APIKeyStore(tx: tx, scope: scope)
            var key = try keys.get(id)
            guard let changes = JSON.changes([.of("name", .string(key.name), .string(name))]) else { return key }
            key.name = name
            try keys.rename(id, to: name)
            try tx.record(.apiKey(IdentityEvents.apiKeyUpdated, key, changes), in: scope, now: now)
            return key
        }
    }

    /// Revokes a key.
    package func delete(_ id: ID<APIKeyEntity>, in scope: OrganizationScope) async throws {
        let now = now()
        try await database.write(scope) { tx in
            let keys = APIKeyStore(tx: tx, scope: scope)
            let key = try keys.get(id)
            try keys.delete(id)
            try tx.record(.apiKey(IdentityEvents.apiKeyDeleted, key), in: scope, now: now)
        }
        credentials.forget(id)
    }
}
