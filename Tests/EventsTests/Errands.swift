import Events
import Kernel
import Storage
import Synchronization
import TestKit

@testable import Schema

/// A second kind of subject, beside conversations: it has tables, kinds and a signal of its own.
struct Errand: StreamSubject, RowDecodable {
    enum EntryKind: String, CaseIterable, Sendable, StoredEnumeration {
        case step = "errand.step"
        case done = "errand.done"
    }

    let id: ID<Errand>
    private(set) var lastSequence: Int64

    mutating func advance() -> Int64 {
        lastSequence += 1
        return lastSequence
    }

    init(row: inout Row) throws {
        id = try row.next()
        lastSequence = try row.next()
    }

    static let stream = LiveStream<Errand>(
        "errand_entries",
        key: "errand_id",
        of: "errands",
        retention: .seconds(60),
        pollingInterval: .milliseconds(1)
    ) { id in Signal("test:\(id)") }

    static let migration = Migration(
        1,
        "errands",
        TestDatabase.preparation + (tables.flatMap(\.statements) + tables.flatMap(\.protection)) + TestDatabase.grants
    )

    private static let tables = [
        TenantTable("errands", "For this test.", [.id, .required("last_sequence", .integer)], owned: .loose),
        TenantTable(
            "errand_entries",
            "For this test.",
            [
                .required("errand_id", .uuid), .required("sequence", .integer), .required("type", .text),
                .required("data", .json), .createdAt,
            ],
            key: ["errand_id", "sequence"],
            owned: .byReference,
            references: [.own("errand_id", to: "errands", onDelete: .cascade)],
            indexes: [.on("created_at")],
            policies: .init(delete: ["maintenance"])
        ),
    ]
}

/// One organization and words to act in it.
struct Errands: Sendable {
    struct GivenUp: Error {}

    let database: any Database
    let scope = OrganizationScope.job(of: ID())
    static let start = Timestamp(milliseconds: 1_800_000_000_000)

    func begin() async throws -> ID<Errand> {
        let (scope, id) = (scope, ID<Errand>())
        try await database.write(scope) { tx in
            try tx.run("INSERT INTO errands (organization_id, id, last_sequence) VALUES (\(scope.id), \(id), 0)")
        }
        return id
    }

    /// Appends steps, each in a transaction of its own.
    ///
    /// - Parameter fails: Gives each transaction up at its end.
    func step(
        _ id: ID<Errand>,
        _ numbers: ClosedRange<Int>,
        at now: Timestamp = start,
        fails: Bool = false
    ) async throws {
        let scope = scope
        for number in numbers {
            try await database.write(scope, isolation: .readCommitted) { tx in
                let found: Errand? = try tx.first(
                    """
                    SELECT id, last_sequence FROM errands WHERE organization_id = \(scope.id) AND id = \(id) \(.forUpdate)
                    """
                )
                guard var errand = found else { throw GivenUp() }
                try Errand.stream.append(
                    .step,
                    to: &errand,
                    data: ["number": .integer(Int64(number))],
                    in: scope,
                    at: now,
                    tx
                )
                try tx.run(
                    """
                    UPDATE errands SET last_sequence = \(errand.lastSequence)
                    WHERE organization_id = \(scope.id) AND id = \(id)
                    """
                )
                if fails { throw GivenUp() }
            }
        }
    }

    func purge(at now: Timestamp) async throws -> Int { try await Errand.stream.purge.run(database, now) }

    func delete(_ id: ID<Errand>) async throws {
        let scope = scope
        try await database.write(scope) { tx in
            try tx.run("DELETE FROM errands WHERE organization_id = \(scope.id) AND id = \(id)")
        }
    }

    /// Where somebody begins who sends back `text`.
    func start(_ id: ID<Errand>, after text: String?) async throws -> StreamStart {
        let newest = try await database.fetch(Errand.stream.newest(of: id, in: scope), in: scope)
        guard let newest else { throw GivenUp() }
        return StreamStart(after: text, mark: StreamMark(of: id), newest: newest)
    }

    /// What a follower is given, until it has been given so much, or the stream ends.
    func follow(
        _ id: ID<Errand>,
        after text: String?,
        count: Int = .max,
        deliver: @escaping @Sendable (String) async throws -> Void = { _ in }
    ) async throws -> [String] {
        try await follow(id, from: try await start(id, after: text), count: count, deliver: deliver)
    }

    func follow(
        _ id: ID<Errand>,
        from start: StreamStart,
        count: Int = .max,
        deliver: @escaping @Sendable (String) async throws -> Void = { _ in }
    ) async throws -> [String] {
        let seen = Mutex<[String]>([])
        try await Errand.stream.follow(id, in: scope, from: start, on: database) { item in
            let words = item.words
            try await deliver(words)
            return seen.withLock { seen in
                seen.append(words)
                return seen.count < count
            }
        }
        return seen.withLock { $0 }
    }
}

extension LiveStream.Item {
    /// `2` for an entry, `purged 1` for a reset.
    var words: String {
        switch self {
        case .entry(let entry): "\(entry.id.sequence)"
        case .reset(let reset): "\(reset.reason) \(reset.id.sequence)"
        }
    }
}

func withErrands(on kind: TestDatabase.Kind, _ body: (Errands) async throws -> Void) async throws {
    try await withDatabase(on: kind, migrations: [Errand.migration]) { database in
        try await body(Errands(database: database))
    }
}
