import Kernel
import Storage
import TestKit
import Testing

@Suite("Transactions")
struct TransactionTests {
    @Test("a body that throws leaves nothing, and its neighbours alone", arguments: TestDatabase.kinds)
    func neighbours(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let outcomes = await withTaskGroup(of: Bool.self) { group in
                for number in 0..<60 {
                    group.addTask {
                        do {
                            try await database.write(Conformance.scope) { tx in
                                try tx.run(insertParent("\(number) first"))
                                if number % 3 == 0 { throw Refused("\(number)") }
                                try tx.run(insertParent("\(number) second"))
                                if number % 3 == 1 { try tx.execute(insertParent("")) }
                            }
                            return true
                        } catch {
                            return false
                        }
                    }
                }
                return await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
            }
            #expect(outcomes == 20)
            let expected = (0..<60).filter { $0 % 3 == 2 }.flatMap { ["\($0) first", "\($0) second"] }.sorted()
            let parents = try await database.parents()
            #expect(parents == expected)
        }
    }

    @Test("the error of a body arrives as it is", arguments: TestDatabase.kinds)
    func bodyError(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            await #expect(throws: Refused("because")) {
                try await database.write(Conformance.scope) { _ in throw Refused("because") }
            }
            await #expect(throws: Refused("because")) {
                try await database.read(Conformance.scope) { _ in throw Refused("because") }
            }
            await #expect(throws: Refused("row")) {
                _ = try await database.write(Conformance.scope) { tx in
                    try tx.rows("UPDATE counters SET value = 9 RETURNING id") { _ in throw Refused("row") }
                }
            }
            let counter = try await database.counter()
            #expect(counter == 0)
        }
    }

    @Test("increments from many tasks are all counted", arguments: TestDatabase.kinds)
    func increments(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        for _ in 0..<15 {
                            while true {
                                do {
                                    try await database.write(Conformance.scope) { tx in
                                        let value = try tx.value(
                                            "SELECT value FROM counters WHERE id = 1",
                                            as: Int64.self
                                        )
                                        try tx.run("UPDATE counters SET value = \((value ?? 0) + 1) WHERE id = 1")
                                    }
                                    break
                                } catch StorageError.conflict {
                                    continue
                                }
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect(try await database.counter() == 120)
        }
    }

    @Test("what depends on the same rows cannot both be done", arguments: TestDatabase.kinds)
    func writeSkew(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            // Each inserts only if the other has not: serializable, one of them must see the other.
            let inserted = try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in 0..<6 {
                    group.addTask {
                        try await database.write(Conformance.scope) { tx in
                            let others = try tx.value("SELECT count(*) FROM parents", as: Int.self)
                            guard others == 0 else { return false }
                            try tx.run(insertParent("\(number)"))
                            return true
                        }
                    }
                }
                return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
            }
            #expect(inserted == 1)
            #expect(try await database.parents().count == 1)
        }
    }

    @Test("a read sees one moment", arguments: TestDatabase.kinds)
    func snapshot(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let (hasRead, hasWritten) = (Gate(), Gate())
            async let values = database.read(Conformance.scope) { tx in
                let first = try tx.value("SELECT value FROM counters WHERE id = 1", as: Int.self)
                hasRead.open()
                try hasWritten.passInBody()
                return [first, try tx.value("SELECT value FROM counters WHERE id = 1", as: Int.self)]
            }
            try await hasRead.pass()
            try await database.write(Conformance.scope) { tx in
                try tx.run("UPDATE counters SET value = 7 WHERE id = 1")
            }
            hasWritten.open()
            #expect(try await values == [0, 0])
            #expect(try await database.counter() == 7)
        }
    }

    @Test("a read cannot write", arguments: TestDatabase.kinds)
    func readOnly(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            await #expect(throws: StorageError.self) {
                _ = try await database.read(Conformance.scope) { tx in
                    try tx.execute("UPDATE counters SET value = 9 WHERE id = 1")
                }
            }
            await #expect(throws: StorageError.self) {
                try await database.read(Conformance.scope) { tx in
                    try tx.run("UPDATE counters SET value = 9 WHERE id = 1")
                }
            }
            let counter = try await database.counter()
            #expect(counter == 0)
        }
    }

    @Test("several statements in one round trip", arguments: TestDatabase.kinds)
    func batch(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let results = try await database.write(Conformance.scope) { tx in
                try tx.run("INSERT INTO counters (id, value) VALUES (2, 20), (3, 30)")
                return try tx.batch([
                    "SELECT value FROM counters ORDER BY id", "SELECT id FROM counters WHERE id > 99",
                    "UPDATE counters SET value = 21 WHERE id = 2 RETURNING value",
                    "SELECT value FROM counters WHERE id = \(2)",
                ]) { index, row in "\(index):\(try row.next(Int.self))" }
            }
            #expect(results == [["0:0", "0:20", "0:30"], [], ["2:21"], ["3:21"]])
            let none = try await database.read(Conformance.scope) { tx in
                try tx.batch([]) { _, row in try row.next(Int.self) }
            }
            #expect(none.isEmpty)
        }
    }

    @Test("statements count the rows that they change", arguments: TestDatabase.kinds)
    func counts(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let parent = ID<Sample>()
            let counts = try await database.write(Conformance.scope) { tx in
                [
                    try tx.execute("INSERT INTO counters (id, value) VALUES (2, 2), (3, 3)"),
                    try tx.execute("UPDATE counters SET value = value + 1"),
                    try tx.execute("UPDATE counters SET value = 1 WHERE id = 99"),
                    try tx.execute("INSERT INTO counters (id, value) VALUES (1, 1) ON CONFLICT DO NOTHING"),
                    try tx.execute(
                        """
                        INSERT INTO counters (id, value) VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET value = excluded.value
                        """
                    ),
                    try tx.execute(insertParent("p", id: parent)),
                    try tx.execute(
                        """
                        INSERT INTO children (organization_id, id, parent_id)
                        VALUES (\(Conformance.organization), \(ID<Sample>()), \(parent)),
                            (\(Conformance.organization), \(ID<Sample>()), \(parent))
                        """
                    ),
                    // The two that go with it are not counted.
                    try tx.execute("DELETE FROM parents WHERE id = \(parent)"),
                    try tx.value("SELECT count(*) FROM children", as: Int.self) ?? -1,
                    try tx.execute("DELETE FROM counters"),
                ]
            }
            #expect(counts == [2, 3, 0, 0, 1, 1, 2, 1, 0, 3])
        }
    }

    @Test("a body can read while it goes through rows", arguments: TestDatabase.kinds)
    func nested(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let sums = try await database.write(Conformance.scope) { tx in
                try tx.run("INSERT INTO counters (id, value) VALUES (2, 20), (3, 30)")
                let ids = try tx.values("SELECT id FROM counters ORDER BY id", as: Int64.self)
                return try ids.map { id in
                    try tx.rows("SELECT value FROM counters WHERE id = \(id)") { row in try row.next(Int.self) }.first
                }
            }
            #expect(sums == [0, 20, 30])
        }
    }

    @Test("signals follow the commit", arguments: TestDatabase.kinds)
    func signals(on kind: TestDatabase.Kind) async throws {
        let hub = SignalHub()
        try await Conformance.with(kind, signals: hub) { database in
            let committed = hub.subscribe(to: Signal("j:bulk"))
            let (rolledBack, control) = (hub.subscribe(to: Signal("e")), hub.subscribe(to: Signal("e")))
            await #expect(throws: Refused.self) {
                try await database.write(Conformance.scope) { tx in
                    tx.signal(Signal("e"))
                    try tx.run(insertParent("a"))
                    throw Refused()
                }
            }
            await #expect(throws: StorageError.self) {
                try await database.write(Conformance.scope) { tx in
                    tx.signal(Signal("e"))
                    try tx.run(insertParent(""))
                }
            }
            async let seen = {
                for await _ in committed {
                    // Whoever is woken finds the rows.
                    return try await database.parents()
                }
                return []
            }()
            try await database.write(Conformance.scope) { tx in
                tx.signal(Signal("j:bulk"))
                tx.signal(Signal("j:bulk"))
                try tx.run(insertParent("b"))
            }
            #expect(try await seen == ["b"])
            #expect(await received(rolledBack) == 0)
            hub.publish([Signal("e")])
            #expect(await received(control) == 1)
        }
    }

    /// How many signals a stream holds; a cancelled reader gets those and no more.
    private func received(_ stream: AsyncStream<Void>) async -> Int {
        let reader = Task { await stream.reduce(0) { count, _ in count + 1 } }
        reader.cancel()
        return await reader.value
    }

    @Test("a request's claim is marked as applied by its change", arguments: TestDatabase.kinds)
    func idempotency(on kind: TestDatabase.Kind) async throws {
        try await Conformance.with(kind) { database in
            let claim = IdempotencyClaim(principal: "user", key: "k", token: "t")
            let scope = Conformance.scope.claiming(claim)
            func state() async throws -> String? {
                try await database.read(Conformance.scope) { tx in try tx.value("SELECT state FROM idempotency_keys") }
            }
            try await database.write(Conformance.scope) { tx in
                try tx.run(
                    """
                    INSERT INTO idempotency_keys (organization_id, principal, key, token, state)
                    VALUES (\(scope.id), 'user', 'k', 't', 'claimed')
                    """
                )
            }
            await #expect(throws: Refused.self) {
                try await database.write(scope) { tx in
                    try tx.run(insertParent("a"))
                    throw Refused()
                }
            }
            #expect(try await state() == "claimed")
            _ = try await database.read(scope) { tx in try tx.value("SELECT 1", as: Int64.self) }
            #expect(try await state() == "claimed")
            try await database.write(scope) { tx in try tx.run(insertParent("b")) }
            #expect(try await state() == "applied")
            try await database.write(scope) { tx in try tx.run(insertParent("c")) }
            #expect(try await database.parents() == ["b", "c"])

            // Another request has taken the key over: what this one still changes does not count.
            let late = Conformance.scope.claiming(IdempotencyClaim(principal: "user", key: "k", token: "older"))
            let refusal = await #expect(throws: (any Error).self) {
                try await database.write(late) { tx in try tx.run(insertParent("d")) }
            }
            #expect((refusal as? any ProblemConvertible)?.problem.code == "idempotency.in_flight")
            #expect(try await database.parents() == ["b", "c"])
        }
    }
}
