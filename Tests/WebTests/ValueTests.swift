import Kernel
import Testing

@testable import Web

@Suite("Values")
struct ValueTests {
    @Test(
        "address blocks",
        arguments: [
            ("10.0.0.0/8", "10.1.2.3", true), ("10.0.0.0/8", "11.0.0.0", false), ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "2001:db8::1", false), ("192.0.2.7", "192.0.2.7", true), ("192.0.2.7", "192.0.2.8", false),
            ("192.0.2.7", "::ffff:192.0.2.7", true), ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false), ("::/0", "::1", true), ("::1", "::1", true),
            ("2001:db8::/96", "2001:db8::1.2.3.4", true), ("2001:db8::/65", "2001:db8:0:0:8000::", false),
        ]
    )
    func blocks(_ block: String, _ address: String, _ contains: Bool) throws {
        let block = try #require(AddressBlock(block))
        #expect(block.contains(try #require(ClientAddress(address))) == contains)
    }

    @Test(
        "what is no address block",
        arguments: ["", "/8", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "example.com", "10.0.0.0/8/8"]
    )
    func noBlocks(_ text: String) { #expect(AddressBlock(text) == nil) }

    @Test("addresses in text", arguments: ["1.2.3.4", "2001:db8::1", "::1"])
    func addressText(_ text: String) { #expect(ClientAddress(text)?.text == text) }

    @Test("one subscriber of IPv6 has one share")
    func rateLimitKeys() {
        #expect(ClientAddress("2001:db8::1")?.rateLimitKey == ClientAddress("2001:db8::2")?.rateLimitKey)
        #expect(ClientAddress("2001:db8:0:1::1")?.rateLimitKey != ClientAddress("2001:db8::1")?.rateLimitKey)
        #expect(ClientAddress("1.2.3.4")?.rateLimitKey != ClientAddress("1.2.3.5")?.rateLimitKey)
    }

    @Test("the client behind proxies")
    func forwarded() throws {
        let proxies = [try #require(AddressBlock("10.0.0.0/8"))]
        func client(_ peer: String, _ forwarded: [String]) -> String? {
            ClientAddress.client(peer: ClientAddress(peer), forwardedFor: forwarded, trusting: proxies)?.text
        }
        #expect(client("1.1.1.1", ["2.2.2.2"]) == "1.1.1.1")
        #expect(client("10.0.0.1", []) == "10.0.0.1")
        #expect(client("10.0.0.1", ["2.2.2.2"]) == "2.2.2.2")
        #expect(client("10.0.0.1", ["3.3.3.3, 2.2.2.2, 10.0.0.9"]) == "2.2.2.2")
        #expect(client("10.0.0.1", ["3.3.3.3", "10.0.0.9"]) == "3.3.3.3")
        #expect(client("10.0.0.1", ["nonsense"]) == "10.0.0.1")
        #expect(client("10.0.0.1", ["2.2.2.2, nonsense, 10.0.0.9"]) == "10.0.0.9")
    }

    @Test("dates as HTTP writes them")
    func dates() throws {
        #expect(HTTPDates.text(try #require(Timestamp("1994-11-06T08:49:37Z"))) == "Sun, 06 Nov 1994 08:49:37 GMT")
        #expect(HTTPDates.text(Timestamp(milliseconds: 0)) == "Thu, 01 Jan 1970 00:00:00 GMT")
        #expect(HTTPDates.text(try #require(Timestamp("2026-11-24T05:21:54Z"))) == "Tue, 24 Nov 2026 05:21:54 GMT")
    }

    @Test("lists of entity tags")
    func tags() {
        #expect(EntityTag.list("\"a\",\"b\"", weak: false)?.map(\.text) == ["\"a\"", "\"b\""])
        #expect(EntityTag.list("W/\"a\", \"b\"", weak: false)?.map(\.text) == ["\"b\""])
        #expect(EntityTag(version: 7, place: 12).text == "\"7-12\"")
        #expect(EntityTag(Timestamp(milliseconds: 255), showing: "gpt").text == "\"ff-677074\"")
        for (known, isFine) in [("7-12", true), ("7-1", true), ("7", false), ("77-12", false), ("6-12", false)] {
            let condition = Precondition(ifMatch: "\"x\", \"\(known)\"")
            let isMatch = (try? condition.check(EntityTag(version: 7, place: 12))) != nil
            #expect(isMatch == isFine, "\(known)")
        }
        #expect(EntityTag.list("W/\"a\"", weak: true)?.map(\.text) == ["\"a\""])
        for text in ["", "a", "\"a", "W/", "\"a\" b", "\"", "\"a\" \"b\"", "\"a\",", ",\"a\"", "\"\u{e4}\"", "\"a b\""]
        { #expect(EntityTag.list(text, weak: true) == nil) }
    }

    @Test("samples of schemas fit them")
    func samples() {
        let schemas: [Schema] = [
            Things.newThing, .email, .uuid, .dateTime, .uri, .slug, .e164, .currency, .language, .string(3...3),
            .string(2_000...3_000), .integer(-5 ... -2), .number(10...11), .array(of: .boolean, count: 2...4),
            .nullable(.choice("a")), .oneOf([.boolean, .string()]), .constant(5),
        ]
        for schema in schemas { #expect(schema.validate(schema.sample).isEmpty, "\(schema.words)") }
    }
}
