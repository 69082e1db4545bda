package import Jobs
package import Kernel
package import Logging
import Storage

/// Deletes organizations for good once their grace period is over.
///
/// What they leave in the text indexes goes with the next housekeeping, within the hour.
package struct OrganizationPurge: Sendable {
    private static let batchLimit = 500

    /// One that erases.
    let database: any Database
    /// Every table with rows of organizations, those that refer to others first.
    let tables: [String]
    let grace: Duration
    let now: @Sendable () -> Timestamp

    /// Purges what is due.
    ///
    /// One that fails does not hold up the others, nor does one whose row cannot be read: that one stays.
    ///
    /// - Returns: Those that are gone.
    @discardableResult
    package func runOnce(logger: Logger) async throws -> [ID<OrganizationEntity>] {
        let before = now() - grace
        var gone: [ID<OrganizationEntity>] = []
        var failure: (any Error)?
        for id in try await due(before, logger) {
            try Task.checkCancellation()
            do {
                // It may have been restored while others were purged.
                guard try await isDue(id, before) else { continue }
                try await purge(id)
                gone.append(id)
                logger.notice("organization purged", metadata: ["organization_id": .stringConvertible(id)])
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                failure = error
                logger.error(
                    "organization not purged",
                    metadata: [
                        "organization_id": .stringConvertible(id),
                        "error.type": .string(String(reflecting: type(of: error))),
                    ]
                )
            }
        }
        if let failure { throw failure }
        return gone
    }

    /// Those whose time has come, in that order.
    private func due(_ before: Timestamp, _ logger: Logger) async throws -> [ID<OrganizationEntity>] {
        let found = try await database.read(for: .maintenance) { tx in
            try tx.rows(
                """
                SELECT id, deleted_at FROM organizations WHERE deleted_at <= \(before) AND status = 'deleted'
                ORDER BY deleted_at, id
                """
            ) { row in (id: try? row.next(ID<OrganizationEntity>.self), deletedAt: try? row.next(Timestamp.self)) }
        }
        return found.compactMap { id, deletedAt in
            guard let id, deletedAt != nil else {
                logger.error(
                    "organization not purged: its row cannot be read",
                    metadata: ["organization_id": "\(id?.description ?? "unreadable")"]
                )
                return nil
            }
            return id
        }
    }

    private func isDue(_ id: ID<OrganizationEntity>, _ before: Timestamp) async throws -> Bool {
        try await database.read(for: .maintenance) { tx in
            try tx.value(
                "SELECT 1 FROM organizations WHERE id = \(id) AND deleted_at <= \(before) AND status = 'deleted'",
                as: Int.self
            ) != nil
        }
    }

    private func purge(_ id: ID<OrganizationEntity>) async throws {
        try await moveUsers(from: id)
        let scope = OrganizationScope.job(of: id)
        for table in tables {
            while try await deleteBatch(of: table, in: scope) == Self.batchLimit { try Task.checkCancellation() }
        }
        // What came in the meantime goes together with the organization, so that no consumer of the feed can meet an
        // event of an organization that is not there.
        let tables = tables
        try await database.write(scope) { tx in
            for table in tables {
                try tx.run("DELETE FROM \(SQL(trusted: table)) WHERE organization_id = \(scope.id)")
            }
            try tx.execute("DELETE FROM organizations WHERE id = \(scope.id) AND status = 'deleted'")
        }
    }

    private func deleteBatch(of table: String, in scope: OrganizationScope) async throws -> Int {
        let (table, address) = (SQL(trusted: table), Fragment(sqlite: "rowid", postgres: "ctid"))
        return try await database.write(scope) { tx in
            try tx.execute(
                """
                DELETE FROM \(table) WHERE organization_id = \(scope.id) AND \(address) IN (
                    SELECT \(address) FROM \(table) WHERE organization_id = \(scope.id) LIMIT \(limit: Self.batchLimit)
                )
                """
            )
        }
    }

    /// Gives those who belong elsewhere another home.
    ///
    /// The accounts of the others go with the organization.
    private func moveUsers(from id: ID<OrganizationEntity>) async throws {
        let now = now()
        while true {
            let count = try await database.write(for: .authentication) { tx in
                let users: [ID<UserEntity>] = try tx.values(
                    """
                    SELECT u.id FROM users u WHERE u.organization_id = \(id) AND EXISTS (
                        SELECT 1 FROM memberships m WHERE m.user_id = u.id AND m.organization_id <> \(id)
                    )
                    ORDER BY u.id LIMIT \(limit: Self.batchLimit)
                    """
                )
                for user in users {
                    guard let next = try MembershipStore.nextHome(of: user, beside: id, in: tx) else { continue }
                    try UserStore.move(user, from: id, to: next.organization, as: next.role, at: now, in: tx)
                }
                return users.count
            }
            if count < Self.batchLimit { return }
            try Task.checkCancellation()
        }
    }
}

package struct PurgeOrganizationsJob: PlatformJob {
    package static let kind = "organization.purge"
    package static let lane = Lane.maintenance
    package static let policy = RetryPolicy(maxAttempts: 5, base: .seconds(60), timeout: .seconds(3_600))

    package var payload: JSON { [:] }

    package init() {}
    package init(payload: JSON) {}
}
