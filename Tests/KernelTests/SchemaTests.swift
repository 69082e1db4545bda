import Testing

@testable import Kernel

private let contact = Schema.object([
    .required("name", .string(1...10, [.singleLine, .notBlank]), "What people see.", example: "Ana"),
    .optional("email", .nullable(.email)),
    .optional("age", .integer(0...150), default: 18),
    .optional(
        "settings",
        .object([.optional("temperature", .number(0...2)), .optional("tags", .array(of: .slug, count: 1...2))])
    ),
    .readOnly("id", .uuid),
])

private let step = Schema.oneOf([
    .object([.required("type", .constant("wait")), .required("seconds", .integer(1...60))]),
    .object([.required("type", .constant("say")), .required("text", .string(1...20))]),
])

@Suite("Schema")
struct SchemaTests {
    // MARK: Validation

    @Test(
        "accepted values",
        arguments: [
            (contact, #"{"name":"Ana"}"#), (contact, #"{"name":" ë ","email":null,"age":150.0}"#),
            (contact, #"{"name":"A","email":"a.b+c@d-e.example","settings":{"temperature":2,"tags":["a-1"]}}"#),
            (.string(2...2), #""é👋""#), (.string(1...1), #""\n""#), (.choice("open", "closed"), #""open""#),
            (.integer(), "9223372036854775807"), (.integer(), "1e3"), (.number(), "-1.5e300"), (.number(0...1), "1"),
            (.boolean, "true"), (.array(of: .any, count: 0...3), #"[1,"a",{"b":[null]}]"#),
            (.map(of: .integer(0...9)), #"{"a":1,"b":2}"#), (.anyObject(), #"{"a":{"b":[1]}}"#), (.any, "null"),
            (.nullable(.choice("a")), "null"), (.named("Contact", contact), #"{"name":"Ana"}"#),
            (step, #"{"type":"say","text":"hi"}"#), (.constant(1), "1.0"), (.constant(["a": [1]]), #"{"a":[1]}"#),
        ] as [(Schema, String)]
    )
    func accepted(schema: Schema, text: String) throws {
        #expect(schema.validate(try JSON(parsing: text)) == [])
    }

    @Test(
        "refused values",
        arguments: [
            (contact, "[]", ["|type"]), (contact, "{}", ["/name|required"]),
            (
                contact, #"{"name":"","x":1,"a/b~c":2}"#,
                ["/name|too_short", "/x|unknown_field", "/a~1b~0c|unknown_field"]
            ),
            (contact, #"{"name":"12345678901"}"#, ["/name|too_long"]),
            (contact, #"{"name":" \u3000"}"#, ["/name|format"]),
            (contact, #"{"name":"a\nb"}"#, ["/name|format"]), (contact, #"{"name":"a\u2028b"}"#, ["/name|format"]),
            (contact, #"{"name":"Ana","id":"0191e2c4-0000-7000-8000-000000000000"}"#, ["/id|not_allowed"]),
            (
                contact, #"{"name":5,"email":"x","age":151,"settings":{"temperature":2.1,"tags":["a","B","c"]}}"#,
                [
                    "/name|type", "/email|format", "/age|out_of_range", "/settings/temperature|out_of_range",
                    "/settings/tags|too_many", "/settings/tags/1|format",
                ]
            ),
            (contact, #"{"name":"A","settings":{"tags":[]}}"#, ["/settings/tags|too_few"]),
            (contact, #"{"name":"A","age":1.5}"#, ["/age|type"]), (contact, #"{"name":"A","age":null}"#, ["/age|type"]),
            (.integer(), "9223372036854775808", ["|out_of_range"]), (.integer(), "1e300", ["|out_of_range"]),
            (.integer(), "-9223372036854775809", ["|out_of_range"]),
            (.integer(), "true", ["|type"]), (.number(0...1), "1.01", ["|out_of_range"]),
            (.number(0...9_007_199_254_740_992), "9007199254740993", ["|out_of_range"]),
            (.choice("open", "closed"), #""Open""#, ["|not_allowed"]), (.choice("open"), "1", ["|type"]),
            (.map(of: .integer(0...9), count: 2...3), #"{"":10}"#, ["|too_few", "/|not_allowed", "/|out_of_range"]),
            (.anyObject(maxBytes: 9), #"{"a":"bcd"}"#, ["|too_large"]), (.anyObject(), "[]", ["|type"]),
            (.nullable(.boolean), "0", ["|type"]), (step, #"{"type":"say"}"#, ["/text|required"]),
            (step, #"{"type":"say","text":"x","seconds":1}"#, ["/seconds|unknown_field"]),
            (step, #"{"type":"jump"}"#, ["/type|not_allowed"]), (step, "{}", ["/type|required"]),
            (step, "1", ["|type"]),
            (.oneOf([.number(), .integer()]), "1", ["|not_allowed"]), (.constant(1), "2", ["|not_allowed"]),
        ] as [(Schema, String, [String])]
    )
    func refused(schema: Schema, text: String, expected: [String]) throws {
        let errors = schema.validate(try JSON(parsing: text))
        #expect(errors.map { "\($0.pointer)|\($0.code)" } == expected)
        #expect(errors.allSatisfy { !$0.detail.isEmpty })
    }

    @Test("values that this process made may not smuggle in what the parser refuses")
    func ownValues() {
        #expect(Schema.string().validate("a\u{0}").map(\.code) == ["format"])
        #expect(Schema.any.validate(["a": ["\u{0}"]]).map(\.pointer) == ["/a/0"])
        #expect(Schema.anyObject().validate(["a\u{0}": 1]).map(\.code) == ["not_allowed"])
        #expect(Schema.any.validate(.number(.nan)).map(\.code) == ["type"])
        #expect(Schema.number().validate(.number(.infinity)).map(\.code) == ["out_of_range"])
        #expect(Schema.integer().validate(.number(.nan)).map(\.code) == ["type"])
    }

    @Test("at most 100 errors, in order")
    func cap() {
        let errors = Schema.array(of: .boolean, count: 0...1_000).validate(.array(Array(repeating: 1, count: 500)))
        #expect(errors.count == 100)
        #expect(errors.last?.pointer == "/99")
    }

    @Test("details are for people, and show neither values nor long keys")
    func details() {
        #expect(
            Schema.string(1...120).validate(5, at: "/name")
                == [
                    FieldError(
                        pointer: "/name",
                        code: "type",
                        detail: "must be a string of 1 to 120 characters, got a number"
                    )
                ]
        )
        #expect(Schema.string(1...120).validate("").first?.detail == "must have at least 1 character, got 0")
        #expect(Schema.integer(1...5).validate(9).first?.detail == "must be an integer from 1 to 5")
        #expect(Schema.nullable(.choice("a", "b")).validate(9).first?.detail == "must be one of a, b, got a number")
        #expect(step.validate(["type": "x"]).first?.detail == "must be one of wait, say")
        let long = Schema.object([]).validate(.object([String(repeating: "k", count: 1_000): 1]))
        #expect(long.first?.pointer == "/" + String(repeating: "k", count: 64) + "…")
    }

    @Test("answers may hold what the server sets")
    func responses() {
        let value: JSON = ["name": "Ana", "id": "0191e2c4-0000-7000-8000-000000000000"]
        #expect(contact.validate(value, as: .response) == [])
        #expect(contact.validate(value).map(\.code) == ["not_allowed"])
    }

    // MARK: Text

    @Test(
        "texts of parameters",
        arguments: [
            (.integer(0...10), "7", 7), (.integer(0...10), "7.0", 7), (.integer(0...10), "11", nil),
            (.integer(), " 7", nil), (.integer(), "+7", nil), (.integer(), "07", nil), (.integer(), "", nil),
            (.integer(), "[1]", nil), (.number(), "2.5", 2.5), (.number(), "NaN", nil), (.number(), "1e999", nil),
            (.boolean, "true", true), (.boolean, "1", nil), (.boolean, "TRUE", nil), (.choice("a", "b"), "b", "b"),
            (.choice("a"), "c", nil), (.string(1...3), "12", "12"), (.string(1...3), "", nil),
            (.string(), "a\u{0}", nil),
            (.uuid, "0191E2C4-0000-7000-8000-000000000000", "0191E2C4-0000-7000-8000-000000000000"),
            (.uuid, "0191e2c4", nil), (.dateTime, "2026-11-24T05:21:54Z", "2026-11-24T05:21:54Z"),
            (.nullable(.integer()), "null", .null), (.nullable(.string(0...9)), "null", "null"),
            (.oneOf([.integer(), .uuid]), "5", 5), (.oneOf([.integer(), .uuid]), "x", nil), (.constant(5), "5", 5),
            (.constant("a"), "a", "a"), (.named("N", .integer()), "1", 1), (.array(of: .any), "[]", nil),
            (.any, "5", "5"),
        ] as [(Schema, String, JSON?)]
    )
    func texts(schema: Schema, text: String, expected: JSON?) {
        let (value, errors) = schema.validate(text: text, at: "/limit")
        #expect(value == expected)
        #expect(errors.isEmpty == (expected != nil))
        #expect(errors.allSatisfy { $0.pointer == "/limit" })
        if case .integer = schema.form, let value {
            #expect({ if case .integer = value { true } else { false } }())
        }
    }

    // MARK: Formats

    private static let samples: [(Schema.StringFormat, accepted: [String], refused: [String])] = [
        (
            .uuid, ["0191e2c4-0000-7000-8000-0123456789aB"],
            [
                "", "0191e2c4000070008000000000000000", "0191e2c4-0000-7000-8000-00000000000g",
                "{0191e2c4-0000-7000-8000-0123456789ab}",
            ]
        ),
        (
            .email, ["a@b.co", "x.y+z@mail.example.com", "!#$%&'*+/=?^_`{|}~-@a-b.c1", "1@2.x3"],
            [
                "", "a", "@b.co", "a@b", "a@b.1", "a.@b.co", ".a@b.co", "a..b@c.de", "a b@c.de", "a@-b.co", "a@b-.co",
                "a@b..co", "a@b.co.", "a@b_c.de", "ë@b.co", "a@\(String(repeating: "x", count: 64)).co", "a@b@c.de",
                "a@b.co\n", "\(String(repeating: "a", count: 65))@b.co",
            ]
        ),
        (
            .dateTime,
            [
                "2026-11-24T05:21:54Z", "2024-02-29T23:59:59.123456789+14:00", "2000-02-29T00:00:00.1-00:30",
                "1000-01-01T00:00:00Z", "8999-12-31T23:59:59-23:59",
            ],
            [
                "2026-11-24 05:21:54Z", "2026-11-24t05:21:54Z", "2026-11-24T05:21:54", "2026-11-24T24:00:00Z",
                "2026-11-24T05:60:00Z", "2026-11-24T05:21:60Z", "2026-11-24T05:21:54.Z",
                "2026-11-24T05:21:54.1234567890Z",
                "2026-11-24T05:21:54+0100", "2026-11-24T05:21:54+24:00", "2023-02-29T00:00:00Z", "1900-02-29T00:00:00Z",
                "2026-04-31T00:00:00Z", "2026-00-10T00:00:00Z", "2026-01-00T00:00:00Z", "9000-01-01T00:00:00Z",
                "0999-01-01T00:00:00Z", "2026-11-24T05:21Z", "2026-11-24",
            ]
        ),
        (.date, ["2026-11-24", "2400-02-29"], ["2026-13-01", "2300-02-29", "2026-1-1", "20261124", "2026-11-24T"]),
        (
            .uri,
            [
                "http://a", "https://a.example/", "https://a.example:65535/b/c%20d?x=1&y=/?#f/?", "http://127.0.0.1:1",
                "https://my_service.internal?x", "https://a.b#", "http://a//b",
            ],
            [
                "", "a.example", "ftp://a", "http://", "https://user@a.example", "http://a:0", "http://a:65536",
                "http://a:",
                "http://a/ b", "http://a/%2", "http://a/%gg", "http://a/#b#c", "http://-a", "http://a..b", "http://a.",
                "http://ë.al", "http://[::1]:8080/", "http://[14A.]", "http://a/<b>", "HTTP://a", "http://a\n",
                "http://a/[b]",
                "javascript:alert(1)",
            ]
        ),
        (.slug, ["a", "a-1", "0-b-c"], ["", "-a", "a-", "a--b", "A", "a_b", "a b"]),
        (
            .e164, ["+3556912", "+355691234567", "+123456789012345"],
            ["355691234567", "+0556912345", "+12345", "+1234567890123456", "+1 234567"]
        ),
        (.currency, ["EUR"], ["eur", "EU", "EURO"]),
        (
            .language, ["sq", "en-GB", "zh-Hant-TW", "fil"],
            ["", "s", "SQ", "en-", "en-G", "en_GB", "abcd", "en-123456789"]
        ),
    ]

    @Test("each format has samples", arguments: Schema.StringFormat.allCases)
    func formats(format: Schema.StringFormat) throws {
        let sample = try #require(Self.samples.first { $0.0 == format })
        let pattern = try Regex(format.pattern).matchingSemantics(.unicodeScalar)
        for text in sample.accepted {
            #expect(format.matches(text), "\(text)")
            #expect(try pattern.wholeMatch(in: text) != nil, "\(text)")
        }
        for text in sample.refused {
            #expect(!format.matches(text), "\(text)")
            #expect(try pattern.wholeMatch(in: text) == nil, "\(text)")
        }
    }

    @Test("each accepted date-time is a Timestamp")
    func timestamps() throws {
        let sample = try #require(Self.samples.first { $0.0 == .dateTime })
        for text in sample.accepted { #expect(Timestamp(text) != nil, "\(text)") }
    }

    @Test("matchers and emitted patterns agree on mutated samples", arguments: Schema.StringFormat.allCases)
    func agreement(format: Schema.StringFormat) throws {
        let sample = try #require(Self.samples.first { $0.0 == format })
        let texts = (sample.accepted + sample.refused).map { Array($0.unicodeScalars) }
        let alphabet = Array("0123456789abefzABTZ-+.:/@_?#%[] \nëé👋\u{0}~!".unicodeScalars)
        let pattern = try Regex(format.pattern).matchingSemantics(.unicodeScalar)
        var random = SplitMix(state: 11)
        for _ in 0..<1_500 {
            var scalars = texts[Int.random(in: texts.indices, using: &random)]
            for _ in 0..<Int.random(in: 0...2, using: &random) {
                let position = Int.random(in: 0...scalars.count, using: &random)
                let scalar = alphabet[Int.random(in: alphabet.indices, using: &random)]
                switch Int.random(in: 0..<3, using: &random) {
                case 0 where position < scalars.count: scalars[position] = scalar
                case 1 where position < scalars.count: scalars.remove(at: position)
                default: scalars.insert(scalar, at: position)
                }
            }
            var text = ""
            text.unicodeScalars.append(contentsOf: scalars)
            #expect(try format.matches(text) == (pattern.wholeMatch(in: text) != nil), "\(text.debugDescription)")
        }
    }

    @Test(
        "options and emitted patterns agree",
        arguments: [[], .singleLine, .notBlank, [.singleLine, .notBlank]] as [Schema.StringOptions]
    )
    func options(options: Schema.StringOptions) throws {
        let rule = Schema.StringRule(length: 0...Int.max, options: options)
        // Swift's engine refuses U+2000 as the end of a range, because it has a canonical equivalent.
        let spaces = (0x2000...0x200A).map { "\\u\(String($0, radix: 16))" }.joined()
        let pattern = try Regex(rule.pattern.replacing("\\u2000-\\u200a", with: spaces)).matchingSemantics(
            .unicodeScalar
        )
        let special =
            "\0\u{1}\t\n\r\u{1f} \u{7f}\u{80}\u{85}\u{9f}\u{a0}\u{1680}\u{2000}\u{200a}\u{200b}\u{2028}\u{2029}"
            + "\u{202f}\u{205f}\u{3000}\u{feff}aë👋"
        for first in special.unicodeScalars {
            for second in special.unicodeScalars {
                for text in ["", String(Character(first)), "a\(first)", "\(first)\(second)", "\(first) \(second)"] {
                    let isAccepted = Schema(.string(rule)).validate(.string(text)).isEmpty
                    #expect(try isAccepted == (pattern.wholeMatch(in: text) != nil), "\(text.debugDescription)")
                }
            }
        }
    }

    // MARK: JSON Schema

    @Test("the emitted JSON Schema says what validation does")
    func emitted() throws {
        var components = JSONObject()
        let schema = Schema.object([
            .required("contact", .named("Contact", contact), "Who it is."),
            .optional("again", .nullable(.named("Contact", contact))),
            .optional("kind", .nullable(.choice("a", "b")), default: "a"),
            .optional("at", .nullable(.dateTime)),
            .optional("count", .integer(1...5)),
            .optional("rate", .number(0...1)),
            .optional("free", .anyObject()),
            .optional("labels", .map(of: .string(0...5), count: 0...3)),
        ]).jsonSchema(components: &components)
        #expect(components.keys == ["Contact", "AnyValue"])
        let properties = try #require(schema["properties"])
        #expect(schema["required"] == ["contact"])
        #expect(schema["additionalProperties"] == false)
        #expect(properties["contact"] == ["$ref": "#/components/schemas/Contact", "description": "Who it is."])
        #expect(properties["again"] == ["anyOf": [["$ref": "#/components/schemas/Contact"], ["type": "null"]]])
        #expect(properties["kind"] == ["type": ["string", "null"], "enum": ["a", "b", .null], "default": "a"])
        #expect(properties["at"]?["type"] == ["string", "null"])
        #expect(properties["at"]?["format"] == "date-time")
        #expect(properties["count"] == ["type": "integer", "format": "int64", "minimum": 1, "maximum": 5])
        #expect(properties["rate"] == ["type": "number", "minimum": 0, "maximum": 1])
        #expect(properties["labels"]?["propertyNames"]?["maxLength"] == 100)
        #expect(properties["labels"]?["maxProperties"] == 3)
        #expect(properties["free"]?["additionalProperties"] == ["$ref": "#/components/schemas/AnyValue"])

        let member = try #require(components["Contact"]?["properties"])
        #expect(member["name"]?["minLength"] == 1)
        #expect(member["name"]?["examples"] == ["Ana"])
        #expect(member["age"]?["default"] == 18)
        #expect(member["id"]?["readOnly"] == true)
        #expect(member["id"]?["pattern"] == .string(Schema.StringFormat.uuid.pattern))
    }

    @Test("a taken name gets a number")
    func sameName() {
        var components = JSONObject()
        let first = Schema.named("Thing", .boolean).jsonSchema(components: &components)
        let second = Schema.named("Thing", .integer()).jsonSchema(components: &components)
        #expect(Schema.named("Thing", .boolean).jsonSchema(components: &components) == first)
        #expect(second == ["$ref": "#/components/schemas/Thing2"])
        #expect(components.keys == ["Thing", "Thing2"])
    }
}
