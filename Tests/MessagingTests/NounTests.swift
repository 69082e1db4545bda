import Kernel
import Messaging
import Storage
import Testing

@Suite("Nouns of Messaging")
struct NounTests {
    @Test("a store has a column for each field, in the same order")
    func columns() {
        #expect(ChannelStore.table.columnNames == Channel.fields.names)
        #expect(ContactStore.table.columnNames == Contact.fields.names)
    }
}
