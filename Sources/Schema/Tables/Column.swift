import Storage

/// One column of a table.
struct Column: Sendable {
    let name: String
    let type: Fragment
    let isRequired: Bool
    /// A literal of this program's own text: `'gpt-4'`.
    let defaultValue: String?

    private init(_ name: String, _ type: Fragment, isRequired: Bool, defaultValue: String?) {
        self.name = name
        self.type = type
        self.isRequired = isRequired
        self.defaultValue = defaultValue
    }

    /// A column that always holds a value.
    static func required(_ name: String, _ type: Fragment, default value: String? = nil) -> Column {
        Column(name, type, isRequired: true, defaultValue: value)
    }

    /// A column that may hold NULL.
    static func optional(_ name: String, _ type: Fragment, default value: String? = nil) -> Column {
        Column(name, type, isRequired: false, defaultValue: value)
    }

    static let id = required("id", .uuid)
    static let createdAt = required("created_at", .timestamp)
    static let updatedAt = required("updated_at", .timestamp)

    var definition: SQL {
        var words: SQL = "\(SQL(trusted: name)) \(type)"
        if isRequired { words += " NOT NULL" }
        if let defaultValue { words += SQL(trusted: " DEFAULT \(defaultValue)") }
        return words
    }
}

extension Fragment {
    /// A whole number of 64 bits.
    static let integer = Fragment(sqlite: "BIGINT", postgres: "BIGINT")
    static let boolean = Fragment(sqlite: "BOOLEAN", postgres: "BOOLEAN")
}

/// What a row must fulfil, named `table_name_check` on both databases.
struct Check: Sendable {
    let name: String
    /// The same words on both databases.
    let condition: String

    init(_ name: String, _ condition: String) {
        self.name = name
        self.condition = condition
    }

    /// How many characters a text may have.
    static func length(of column: String, _ range: ClosedRange<Int>) -> Check {
        Check(column, "length(\(column)) BETWEEN \(range.lowerBound) AND \(range.upperBound)")
    }

    /// The values of a set that is closed by nature, such as a direction; sets that grow are enumerations in code.
    static func oneOf(_ column: String, _ values: [String]) -> Check {
        Check(column, "\(column) IN (\(values.map { "'\($0)'" }.joined(separator: ", ")))")
    }
}

/// A reference to a row of another table.
struct Reference: Sendable {
    enum Deletion: String, Sendable {
        /// The row that is referred to cannot be deleted.
        case refused = ""
        case cascade = " ON DELETE CASCADE"
        /// Only for references without the organization, which SQLite would null as well.
        case setNull = " ON DELETE SET NULL"
    }

    let column: String
    let table: String
    let isInOrganization: Bool
    let deletion: Deletion

    /// To the `id` of a row of the same organization.
    static func own(_ column: String, to table: String, onDelete deletion: Deletion = .refused) -> Reference {
        Reference(column: column, table: table, isInOrganization: true, deletion: deletion)
    }

    /// To the `id` of what belongs to no organization, or to several: users, plans, organizations.
    static func shared(_ column: String, to table: String, onDelete deletion: Deletion = .refused) -> Reference {
        Reference(column: column, table: table, isInOrganization: false, deletion: deletion)
    }

    func constraint(of referring: String) -> SQL {
        let columns = isInOrganization ? "organization_id, \(column)" : column
        let target = isInOrganization ? "organization_id, id" : "id"
        return SQL(
            trusted: "CONSTRAINT \(referring)_\(column)_fkey FOREIGN KEY (\(columns)) REFERENCES \(table) (\(target))"
                + deletion.rawValue
        )
    }
}

/// An index beside those of keys.
struct Index: Sendable {
    let columns: [String]
    let isUnique: Bool
    /// The rows that it holds; nil is all.
    let condition: String?
    private let givenName: String?

    /// - Parameter name: Without the table; by default the columns, without the organization.
    static func on(_ columns: String..., where condition: String? = nil, name: String? = nil) -> Index {
        Index(columns: columns, isUnique: false, condition: condition, givenName: name)
    }

    /// A unique index is named `table_column_column_key`: its name is how a violation finds its domain error.
    static func unique(_ columns: String..., where condition: String? = nil) -> Index {
        Index(columns: columns, isUnique: true, condition: condition, givenName: nil)
    }

    func name(on table: String) -> String {
        if isUnique { return "\(table)_\(columns.joined(separator: "_"))_key" }
        if let givenName { return "\(table)_\(givenName)_idx" }
        let own = columns.filter { $0 != "organization_id" && $0 != "id" }
        return "\(table)_\((own.isEmpty ? columns : own).joined(separator: "_"))_idx"
    }

    func statement(on table: String) -> SQL {
        SQL(
            trusted: "CREATE \(isUnique ? "UNIQUE " : "")INDEX \(name(on: table)) ON \(table) "
                + "(\(columns.joined(separator: ", ")))" + (condition.map { " WHERE \($0)" } ?? "")
        )
    }
}
