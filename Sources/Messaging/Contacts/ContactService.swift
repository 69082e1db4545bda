package import Events
package import Kernel
import Storage

package typealias ContactService = NounService<ContactStore>

extension NounService<ContactStore> {
    init(database: any Database, now: @escaping @Sendable () -> Timestamp) {
        let events = NounEvents<Contact>(
            created: MessagingEvents.contactCreated,
            updated: MessagingEvents.contactUpdated,
            deleted: MessagingEvents.contactDeleted
        )
        self.init(database: database, events: events, now: now)
    }

    package func list(
        _ filter: ContactFilter,
        _ page: PageRequest,
        in scope: OrganizationScope
    ) async throws -> Page<Contact> {
        let filters: [SQL?] = [
            filter.email.map { "email = \($0.lowercased())" }, filter.phone.map { "phone = \($0)" },
            filter.externalID.map { "external_id = \($0)" },
        ]
        return try await list(page, where: filters, in: scope)
    }
}
