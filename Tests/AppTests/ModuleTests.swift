import App
import Events
import Kernel
import Schema
import Storage
import Testing

@Suite("Modules")
struct ModuleTests {
    @Test("the purposes that modules have are those that row level security names")
    func purposes() {
        let declared = Set(Modules.purposes.map(\.name))
        let named = ProductSchema.tables.reduce(into: Set<String>()) { $0.formUnion($1.purposes) }
        #expect(declared == named)
        #expect(Modules.purposes.count == declared.count)
    }

    @Test("no two modules declare the same")
    func unique() {
        func expectUnique(_ names: [String]) { #expect(names.count == Set(names).count, "\(names)") }
        expectUnique(Modules.permissions.map(\.permission.name))
        expectUnique(Modules.actorKinds.map(\.name))
        expectUnique(Modules.meters.map(\.name))
        expectUnique(Modules.events.map(\.name))
    }

    @Test("what each role may do, whole")
    func roles() {
        func names(_ holders: PermissionGrant.Holders) -> [String] {
            Modules.permissions.filter { $0.holders == holders }.map(\.permission.name).sorted()
        }
        #expect(names(.owners) == ["billing:write", "organization:delete"])
        #expect(
            names(.members) == [
                "agents:read", "billing:read", "channels:read", "contacts:read", "contacts:write", "conversations:read",
                "conversations:write", "knowledge:read", "members:read", "organization:read",
            ]
        )
        #expect(
            names(.admins) == [
                "agents:write", "api_keys:read", "api_keys:write", "audit:read", "channels:write", "jobs:read",
                "jobs:write", "knowledge:write", "members:write", "organization:write",
            ]
        )
    }
}
