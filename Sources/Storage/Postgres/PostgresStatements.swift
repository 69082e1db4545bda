/// One statement that the server has parsed for one connection.
final class PostgresStatement {
    let name: String
    let text: String
    /// 0 where no value has shown its type yet.
    let types: [UInt32]
    var lastUse: UInt64 = 0
    /// The server has said that it exists.
    var isConfirmed = false

    init(name: String, text: String, types: [UInt32]) {
        self.name = name
        self.text = text
        self.types = types
    }
}

/// The prepared statements of one connection, found by their text and the types of their parameters.
///
/// A NULL says nothing about its type, so it fits any: a statement that was first used with NULL is prepared once more
/// when a value arrives, with all types known by then, and that one replaces the first. An `INSERT` with ten columns
/// that may be NULL so ends as one statement, not as 1024.
struct PostgresStatementCache {
    static let limit = 512

    private var byText: [String: [PostgresStatement]] = [:]
    private var count = 0
    private var clock: UInt64 = 0
    private var names: UInt64 = 0
    /// Names that the server can forget.
    ///
    /// Sent after the transaction.
    var discarded: [String] = []

    /// The statement to execute, and whether it has to be prepared first.
    mutating func statement(
        _ text: String,
        types: some RandomAccessCollection<UInt32>
    ) -> (PostgresStatement, isNew: Bool) {
        clock &+= 1
        let known = byText[text] ?? []
        for statement in known where Self.fits(statement.types, types, knownOnly: false) {
            statement.lastUse = clock
            return (statement, false)
        }
        var merged = Array(types)
        var kept = known
        if let index = known.firstIndex(where: { $0.isConfirmed && Self.fits($0.types, types, knownOnly: true) }) {
            let replaced = kept.remove(at: index)
            for (position, type) in replaced.types.enumerated() where merged[position] == 0 { merged[position] = type }
            discarded.append(replaced.name)
            count -= 1
        }
        names &+= 1
        let statement = PostgresStatement(name: "k\(names)", text: text, types: merged)
        statement.lastUse = clock
        kept.append(statement)
        byText[text] = kept
        count += 1
        if count > Self.limit { evict() }
        return (statement, true)
    }

    /// - Parameter knownOnly: Types that the statement does not know yet count as fitting.
    private static func fits(
        _ known: [UInt32],
        _ wanted: some RandomAccessCollection<UInt32>,
        knownOnly: Bool
    ) -> Bool {
        guard known.count == wanted.count else { return false }
        for (known, wanted) in zip(known, wanted) where wanted != 0 && wanted != known {
            guard knownOnly, known == 0 else { return false }
        }
        return true
    }

    /// Forgets a statement that the server did not prepare.
    mutating func remove(_ statement: PostgresStatement) {
        guard let index = byText[statement.text]?.firstIndex(where: { $0 === statement }) else { return }
        byText[statement.text]?.remove(at: index)
        if byText[statement.text]?.isEmpty == true { byText[statement.text] = nil }
        count -= 1
    }

    mutating func removeAll() {
        byText = [:]
        count = 0
        discarded = []
    }

    /// Drops the sixteenth part that was used longest ago, so that the search for it is rare.
    private mutating func evict() {
        let old = byText.values.joined().filter(\.isConfirmed).sorted { $0.lastUse < $1.lastUse }
        for statement in old.prefix(Self.limit / 16) {
            remove(statement)
            discarded.append(statement.name)
        }
    }
}
