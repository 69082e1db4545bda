import Agents
import Kernel
import Storage
import Testing

@Suite("Nouns of Agents")
struct NounTests {
    @Test("the store has a column for each field, but for the model that the installation has")
    func columns() {
        #expect(AIAgentStore.table.columnNames == AIAgent.fields.names.filter { $0 != "model_in_use" })
        #expect(AIAgentStore.table.editableNames == AIAgent.fields.editableNames)
    }
}
