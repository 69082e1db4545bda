import Kernel
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

struct ContactStore {
    let tx: any Transaction
    let scope: OrganizationScope

    static let columns: SQL = "id, email, phone, name, external_id, metadata, created_at, updated_at"

    func find(_ id: ID<Contact>) throws -> Contact? {
        try tx.first("SELECT \(Self.columns) FROM contacts WHERE organization_id = \(scope.id) AND id = \(id)")
    }

    func get(_ id: ID<Contact>) throws -> Contact {
        guard let contact = try find(id) else { throw ContactError.unknown(id) }
        return contact
    }

    func list(_ filter: ContactFilter, _ page: PageRequest) throws -> Page<Contact> {
        var conditions: [SQL] = ["organization_id = \(scope.id)"]
        if let email = filter.email { conditions.append("email = \(email.lowercased())") }
        if let phone = filter.phone { conditions.append("phone = \(phone)") }
        if let externalID = filter.externalID { conditions.append("external_id = \(externalID)") }
        if let after = page.after {
            conditions.append("(created_at, id) < (\(after.time), \(after.id(of: Contact.self)))")
        }
        let rows: [Contact] = try tx.all(
            """
            SELECT \(Self.columns) FROM contacts WHERE \(SQL.join(conditions, " AND "))
            ORDER BY created_at DESC, id DESC LIMIT \(limit: page.limit + 1)
            """
        )
        return Page(cutting: rows, to: page.limit) { Cursor(time: $0.createdAt, id: $0.id) }
    }

    func insert(_ contact: Contact) throws {
        try tx.run(
            """
            INSERT INTO contacts (organization_id, \(Self.columns))
            VALUES (\(scope.id), \(contact.id), \(contact.email), \(contact.phone), \(contact.name),
                \(contact.externalID), \(contact.metadata), \(contact.createdAt), \(contact.updatedAt))
            """,
            violations: Self.violations
        )
    }

    func save(_ contact: Contact) throws {
        try tx.run(
            """
            UPDATE contacts SET email = \(contact.email), phone = \(contact.phone), name = \(contact.name),
                external_id = \(contact.externalID), metadata = \(contact.metadata), updated_at = \(contact.updatedAt)
            WHERE organization_id = \(scope.id) AND id = \(contact.id)
            """,
            violations: Self.violations
        )
    }

    func delete(_ id: ID<Contact>) throws {
        try tx.run(
            "DELETE FROM contacts WHERE organization_id = \(scope.id) AND id = \(id)",
            violations: [.foreignKey(ContactError.inUse)]
        )
    }

    private static let violations: [ConstraintMapping] = [
        .unique("contacts_organization_id_external_id_key", ContactError.externalIDTaken)
    ]
}
