/// A thing of an organization that the API creates, shows, lists, edits and deletes.
package protocol Noun: Sendable {
    /// Marks its ids.
    associatedtype Entity = Self

    /// What it has, declared once.
    static var fields: FieldList<Self> { get }

    var id: ID<Entity> { get }
    var createdAt: Timestamp { get }
    /// Rises with every edit.
    var updatedAt: Timestamp { get set }

    /// Names the state that it is in.
    var tag: EntityTag { get }

    /// One of which nothing is said yet: its values are the defaults.
    init(at now: Timestamp)
}

extension Noun {
    /// Marks an edit, so that no two states have the same time.
    package mutating func touch(at now: Timestamp) { updatedAt = max(now, updatedAt + .milliseconds(1)) }

    package var tag: EntityTag { EntityTag(updatedAt) }

    /// Takes over what a request for a new one says.
    ///
    /// - Throws: A 400 problem that names each field whose value cannot be taken.
    package mutating func fill(from body: JSON) throws(Problem) { try Self.fields.set(body, in: &self, isNew: true) }

    /// Takes over what a patch says: what it does not name stays, null empties.
    ///
    /// - Throws: A 400 problem that names each field whose value cannot be taken.
    package mutating func edit(with body: JSON) throws(Problem) { try Self.fields.set(body, in: &self, isNew: false) }

    /// Whether anything that can be edited differs from an earlier state.
    package func differs(from old: Self) -> Bool { Self.fields.differ(old, self) }

    /// What differs from an earlier state, as the audit log shows it; nil when nothing does.
    package func changes(since old: Self) -> JSON? { Self.fields.changes(from: old, to: self) }
}

/// The fields of a noun, declared once.
///
/// From it come the three schemas (what is shown, what a new one takes, what a patch takes), the JSON in and out, the edit and
/// what the audit log says of it. It knows nothing of the database: a store has its own list of columns, and a test compares.
///
/// ```swift
/// static let fields = FieldList<Channel>("Channel", [
///     .shown("id", \.id, .uuid),
///     .editable("name", \.name, .string(1...120), isRequired: true, "What your people call it."),
///     .fixed("type", \.kind, .choice(of: Kind.self), isRequired: true),
/// ])
/// ```
package struct FieldList<Value: Noun>: Sendable {
    /// As it is shown.
    package let body: Schema
    /// What a request for a new one takes.
    package let new: Schema
    /// What a patch takes.
    package let patch: Schema
    private let fields: [Field<Value>]

    /// - Parameter name: Of the schema in the API description; those of requests are called `NewName` and `NameChanges`.
    package init(_ name: String, _ fields: [Field<Value>]) {
        let blank = Value(at: .earliest)
        self.fields = fields
        body = .named(
            name,
            .object(fields.map { .required($0.name, $0.schema, $0.summary, example: $0.set == nil ? nil : $0.example) })
        )
        new = .named("New\(name)", .object(fields.compactMap { $0.whenNew(blank) }))
        patch = .named("\(name)Changes", .object(fields.compactMap(\.whenEdited)))
    }

    /// In order, for the test that compares them with the columns of the store.
    package var names: [String] { fields.map(\.name) }

    package func write(_ value: Value, to json: inout JSONWriter) {
        json.beginObject()
        for field in fields {
            json.key(encoded: field.key)
            field.write(value, &json)
        }
        json.endObject()
    }

    func set(_ body: JSON, in value: inout Value, isNew: Bool) throws(Problem) {
        var errors: [FieldError] = []
        for field in fields where isNew || !field.isFixed {
            guard let set = field.set, let member = body[field.name] else { continue }
            if let error = set(&value, member) { errors.append(error) }
        }
        guard errors.isEmpty else { throw .invalid(errors) }
    }

    /// Those that can be edited.
    package var editableNames: [String] { fields.filter { !$0.isFixed }.map(\.name) }

    func differ(_ old: Value, _ new: Value) -> Bool {
        fields.contains { !$0.isFixed && $0.get(old) != $0.get(new) }
    }

    func changes(from old: Value, to new: Value) -> JSON? {
        .changes(
            fields.compactMap { field in
                switch field.audit {
                case .shown: .of(field.name, field.get(old), field.get(new))
                case .redacted: .redacted(field.name, field.get(old), field.get(new))
                case nil: nil
                }
            }
        )
    }
}

/// How the audit log shows that a field was edited.
package enum FieldAudit: Sendable {
    case shown
    /// That it changed, without the values: for free JSON and personal data.
    case redacted
}

/// One field of a noun.
package struct Field<Value: Noun>: Sendable {
    let name: String
    let schema: Schema
    let summary: String
    let example: JSON?
    /// nil for what is never edited.
    let audit: FieldAudit?
    /// Whether it is given when the noun is made, and never edited.
    let isFixed: Bool
    let get: @Sendable (Value) -> JSON
    let write: @Sendable (Value, inout JSONWriter) -> Void
    /// nil for what the server sets.
    ///
    /// Returns what is wrong with a value that fits the schema and cannot be taken all the same.
    let set: (@Sendable (inout Value, JSON) -> FieldError?)?
    /// `"name":`
    let key: [UInt8]
    private let accepts: Schema
    private let isRequired: Bool
    private let editing: String?

    /// What the server sets.
    package static func shown<Member: FieldValue>(
        _ name: String,
        _ member: any KeyPath<Value, Member> & Sendable,
        _ schema: Schema,
        _ summary: String = ""
    ) -> Field {
        Field(
            name,
            schema,
            summary,
            audit: nil,
            isFixed: true,
            get: { $0[keyPath: member].json },
            write: { $0[keyPath: member].write(to: &$1) },
            set: nil
        )
    }

    /// What is given when the noun is made, and never edited.
    package static func fixed<Member: FieldValue>(
        _ name: String,
        _ member: any WritableKeyPath<Value, Member> & Sendable,
        _ schema: Schema,
        accepts: Schema? = nil,
        isRequired: Bool = false,
        _ summary: String = "",
        example: JSON? = nil
    ) -> Field {
        Field(name, member, schema, accepts, isRequired, nil, true, summary, nil, example) { $0 }
    }

    /// - Parameters:
    ///   - accepts: What requests may say, where it is less than what may be shown.
    ///   - isRequired: Whether a new one needs it.
    ///   - audit: How the audit log shows an edit; `redacted` for personal data and free JSON.
    ///   - editing: What is to be said about it in a patch, where that is something else.
    ///   - normal: How a value is kept: an address in lower case.
    package static func editable<Member: FieldValue>(
        _ name: String,
        _ member: any WritableKeyPath<Value, Member> & Sendable,
        _ schema: Schema,
        accepts: Schema? = nil,
        isRequired: Bool = false,
        audit: FieldAudit,
        _ summary: String = "",
        editing: String? = nil,
        example: JSON? = nil,
        normal: @escaping @Sendable (Member) -> Member = { $0 }
    ) -> Field {
        Field(name, member, schema, accepts, isRequired, audit, false, summary, editing, example, normal)
    }

    private init<Member: FieldValue>(
        _ name: String,
        _ member: any WritableKeyPath<Value, Member> & Sendable,
        _ schema: Schema,
        _ accepts: Schema?,
        _ isRequired: Bool,
        _ audit: FieldAudit?,
        _ isFixed: Bool,
        _ summary: String,
        _ editing: String?,
        _ example: JSON?,
        _ normal: @escaping @Sendable (Member) -> Member
    ) {
        self.init(
            name,
            schema,
            accepts: accepts,
            isRequired: isRequired,
            summary,
            editing: editing,
            example: example,
            audit: audit,
            isFixed: isFixed,
            get: { $0[keyPath: member].json },
            write: { $0[keyPath: member].write(to: &$1) },
            set: { value, json in
                guard let read = Member(json: json) else {
                    return FieldError(pointer: "/\(name)", code: "format", detail: "cannot be taken")
                }
                value[keyPath: member] = normal(read)
                return nil
            }
        )
    }

    /// A field that is no plain member.
    package init(
        _ name: String,
        _ schema: Schema,
        accepts: Schema? = nil,
        isRequired: Bool = false,
        _ summary: String = "",
        editing: String? = nil,
        example: JSON? = nil,
        audit: FieldAudit?,
        isFixed: Bool = false,
        get: @escaping @Sendable (Value) -> JSON,
        write: (@Sendable (Value, inout JSONWriter) -> Void)? = nil,
        set: (@Sendable (inout Value, JSON) -> FieldError?)?
    ) {
        self.name = name
        self.schema = schema
        self.accepts = accepts ?? schema
        self.isRequired = isRequired
        self.summary = summary
        self.editing = editing
        self.example = example
        self.audit = audit
        self.isFixed = isFixed
        self.get = get
        self.write = write ?? { $1.value(get($0)) }
        self.set = set
        key = JSON.string(name).bytes + [UInt8(ascii: ":")]
    }

    fileprivate func whenNew(_ blank: Value) -> Schema.Property? {
        guard set != nil else { return nil }
        if isRequired { return .required(name, accepts, summary, example: example) }
        let defaultValue: JSON? =
            switch get(blank) {
            case .null, .array, .object: nil
            case let value: value
            }
        return .optional(name, accepts, summary, default: defaultValue, example: example)
    }

    fileprivate var whenEdited: Schema.Property? {
        guard set != nil, !isFixed else { return nil }
        return .optional(name, accepts, editing ?? summary, example: example)
    }
}

/// A member of a noun that is one JSON value.
package protocol FieldValue: Sendable {
    /// - Returns: nil when it is not of this kind.
    init?(json: JSON)

    var json: JSON { get }

    func write(to writer: inout JSONWriter)
}

extension String: FieldValue {
    package init?(json: JSON) {
        guard let text = json.string else { return nil }
        self = text
    }

    package var json: JSON { .string(self) }

    package func write(to writer: inout JSONWriter) { writer.value(self) }
}

extension Bool: FieldValue {
    package init?(json: JSON) {
        guard let flag = json.bool else { return nil }
        self = flag
    }

    package var json: JSON { .bool(self) }

    package func write(to writer: inout JSONWriter) { writer.value(self) }
}

extension Int64: FieldValue {
    package init?(json: JSON) {
        guard let number = json.int else { return nil }
        self = number
    }

    package var json: JSON { .integer(self) }

    package func write(to writer: inout JSONWriter) { writer.value(self) }
}

extension JSON: FieldValue {
    package init?(json: JSON) { self = json }

    package var json: JSON { self }

    package func write(to writer: inout JSONWriter) { writer.value(self) }
}

extension ID: FieldValue {
    package init?(json: JSON) {
        guard let id = json.string.flatMap({ ID($0) }) else { return nil }
        self = id
    }

    package var json: JSON { .string(description) }

    package func write(to writer: inout JSONWriter) { writer.value(self) }
}

extension Timestamp: FieldValue {
    package init?(json: JSON) {
        guard let moment = json.string.flatMap({ Timestamp($0) }) else { return nil }
        self = moment
    }

    package var json: JSON { .string(description) }

    package func write(to writer: inout JSONWriter) { writer.value(self) }
}

extension Optional: FieldValue where Wrapped: FieldValue {
    package init?(json: JSON) {
        if case .null = json {
            self = Wrapped?.none
            return
        }
        guard let value = Wrapped(json: json) else { return nil }
        self = Wrapped?.some(value)
    }

    package var json: JSON { map(\.json) ?? .null }

    package func write(to writer: inout JSONWriter) {
        if let self { self.write(to: &writer) } else { writer.null() }
    }
}

/// An enumeration is shown by its raw value.
extension FieldValue where Self: RawRepresentable<String> {
    package init?(json: JSON) {
        guard let value = json.string.flatMap(Self.init(rawValue:)) else { return nil }
        self = value
    }

    package var json: JSON { .string(rawValue) }

    package func write(to writer: inout JSONWriter) { writer.value(rawValue) }
}
