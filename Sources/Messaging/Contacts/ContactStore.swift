package import Kernel
package import Storage

extension Contact: RowDecodable {
    package init(row: inout Row) throws {
        id = try row.next()
        email = try row.next()
        phone = try row.next()
        name = try row.next()
        externalID = try row.next()
        metadata = try row.next()
        createdAt = try row.next()
        updatedAt = try row.next()
    }
}

package struct ContactStore: NounStore {
    package static let table = NounTable<Contact>(
        "contacts",
        [
            .column("id", \.id, isFixed: true), .column("email", \.email), .column("phone", \.phone),
            .column("name", \.name), .column("external_id", \.externalID), .column("metadata", \.metadata),
            .column("created_at", \.createdAt, isFixed: true), .column("updated_at", \.updatedAt),
        ],
        missing: { ContactError.unknown($0) },
        inUse: ContactError.inUse,
        constraints: [.unique("contacts_organization_id_external_id_key", ContactError.externalIDTaken)]
    )

    package let tx: any Transaction
    package let scope: OrganizationScope

    package init(tx: any Transaction, scope: OrganizationScope) {
        self.tx = tx
        self.scope = scope
    }
}
