package import Kernel
package import Storage

/// What a live stream is about: a row whose column `last_sequence` numbers the newest entry of its stream.
package protocol StreamSubject: Sendable {
    /// Marks its ids.
    associatedtype Entity
    /// The kinds of its entries, by the names that clients see.
    associatedtype EntryKind: StoredEnumeration, CaseIterable, Sendable

    var id: ID<Entity> { get }

    /// Takes the next place in the stream.
    mutating func advance() -> Int64
}

/// The live streams of all subjects of one kind: what happens to each, as entries that are only ever appended.
///
/// An entry is appended in the transaction that makes it true, which holds the row of its subject locked. So the entries of a
/// subject become visible in order and without gaps, and whoever has seen entry *n* goes on at *n + 1* on any node and misses
/// nothing. Entries are kept for a while only; who comes back too late is told so (``StreamReset``).
///
/// Two tables stand behind it. The subject's own has the columns `organization_id`, `id` and `last_sequence`. That of the
/// entries has `organization_id`, the subject's id, `sequence`, `type`, `data` and `created_at`, the first three as its key, an
/// index on `created_at`, and lets `SystemPurpose.maintenance` delete.
package struct LiveStream<Subject: StreamSubject>: Sendable {
    package typealias SubjectID = ID<Subject.Entity>

    /// One entry, as clients see it.
    package struct Entry: Sendable {
        package let id: StreamEntryID
        package let kind: Subject.EntryKind
        /// Encoded JSON.
        package let data: [UInt8]
    }

    /// How an entry becomes JSON.
    package struct Contents: Sendable {
        let columns: SQL
        let join: SQL
        let write: @Sendable (inout Row, inout JSONWriter) throws -> Void

        /// - Parameters:
        ///   - columns: What is read beside the entry's `data`, of the entry `e` and of what it is joined with.
        ///   - join: Adds the rows that entries name, at most one to an entry: `LEFT JOIN messages m ON …`.
        ///   - write: Writes one JSON value; the row stands at `data`, `columns` follow.
        package init(
            columns: SQL,
            join: SQL,
            write: @escaping @Sendable (inout Row, inout JSONWriter) throws -> Void
        ) {
            self.columns = ", \(columns)"
            self.join = join
            self.write = write
        }

        private init() {
            columns = .empty
            join = .empty
            write = { row, json in try row.copyJSON(to: &json) }
        }

        /// What the entry was appended with.
        package static var recorded: Contents { Contents() }
    }

    /// How long entries can be replayed.
    package let retention: Duration
    /// How long a follower sleeps without a signal before it looks by itself: signals can be lost.
    let pollingInterval: Duration
    /// How long followers are kept while the database is away.
    let patience: Duration
    let signal: @Sendable (SubjectID) -> Signal
    private let contents: Contents
    private let hasLink: Bool
    private let name: String

    // The statements' words, put together once.
    private let table: SQL
    private let key: SQL
    private let subjects: SQL
    private let insertion: SQL
    private let selection: SQL

    /// - Parameters:
    ///   - table: The table of the entries.
    ///   - key: Its column with the subject's id.
    ///   - link: Its column with the id of a row that an entry is about, if it has one.
    ///   - subjects: The table of the subjects.
    ///   - signal: Says that the stream of a subject grew.
    package init(
        _ table: StaticString,
        key: StaticString,
        link: StaticString? = nil,
        of subjects: StaticString,
        contents: Contents = .recorded,
        retention: Duration = .seconds(24 * 3_600),
        pollingInterval: Duration = .milliseconds(500),
        patience: Duration = .seconds(30),
        signal: @escaping @Sendable (SubjectID) -> Signal
    ) {
        self.retention = retention
        self.pollingInterval = pollingInterval
        self.patience = patience
        self.signal = signal
        self.contents = contents
        hasLink = link != nil
        name = "\(table)"
        self.table = SQL(trusted: "\(table)")
        self.key = SQL(trusted: "\(key)")
        self.subjects = SQL(trusted: "\(subjects)")
        insertion = SQL(
            trusted: "INSERT INTO \(table) (organization_id, \(key), sequence, type, data, created_at"
                + (link.map { ", \($0)" } ?? "") + ") VALUES ("
        )
        selection = """
            SELECT e.sequence, e.type, e.data\(contents.columns) FROM \(self.table) e \(contents.join) \
            WHERE e.organization_id =\u{20}
            """
    }

    // MARK: Appending

    /// Appends an entry at the next place of a subject that the caller has locked and saves afterwards.
    ///
    /// - Parameter link: The row that the entry is about, for a stream with such a column.
    package func append(
        _ kind: Subject.EntryKind,
        to subject: inout Subject,
        link: (any SQLBindable)? = nil,
        data: JSON = [:],
        in scope: OrganizationScope,
        at now: Timestamp,
        _ tx: any Transaction
    ) throws {
        let sequence = subject.advance()
        try insert(kind, in: subject.id, at: sequence, link: link, data: data, scope, now, tx)
    }

    /// Appends an entry at the next place of a subject that the caller has not read, if it fulfils a condition.
    ///
    /// - Returns: Whether it does.
    package func append(
        _ kind: Subject.EntryKind,
        to subject: SubjectID,
        where condition: SQL,
        link: (any SQLBindable)? = nil,
        data: JSON = [:],
        in scope: OrganizationScope,
        at now: Timestamp,
        _ tx: any Transaction
    ) throws -> Bool {
        let sequence: Int64? = try tx.value(
            """
            UPDATE \(subjects) SET last_sequence = last_sequence + 1
            WHERE organization_id = \(scope.id) AND id = \(subject) AND \(condition) RETURNING last_sequence
            """
        )
        guard let sequence else { return false }
        try insert(kind, in: subject, at: sequence, link: link, data: data, scope, now, tx)
        return true
    }

    private func insert(
        _ kind: Subject.EntryKind,
        in subject: SubjectID,
        at sequence: Int64,
        link: (any SQLBindable)?,
        data: JSON,
        _ scope: OrganizationScope,
        _ now: Timestamp,
        _ tx: any Transaction
    ) throws {
        let end: SQL = hasLink ? ", \(link?.sqlValue ?? .null))" : ")"
        try tx.run("\(insertion)\(scope.id), \(subject), \(sequence), \(kind), \(data), \(now)\(end)")
        tx.signal(signal(subject))
    }

    // MARK: Reading

    /// The sequence of the newest entry; nil when the subject does not exist.
    package func newest(of subject: SubjectID, in scope: OrganizationScope) -> Query<Int64?> {
        .value("SELECT last_sequence FROM \(subjects) WHERE organization_id = \(scope.id) AND id = \(subject)")
    }

    /// Entries after a place, in order.
    func entries(
        of subject: SubjectID,
        after sequence: Int64,
        limit: Int,
        in scope: OrganizationScope
    ) -> Query<[Entry]> {
        let mark = StreamMark(of: subject)
        let write = contents.write
        return Query(
            """
            \(selection)\(scope.id) AND e.\(key) = \(subject) AND e.sequence > \(sequence)
            ORDER BY e.sequence LIMIT \(limit: limit)
            """
        ) { rows in
            var entries: [Entry] = []
            while var row = try rows.next() {
                let sequence: Int64 = try row.next()
                let kind: Subject.EntryKind = try row.next()
                var json = JSONWriter(reservingCapacity: 512)
                try write(&row, &json)
                entries.append(Entry(id: StreamEntryID(mark, sequence), kind: kind, data: json.bytes))
            }
            return entries
        }
    }

    // MARK: Retention

    /// Deletes the entries whose time is over.
    package var purge: Purge {
        let (table, key, retention) = (table, key, retention)
        return Purge(name, batch: 5_000) { now, limit in
            """
            DELETE FROM \(table) WHERE (organization_id, \(key), sequence) IN (
                SELECT organization_id, \(key), sequence FROM \(table)
                WHERE created_at < \(now - retention) ORDER BY created_at LIMIT \(limit: limit)
            )
            """
        }
    }
}
