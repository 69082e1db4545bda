import Events
package import Kernel
import Storage

package struct ContactService: Sendable {
    let database: any Database
    let now: @Sendable () -> Timestamp

    package func create(_ new: NewContact, in scope: OrganizationScope) async throws -> Contact {
        let now = now()
        let contact = Contact(
            id: ID(),
            email: new.email?.lowercased(),
            phone: new.phone,
            name: new.name,
            externalID: new.externalID,
            metadata: new.metadata,
            createdAt: now,
            updatedAt: now
        )
        try await database.write(scope) { tx in
            try ContactStore(tx: tx, scope: scope).insert(contact)
            try tx.record(.contact(MessagingEvents.contactCreated, contact), in: scope, now: now)
        }
        return contact
    }

    package func get(_ id: ID<Contact>, in scope: OrganizationScope) async throws -> Contact {
        try await database.read(scope) { tx in try ContactStore(tx: tx, scope: scope).get(id) }
    }

    package func list(
        _ filter: ContactFilter,
        _ page: PageRequest,
        in scope: OrganizationScope
    ) async throws -> Page<Contact> {
        try await database.read(scope) { tx in try ContactStore(tx: tx, scope: scope).list(filter, page) }
    }

    package func change(
        _ id: ID<Contact>,
        _ changes: ContactChanges,
        in scope: OrganizationScope,
        check: @escaping @Sendable (Timestamp) throws -> Void = { _ in }
    ) async throws -> Contact {
        let now = now()
        return try await database.write(scope) { tx in
            let contacts = ContactStore(tx: tx, scope: scope)
            let old = try contacts.get(id)
            try check(old.updatedAt)
            var contact = old
            if let email = changes.email { contact.email = email?.lowercased() }
            if let phone = changes.phone { contact.phone = phone }
            if let name = changes.name { contact.name = name }
            if let externalID = changes.externalID { contact.externalID = externalID }
            if let metadata = changes.metadata { contact.metadata = metadata }
            // The audit log names the fields that changed, not the personal data in them.
            let changed = JSON.changes([
                .redacted("email", .text(old.email), .text(contact.email)),
                .redacted("phone", .text(old.phone), .text(contact.phone)),
                .redacted("name", .text(old.name), .text(contact.name)),
                .redacted("external_id", .text(old.externalID), .text(contact.externalID)),
                .redacted("metadata", old.metadata, contact.metadata),
            ])
            guard let changed else { return old }
            contact.touch(at: now)
            try contacts.save(contact)
            try tx.record(.contact(MessagingEvents.contactUpdated, contact, changed), in: scope, now: now)
            return contact
        }
    }

    package func delete(_ id: ID<Contact>, in scope: OrganizationScope) async throws {
        let now = now()
        try await database.write(scope) { tx in
            let contacts = ContactStore(tx: tx, scope: scope)
            let contact = try contacts.get(id)
            try contacts.delete(id)
            try tx.record(.contact(MessagingEvents.contactDeleted, contact), in: scope, now: now)
        }
    }
}

extension Event {
    fileprivate static func contact(_ type: EventType, _ contact: Contact, _ changes: JSON? = nil) -> Event {
        Event(
            type,
            subject: contact.id.description,
            data: ["id": .string(contact.id.description)],
            changes: changes
        )
    }
}
