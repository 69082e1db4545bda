package import Kernel
package import Storage

package struct AuditLogService: Sendable {
    let database: any Database

    package init(database: any Database) { self.database = database }

    /// One page of an organization's lines, newest first.
    package func list(
        _ filter: AuditLogFilter,
        _ page: PageRequest,
        in scope: OrganizationScope
    ) async throws -> Page<AuditLog> {
        try await database.read(scope) { tx in try AuditLogStore(tx: tx).list(filter, page, in: scope) }
    }
}
