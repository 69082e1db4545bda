import Kernel
import Testing

@Suite("FieldList")
struct FieldListTests {
    enum Size: String, Sendable, CaseIterable, FieldValue {
        case small
        case large
    }

    struct Crate: Noun, Equatable {
        let id: ID<Crate>
        var label = ""
        var size = Size.small
        var owner: ID<Crate>?
        var mail: String?
        var isOpen = true
        var weight: Int64 = 3
        var notes: JSON = [:]
        let createdAt: Timestamp
        var updatedAt: Timestamp

        init(at now: Timestamp) {
            id = ID()
            createdAt = now
            updatedAt = now
        }

        static let fields = FieldList<Crate>(
            "Crate",
            [
                .shown("id", \.id, .uuid),
                .editable(
                    "label",
                    \.label,
                    .string(1...20),
                    accepts: .string(1...20, .singleLine),
                    isRequired: true,
                    audit: .shown,
                    "What is written on it.",
                    example: "Fragile"
                ),
                .fixed("size", \.size, .choice(of: Size.self)),
                .editable("owner", \.owner, .nullable(.uuid), audit: .shown, editing: "null takes it away."),
                .editable("mail", \.mail, .nullable(.email), audit: .redacted, normal: { $0?.lowercased() }),
                .editable("is_open", \.isOpen, .boolean, audit: .shown),
                .editable("weight", \.weight, .integer(0...9), audit: .shown),
                .editable("notes", \.notes, .anyObject(), audit: .redacted),
                .shown("created_at", \.createdAt, .dateTime),
                .shown("updated_at", \.updatedAt, .dateTime),
            ]
        )
    }

    private let now = Timestamp(milliseconds: 1_700_000_000_000)

    private func properties(_ schema: Schema) throws -> [Schema.Property] {
        guard case .named(_, let inner) = schema.form, case .object(let properties) = inner.form else {
            Issue.record("\(schema)")
            return []
        }
        return properties
    }

    @Test("three schemas come from one list")
    func schemas() throws {
        let body = try properties(Crate.fields.body)
        #expect(body.map(\.name) == Crate.fields.names)
        #expect(body.allSatisfy { $0.isRequired })
        #expect(body[1].schema == .string(1...20))

        let new = try properties(Crate.fields.new)
        #expect(new.map(\.name) == ["label", "size", "owner", "mail", "is_open", "weight", "notes"])
        #expect(new.filter(\.isRequired).map(\.name) == ["label"])
        #expect(new[0].schema == .string(1...20, .singleLine))
        #expect(new[0].example == "Fragile")
        #expect(new.map(\.defaultValue) == [nil, "small", nil, nil, true, 3, nil])

        let patch = try properties(Crate.fields.patch)
        #expect(patch.map(\.name) == ["label", "owner", "mail", "is_open", "weight", "notes"])
        #expect(patch.allSatisfy { !$0.isRequired })
        #expect(patch[1].description == "null takes it away.")
        #expect(patch.allSatisfy { $0.defaultValue == nil })
    }

    @Test("a new one takes what is said, and defaults for the rest")
    func fill() throws {
        var crate = Crate(at: now)
        try crate.fill(from: ["label": "Glass", "size": "large", "mail": "ANA@example.com"])
        #expect(crate.label == "Glass")
        #expect(crate.size == .large)
        #expect(crate.mail == "ana@example.com")
        #expect(crate.isOpen)
        #expect(crate.weight == 3)
    }

    @Test("a patch tells what is absent from what is null, and leaves what is fixed")
    func edit() throws {
        var crate = Crate(at: now)
        let owner = ID<Crate>()
        try crate.edit(with: ["owner": .string(owner.description), "mail": "a@example.com"])
        #expect(crate.owner == owner)
        try crate.edit(with: ["owner": .null, "size": "large", "id": "no"])
        #expect(crate.owner == nil)
        #expect(crate.mail == "a@example.com")
        #expect(crate.size == .small)
    }

    @Test("every value that cannot be taken is named, also where no schema was asked")
    func refused() throws {
        var crate = Crate(at: now)
        let error = #expect(throws: Problem.self) {
            try crate.edit(with: ["label": 7, "owner": "no id", "is_open": .null, "weight": 4])
        }
        #expect(error?.errors.map(\.pointer) == ["/label", "/owner", "/is_open"])
    }

    @Test("the audit log sees what differs, without free JSON and personal data")
    func changes() throws {
        let old = Crate(at: now)
        #expect(old.changes(since: old) == nil)
        var crate = old
        try crate.edit(with: ["label": "Glass", "notes": ["a": 1], "mail": "a@example.com", "weight": 3])
        crate.touch(at: now)
        #expect(
            crate.changes(since: old) == [
                "label": ["before": "", "after": "Glass"], "mail": ["before": "redacted", "after": "redacted"],
                "notes": ["before": "redacted", "after": "redacted"],
            ]
        )
        #expect(crate.updatedAt == now + .milliseconds(1))
        #expect(crate.tag != old.tag)
    }

    @Test("what is written is what the values say, in the order of the list")
    func write() throws {
        var crate = Crate(at: now)
        crate.label = "\"Glass\"\n"
        crate.owner = ID()
        var json = JSONWriter()
        Crate.fields.write(crate, to: &json)
        let parsed = try JSON(parsing: String(decoding: json.bytes, as: UTF8.self))
        #expect(parsed.object?.map(\.key) == Crate.fields.names)
        #expect(parsed["label"] == "\"Glass\"\n")
        #expect(parsed["owner"] == .string(crate.owner?.description ?? ""))
        #expect(parsed["mail"] == .null)
        #expect(parsed["weight"] == 3)
        #expect(parsed["created_at"] == .string(now.description))
        #expect(Crate.fields.body.validate(parsed, as: .response).isEmpty)
    }

    @Test("a member is written by its kind")
    func member() {
        var json = JSONWriter()
        json.beginObject()
        json.member("a", "text")
        json.member("b", Size.large)
        json.member("c", String?.none)
        json.member("d", true)
        json.endObject()
        #expect(String(decoding: json.bytes, as: UTF8.self) == #"{"a":"text","b":"large","c":null,"d":true}"#)
    }
}
