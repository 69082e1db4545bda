import Kernel
import Messaging
import Schema
import Storage
import TestKit
import Testing

@Suite("Nouns of Messaging")
struct NounTests {
    @Test("a store has a column for each field, in the same order")
    func columns() {
        #expect(ChannelStore.table.columnNames == Channel.fields.names)
        #expect(ContactStore.table.columnNames == Contact.fields.names)
    }

    @Test("what a patch may edit is what an edit saves")
    func edits() {
        #expect(ChannelStore.table.editableNames == Channel.fields.editableNames)
        #expect(ContactStore.table.editableNames == Contact.fields.editableNames)
    }

    @Test("a row comes back as it was stored, and as it was edited", arguments: TestDatabase.kinds)
    func rows(on kind: TestDatabase.Kind) async throws {
        try await withDatabase(on: kind, migrations: ProductSchema.migrations) { database in
            let now = Timestamp(milliseconds: 1_800_000_000_000)
            let scope = OrganizationScope.job(of: ID())
            try await database.migrate { tx in
                try tx.run(
                    """
                    INSERT INTO organizations (id, name, slug, status, settings, created_at, updated_at)
                    VALUES (\(scope.id), 'x', \(scope.id.description), 'active', \(JSON.object([:])), \(now), \(now))
                    """
                )
            }
            var channel = Channel(at: now)
            (channel.name, channel.kind, channel.settings) = ("Website", .widget, ["a": 1])
            (channel.singleConversation, channel.isActive) = (true, false)
            var contact = Contact(at: now)
            (contact.email, contact.phone, contact.name) = ("ana@example.com", "+355691234567", "Ana")
            (contact.externalID, contact.metadata) = ("x-1", ["b": 2])
            try await roundTrip(channel, in: ChannelStore.self, database, scope) { channel in
                (channel.name, channel.settings) = ("Shop", ["a": 2])
                (channel.singleConversation, channel.isActive) = (false, true)
            }
            try await roundTrip(contact, in: ContactStore.self, database, scope) { contact in
                (contact.email, contact.phone, contact.name) = (nil, "+355691234568", "Ben")
                (contact.externalID, contact.metadata) = ("x-2", [:])
            }
        }
    }

    /// Stores a noun, edits every field of it, and compares what is read each time.
    private func roundTrip<Store: NounStore>(
        _ value: Store.Value,
        in store: Store.Type,
        _ database: any Database,
        _ scope: OrganizationScope,
        edit: @escaping @Sendable (inout Store.Value) -> Void
    ) async throws {
        func text(_ value: Store.Value) -> String {
            var json = JSONWriter()
            Store.Value.fields.write(value, to: &json)
            return String(decoding: json.bytes, as: UTF8.self)
        }
        func read() async throws -> Store.Value {
            try await database.read(scope) { tx in try Store(tx: tx, scope: scope).get(value.id) }
        }
        try await database.write(scope) { tx in try Store(tx: tx, scope: scope).insert(value) }
        #expect(try await text(read()) == text(value))
        var edited = value
        edit(&edited)
        edited.touch(at: value.createdAt)
        #expect(edited.differs(from: value))
        let changed = edited
        try await database.write(scope) { tx in try Store(tx: tx, scope: scope).save(changed) }
        #expect(try await text(read()) == text(changed))
    }
}
