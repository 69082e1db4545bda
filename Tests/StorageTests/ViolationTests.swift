import Kernel
import Storage
import TestKit
import Testing

@Suite("Violations")
struct ViolationTests {
    @Test("each kind of constraint has the same name on both", arguments: TestDatabase.kinds)
    func names(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let id = ID<Sample>()
            let organization = Conformance.organization
            try await database.write(Conformance.scope) { tx in try tx.run(insertParent("taken", id: id)) }
            let cases: [(ConstraintMapping.Constraint, SQL)] = [
                (.unique("parents_organization_id_name_key"), insertParent("taken")),
                (.unique("parents_pkey"), insertParent("new", id: id)),
                (.check("parents_name_check"), insertParent("")),
                (
                    .check("not_null:name"),
                    "INSERT INTO parents (organization_id, id, name) VALUES (\(organization), \(ID<Sample>()), NULL)"
                ),
                (
                    .foreignKey,
                    """
                    INSERT INTO children (organization_id, id, parent_id)
                    VALUES (\(organization), \(ID<Sample>()), \(ID<Sample>()))
                    """
                ),
            ]
            for (constraint, statement) in cases {
                await expectViolation(constraint) {
                    try await database.write(Conformance.scope) { tx in _ = try tx.execute(statement) }
                }
                await expectViolation(constraint) {
                    try await database.write(Conformance.scope) { tx in try tx.run(statement) }
                }
                await expectViolation(constraint) {
                    try await database.write(Conformance.scope) { tx in
                        try tx.run(statement)
                        _ = try tx.value("SELECT count(*) FROM parents", as: Int.self)
                    }
                }
                await expectViolation(constraint) {
                    try await database.write(Conformance.scope) { tx in
                        _ = try tx.values(statement + " RETURNING id", as: ID<Sample>.self)
                    }
                }
            }
            #expect(try await database.parents() == ["taken"])
        }
    }

    @Test("an index over an expression is named as it is", arguments: TestDatabase.kinds)
    func expressionIndex(on kind: TestDatabase.Kind) async throws {
        let index = Migration(
            4,
            "index",
            ["CREATE UNIQUE INDEX counters_parity_key ON counters ((value % 2))"]
        )
        try await withDatabase(on: kind, migrations: Conformance.migrations + [index]) { database in
            await expectViolation(.unique("counters_parity_key")) {
                try await database.write(Conformance.scope) { tx in
                    try tx.run("INSERT INTO counters (id, value) VALUES (2, 2)")
                }
            }
        }
    }

    @Test("a violation becomes the error that it is mapped to", arguments: TestDatabase.kinds)
    func mapping(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            try await database.write(Conformance.scope) { tx in try tx.run(insertParent("taken")) }
            let mappings: [ConstraintMapping] = [
                .check("parents_name_check", Refused("empty")), .foreignKey(Refused("orphan")),
                .unique("parents_organization_id_name_key", Refused("taken")),
            ]
            await #expect(throws: Refused("taken")) {
                try await database.write(Conformance.scope) { tx in
                    try tx.execute(insertParent("taken"), violations: mappings)
                }
            }
            await #expect(throws: Refused("empty")) {
                try await database.write(Conformance.scope) { tx in
                    try tx.execute(insertParent(""), violations: mappings)
                }
            }
            await #expect(throws: Refused("orphan")) {
                try await database.write(Conformance.scope) { tx in
                    try tx.run(
                        """
                        INSERT INTO children (organization_id, id, parent_id)
                        VALUES (\(Conformance.organization), \(ID<Sample>()), \(ID<Sample>()))
                        """,
                        violations: mappings
                    )
                }
            }
        }
    }

    @Test("a deferred statement's error surfaces, and nothing remains", arguments: TestDatabase.kinds)
    func deferredStatement(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            try await database.write(Conformance.scope) { tx in try tx.run(insertParent("taken")) }
            await #expect(throws: Refused("taken")) {
                try await database.write(Conformance.scope) { tx in
                    try tx.run(insertParent("before"))
                    try tx.run(
                        insertParent("taken"),
                        violations: [.unique("parents_organization_id_name_key", Refused("taken"))]
                    )
                    try tx.run(insertParent("after"))
                }
            }
            #expect(try await database.parents() == ["taken"])
        }
    }

    @Test("a constraint that is checked at the commit", arguments: TestDatabase.kinds)
    func deferredConstraint(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let (parent, late) = (ID<Sample>(), ID<Sample>())
            let child: SQL = """
                INSERT INTO children (organization_id, id, parent_id, late_parent_id)
                VALUES (\(Conformance.organization), \(ID<Sample>()), \(parent), \(late))
                """
            await expectViolation(.foreignKey) {
                try await database.write(Conformance.scope) { tx in
                    try tx.run(insertParent("early", id: parent))
                    try tx.run(child)
                }
            }
            #expect(try await database.parents() == [])
            try await database.write(Conformance.scope) { tx in
                try tx.run(insertParent("early", id: parent))
                try tx.run(child)
                try tx.run(insertParent("late", id: late))
            }
            #expect(try await database.parents() == ["early", "late"])
        }
    }

    @Test("a body cannot swallow a failure", arguments: TestDatabase.kinds)
    func swallowed(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            await expectViolation(.check("parents_name_check")) {
                try await database.write(Conformance.scope) { tx in
                    try tx.run(insertParent("before"))
                    do {
                        try tx.execute(insertParent(""))
                        Issue.record("the statement did not fail")
                    } catch {}
                }
            }
            let parents = try await database.parents()
            #expect(parents == [])
        }
    }

    @Test("a statement that makes no sense is an error of the database", arguments: TestDatabase.kinds)
    func nonsense(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            for statement: SQL in ["SELEKT 1", "SELECT nothing FROM nowhere", "SELECT 1; SELECT 2"] {
                let error = await storageError {
                    try await database.write(Conformance.scope) { tx in _ = try tx.execute(statement) }
                }
                guard case .database? = error else {
                    Issue.record("\(error.map(String.init(describing:)) ?? "nothing")")
                    continue
                }
            }
            let counter = try await database.counter()
            #expect(counter == 0)
        }
    }
}
