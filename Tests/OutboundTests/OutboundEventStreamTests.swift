import Testing

@testable import Outbound

@Suite("Server-sent events")
struct OutboundEventStreamTests {
    typealias Event = ServerSentEvent

    @Test(
        "streams and their events",
        arguments: [
            ("data: a\n\n", [Event(data: "a")]),
            ("data:a\n\ndata:  b\n\n", [Event(data: "a"), Event(data: " b")]),
            ("data: a\r\n\r\ndata: b\r\rdata: c\n\n", [Event(data: "a"), Event(data: "b"), Event(data: "c")]),
            ("data: a\ndata: b\ndata\n\n", [Event(data: "a\nb\n")]),
            ("data\n\n", [Event(data: "")]),
            (": ping\n\n:\n: x\ndata: a\n: y\n\n", [Event(data: "a")]),
            ("\u{FEFF}data: a\n\n\u{FEFF}data: b\n\n", [Event(data: "a")]),
            ("event: error\ndata: a\n\ndata: b\n\n", [Event(name: "error", data: "a"), Event(data: "b")]),
            ("event: lonely\n\ndata: a\n\n", [Event(data: "a")]),
            (
                "id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
                [
                    Event(data: "a", id: "1"), Event(data: "b", id: "1"), Event(data: "c", id: ""),
                ]
            ),
            ("id: a\u{0}b\ndata: a\n\n", [Event(data: "a")]),
            ("unknown: x\ndataset: y\ndata: a\n\n", [Event(data: "a")]),
            ("data: unfinished\n", []),
            ("data: ë😀\n\n", [Event(data: "ë😀")]),
            ("", []), ("\n\n\n", []),
        ]
    )
    func streams(_ text: String, _ events: [Event]) throws {
        var parser = ServerSentEventParser()
        #expect(try parser.read(text.utf8) == events)
    }

    @Test("retry is read when it is a number")
    func retry() throws {
        var parser = ServerSentEventParser()
        _ = try parser.read("retry: 250\nretry: +9\nretry: 99999999999999\nretry:\n".utf8)
        #expect(parser.retry == .milliseconds(250))
    }

    @Test("any cutting of the bytes gives the same events", arguments: 0..<200)
    func anyCutting(_ seed: UInt64) throws {
        var random = SplitMix(state: seed)
        let words = [
            "data: ", "data:", "event: x", "id: 7", ":c", "\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "ë", "😀", "a",
            "\u{FEFF}", " ",
            "retry: 5", "{\"a\":\"b\"}",
        ]
        var bytes: [UInt8] = Bool.random(using: &random) ? [0xEF, 0xBB, 0xBF] : []
        for _ in 0..<Int.random(in: 0..<120, using: &random) {
            bytes += (words.randomElement(using: &random) ?? "").utf8
            if Int.random(in: 0..<40, using: &random) == 0 { bytes.append(UInt8.random(in: 0...255, using: &random)) }
        }
        bytes += "\n\ndata: end\n\n".utf8
        var whole = ServerSentEventParser()
        let expected = try whole.read(bytes)
        #expect(expected.last?.data == "end")
        for _ in 0..<5 {
            var parser = ServerSentEventParser()
            var events: [Event] = []
            var start = 0
            while start < bytes.count {
                let end = min(start + Int.random(in: 1...9, using: &random), bytes.count)
                events += try parser.read(bytes[start..<end])
                start = end
            }
            #expect(events == expected)
            #expect(parser.retry == whole.retry)
        }
    }

    @Test("an event beyond the limit is an error, whether in one line or in many")
    func limits() throws {
        var parser = ServerSentEventParser(maximumEventBytes: 10)
        #expect(try parser.read("data: 1234\n\n".utf8).count == 1)
        #expect(throws: ServerSentEventParser.TooLarge(limit: 10)) { try parser.read("data: 12345\n\n".utf8) }
        var other = ServerSentEventParser(maximumEventBytes: 10)
        #expect(throws: ServerSentEventParser.TooLarge.self) {
            for _ in 0..<20 { _ = try other.read("data:\n".utf8) }
        }
    }
}

/// A generator whose numbers are the same in every run.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
