import Testing

@testable import Kernel

@Suite("JSON")
struct JSONTests {
    // MARK: Reading

    @Test(
        "valid texts",
        arguments: [
            ("null", JSON.null), ("true", true), (" false\r\n\t", false), ("0", 0), ("-0", 0), ("-12", -12),
            ("9223372036854775807", .integer(.max)), ("-9223372036854775808", .integer(.min)),
            ("9223372036854775808", .number(9_223_372_036_854_775_808)), ("1.5", 1.5), ("-0.25e1", -2.5),
            ("1E2", 100.0),
            ("0.1", 0.1), ("123456789012345678901234567890", 1.2345678901234568e29),
            ("1.7976931348623157e308", .number(.greatestFiniteMagnitude)), ("5e-324", .number(.leastNonzeroMagnitude)),
            ("1e-999", 0.0), ("0e999999999999999999999", 0.0),
            ("2.2250738585072011e-308", .number(Double(bitPattern: 0x000F_FFFF_FFFF_FFFF))),
            (#""""#, ""), (#""a\"\\\/\b\f\n\r\tz""#, "a\"\\/\u{8}\u{c}\n\r\tz"),
            (#""\u00e9\u20AC\ud83d\ude00""#, "é€😀"),
            (#""Përshëndetje 👋 një""#, "Përshëndetje 👋 një"), ("[]", []), ("[1,[2],{}]", [1, [2], [:]]),
            (#"{"a":1,"b":{"a":null}}"#, ["a": 1, "b": ["a": .null]]),
            // Canonically equivalent keys are two keys.
            ("{\"\u{e9}\":1,\"e\u{301}\":2}", .object(["\u{e9}": 1, "e\u{301}": 2])),
        ] as [(String, JSON)]
    )
    func valid(text: String, value: JSON) throws {
        let parsed = try JSON(parsing: text)
        #expect(parsed == value)
        #expect(try JSON(parsing: parsed.text) == value)
        #expect(try JSON(parsing: parsed.sortedText) == value)
    }

    @Test(
        "refused texts",
        arguments: [
            ("", JSONError.Reason.empty, 0), ("  ", .empty, 2), ("nul", .expected("a value"), 0),
            ("nulll", .trailingText, 4), ("1 2", .trailingText, 2), ("[1,]", .expected("a value"), 3),
            ("[1 2]", .expected("\",\" or \"]\""), 3), ("[", .unexpectedEnd, 1), ("[1", .unexpectedEnd, 2),
            ("{", .unexpectedEnd, 1), ("{\"a\"", .unexpectedEnd, 4), ("{\"a\":", .unexpectedEnd, 5),
            ("{a:1}", .expected("a key in quotes"), 1), ("{\"a\" 1}", .expected("\":\""), 5),
            ("{\"a\":1,}", .expected("a key in quotes"), 7), ("'a'", .expected("a value"), 0),
            ("NaN", .expected("a value"), 0), ("Infinity", .expected("a value"), 0), ("01", .invalidNumber, 0),
            ("-01", .invalidNumber, 0), ("+1", .expected("a value"), 0), (".5", .expected("a value"), 0),
            ("1.", .unexpectedEnd, 2), ("1.e5", .invalidNumber, 0), ("1e", .unexpectedEnd, 2),
            ("1e+x", .invalidNumber, 0), ("-", .unexpectedEnd, 1), ("-a", .invalidNumber, 0),
            ("1e999", .numberOutOfRange, 0), ("[-1e400]", .numberOutOfRange, 1), ("\"abc", .unexpectedEnd, 4),
            ("\"abcdefghijk\\", .unexpectedEnd, 13), ("\"a\nb\"", .controlCharacter, 2),
            ("\"abcdefghij\u{1}k\"", .controlCharacter, 11), ("\"\u{0}\"", .controlCharacter, 1),
            (#""\x""#, .invalidEscape, 1), (#""\u12g4""#, .invalidEscape, 1), (#""\u12"#, .unexpectedEnd, 5),
            (#""\u0000""#, .nullCharacter, 1), (#""\ud800""#, .loneSurrogate, 1), (#""\udc00""#, .loneSurrogate, 1),
            (#""\ud800\u0041""#, .loneSurrogate, 1), (#""\ud800x""#, .loneSurrogate, 1),
            (#"{"name":1, "name":2}"#, .duplicateKey("name"), 11), (#"{"a":1,"\u0061":2}"#, .duplicateKey("a"), 7),
            ("\u{FEFF}1", .expected("a value"), 0), ("// c\n1", .expected("a value"), 0),
        ] as [(String, JSONError.Reason, Int)]
    )
    func refused(text: String, reason: JSONError.Reason, offset: Int) {
        let error = #expect(throws: JSONError.self) { try JSON(parsing: text) }
        #expect(error?.reason == reason)
        #expect(error?.offset == offset)
    }

    @Test(
        "invalid UTF-8 is refused where it is",
        arguments: [
            ([0x22, 0x61, 0xFF, 0x22], 2), ([0x22, 0xC0, 0x80, 0x22], 1), ([0x22, 0xED, 0xA0, 0x80, 0x22], 1),
            ([0x22, 0xF4, 0x90, 0x80, 0x80, 0x22], 1), ([0x22, 0xC3, 0x22], 1), ([0x22, 0x5C, 0x6E, 0x80, 0x22], 3),
            ([0x22, 0xC3, 0xA9, 0x61, 0x61, 0x61, 0x61, 0x61, 0x61, 0x61, 0x9F, 0x22], 10),
        ] as [([UInt8], Int)]
    )
    func invalidUTF8(bytes: [UInt8], offset: Int) {
        let error = #expect(throws: JSONError.self) { try JSON(parsing: bytes) }
        #expect(error?.reason == .invalidUTF8)
        #expect(error?.offset == offset)
    }

    @Test("errors tell people the place and no more than a short key")
    func description() {
        let repeated = #expect(throws: JSONError.self) {
            try JSON(parsing: "{\n  \"é\": 1,\n  \"name\": \"ë\", \"name\": 2\n}")
        }
        #expect(repeated?.description == "line 3, column 16: duplicate key \"name\"")
        let key = String(repeating: "k", count: 50)
        let long = #expect(throws: JSONError.self) { try JSON(parsing: "{\"\(key)\":1,\"\(key)\":2}") }
        #expect(long?.reason == .duplicateKey(key.prefix(32) + "…"))
    }

    @Test("depth and number of values are limited")
    func limits() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try JSON(parsing: nested(64))
        #expect(throws: JSONError.self) { try JSON(parsing: nested(65)) }
        #expect(throws: JSONError.self) { try JSON(parsing: String(repeating: "[{\"a\":", count: 200_000)) }
        _ = try JSON(parsing: nested(512), limits: JSONLimits(depth: .max))
        #expect(throws: JSONError.self) { try JSON(parsing: nested(513), limits: JSONLimits(depth: .max)) }

        _ = try JSON(parsing: "[1,2]", limits: JSONLimits(values: 3))
        let error = #expect(throws: JSONError.self) { try JSON(parsing: "[1,2,3]", limits: JSONLimits(values: 3)) }
        #expect(error?.reason == .tooManyValues(limit: 3))
    }

    @Test("all kinds of input read alike")
    func inputs() throws {
        let text = #"{"a":[1,"é"]}"#
        let value: JSON = ["a": [1, "é"]]
        #expect(try JSON(parsing: text) == value)
        #expect(try JSON(parsing: text[...]) == value)
        #expect(try JSON(parsing: Array(text.utf8)) == value)
        #expect(try JSON(parsing: Array(text.utf8)[...]) == value)
        #expect(try JSON(parsing: text.utf8.lazy.map { $0 }) == value)
        #expect(throws: JSONError.self) { try JSON(parsing: UnsafeBufferPointer<UInt8>(start: nil, count: 0)) }
    }

    // MARK: Values

    @Test("accessors answer only for their kind")
    func accessors() {
        let value: JSON = ["n": 2.0, "f": 2.5, "big": 1e300, "s": "x", "b": true, "a": [1], "o": ["k": .null]]
        #expect(value["n"]?.int == 2)
        #expect(value["f"]?.int == nil)
        #expect(value["big"]?.int == nil)
        #expect(JSON.integer(3).double == 3)
        #expect(value["s"]?.string == "x")
        #expect(value["s"]?.int == nil)
        #expect(value["b"]?.bool == true)
        #expect(value["a"]?.array == [1])
        #expect(value["o"]?["k"]?.isNull == true)
        #expect(value["missing"] == nil)
        #expect(JSON.null["a"] == nil)
    }

    @Test("equality is that of JSON")
    func equality() {
        #expect(JSON.integer(1) == .number(1))
        #expect(Set<JSON>([.integer(1), .number(1), .number(1.5)]).count == 2)
        #expect(JSON.integer(.max) != .number(9_223_372_036_854_775_808))
        #expect(JSON.string("\u{e9}") != .string("e\u{301}"))
        #expect((["a": 1, "b": 2] as JSON) == ["b": 2, "a": 1])
        #expect((["a": 1, "b": 2] as JSON).hashValue == (["b": 2.0, "a": 1] as JSON).hashValue)
        #expect((["a": 1] as JSON) != ["a": 1, "b": .null])
        #expect((["b": 1, "a": [2.0, ["d": 1, "c": 2]]] as JSON).sortedText == #"{"a":[2,{"c":2,"d":1}],"b":1}"#)
    }

    @Test("objects keep the order of their keys", arguments: [3, 16, 17, 200])
    func objects(count: Int) {
        var object = JSONObject()
        for number in 0..<count { object["k\(number)"] = .integer(Int64(number)) }
        #expect(object.keys == (0..<count).map { "k\($0)" })
        #expect(object.addIfAbsent("k1", 7) == false)
        object["k1"] = "new"
        #expect(object["k1"] == "new")
        object["k0"] = nil
        object["absent"] = nil
        #expect(object["k0"] == nil)
        #expect(object.count == count - 1)
        #expect(object["k\(count - 1)"] == .integer(Int64(count - 1)))
        #expect(object.addIfAbsent("k0", 0) == true)
        #expect(object.keys.last == "k0")
        #expect(object.map(\.key) == object.keys)
        #expect(([("a", 1), ("a", 2)] as [(String, JSON)]).reduce(into: JSONObject()) { $0[$1.0] = $1.1 } == ["a": 2])
    }

    // MARK: Writing

    @Test("the writer puts commas and escapes where they belong")
    func writer() {
        var writer = JSONWriter(reservingCapacity: 256)
        writer.beginObject()
        writer.key("id")
        writer.value("a\"b\\c\u{8}\u{9}\n\u{c}\r\u{1}\u{1f}\u{7f}/\u{2028}é")
        writer.key("list" as String)
        writer.beginArray()
        writer.value(Int64.min)
        writer.value(Int64.max)
        writer.value(7 as Int)
        writer.value(true)
        writer.null()
        writer.value(0.1)
        writer.value(Double.nan)
        writer.value(-Double.infinity)
        writer.beginObject()
        writer.endObject()
        writer.beginArray()
        writer.endArray()
        writer.raw(#"{"x":1}"#)
        writer.raw(Array("2".utf8))
        writer.value(["k": [.null, 1.5]] as JSON)
        writer.value(nil as String?)
        writer.value(5 as Int64?)
        writer.endArray()
        writer.key("k\"ey" as String)
        writer.value("")
        writer.endObject()
        let expected =
            #"{"id":"a\"b\\c\b\t\n\f\r\u0001\u001f"# + "\u{7f}/\u{2028}é"
            + #"","list":[-9223372036854775808,9223372036854775807,7,true,null,0.1,null,null,{},[],{"x":1},2,"#
            + #"{"k":[null,1.5]},null,5],"k\"ey":""}"#
        #expect(String(decoding: writer.bytes, as: UTF8.self) == expected)
    }

    @Test("a byte that needs an escape is found at every place", arguments: [0x00, 0x1F, 0x22, 0x5C] as [UInt8])
    func escapesEverywhere(byte: UInt8) throws {
        for filler in [0x20, 0x21, 0x23, 0x5B, 0x5D, 0x7F] as [UInt8] {
            for length in 1...26 {
                for position in 0..<length {
                    var bytes = [UInt8](repeating: filler, count: length)
                    bytes[position] = byte
                    #expect(bytes.withUnsafeBufferPointer { $0.firstByteToEscape(from: 0) } == position)
                    guard byte != 0 else { continue }
                    let text = String(decoding: bytes, as: UTF8.self)
                    #expect(try JSON(parsing: JSON.string(text).bytes) == .string(text))
                }
            }
        }
    }

    @Test("doubles make the round trip")
    func doubles() throws {
        var random = SplitMix(state: 7)
        for _ in 0..<5_000 {
            let number = Double(bitPattern: random.next())
            guard number.isFinite else { continue }
            let parsed = try JSON(parsing: JSON.number(number).text)
            #expect(parsed.double?.bitPattern == number.bitPattern || number == 0)
        }
        for _ in 0..<5_000 {
            let text =
                "\(Int64.random(in: -99_999_999...99_999_999, using: &random)).\(UInt32.random(in: 0...9_999_999, using: &random))"
                + "e\(Int.random(in: -30...30, using: &random))"
            #expect(try JSON(parsing: text).double == Double(text))
        }
    }

    // MARK: Fuzz

    @Test("mutated texts give a value that makes the round trip, or an error inside the text")
    func fuzz() throws {
        let seeds = [
            #"{"name":"Ana \"K\" \u00e9\ud83d\ude00","n":[0,-1,2.5e-3,1e22,9223372036854775807],"o":{"a":null,"b":true}}"#,
            #"[[[[{"a":[{"b":[1,2,3,"four"]}]}]]],"Përshëndetje 👋 \n\t\\",false,null,"\/"]"#,
            " { \((1...18).map { "\"k\($0)\":\($0)" }.joined(separator: ", ")) } ",
            "-0.0e-10", #""abcdefghijklmnopqrstuvwxyz0123456789""#,
        ].map { Array($0.utf8) }
        let fragments = [
            "\"", "\\", "\\u", "\\ud83d", "\\ude00", "\\u0000", "{", "}", "[", "]", ",", ":", "-", "0", "e", "E", ".",
            "+",
            "1e309", "null", "tru", "\u{0}", "\u{1f}", "é", "👋", "\n", " ", "99999999999999999999", "\"a\":1,",
        ].map { Array($0.utf8) }
        var random = SplitMix(state: 2026)
        var accepted = 0
        for _ in 0..<20_000 {
            var bytes = seeds[Int.random(in: seeds.indices, using: &random)]
            for _ in 0..<Int.random(in: 0...4, using: &random) {
                let position = Int.random(in: 0...bytes.count, using: &random)
                let end = Int.random(in: position...min(position + 6, bytes.count), using: &random)
                switch Int.random(in: 0..<5, using: &random) {
                case 0: if position < bytes.count { bytes[position] = UInt8.random(in: 0...255, using: &random) }
                case 1: bytes.removeSubrange(position..<end)
                case 2:
                    bytes.insert(contentsOf: fragments[Int.random(in: fragments.indices, using: &random)], at: position)
                case 3: bytes.insert(contentsOf: Array(bytes[position..<end]), at: position)
                default: bytes.removeSubrange(position...)
                }
            }
            do {
                let value = try JSON(parsing: bytes)
                accepted += 1
                let again = try JSON(parsing: value.bytes)
                #expect(again == value)
                #expect(again.bytes == value.bytes)
                #expect(again.hashValue == value.hashValue)
                #expect(String(validating: value.bytes, as: UTF8.self) != nil)
            } catch {
                #expect((0...bytes.count).contains(error.offset))
                #expect(error.line >= 1 && error.column >= 1 && error.description.utf8.count < 300)
            }
        }
        #expect(accepted > 2_000)
    }
}

/// A generator of the same numbers in each run.
///
/// Source: SplitMix64; Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
