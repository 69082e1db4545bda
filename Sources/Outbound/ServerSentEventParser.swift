/// One event of a `text/event-stream`.
package struct ServerSentEvent: Sendable, Hashable {
    /// `message` when the stream does not name it.
    package var name: String
    package var data: String
    /// The last id that the stream has set, also by an earlier event.
    package var id: String?

    package init(name: String = "message", data: String, id: String? = nil) {
        self.name = name
        self.data = data
        self.id = id
    }
}

/// Takes the bytes of an event stream as they come and gives its events, however the bytes are cut.
///
/// As the HTML standard defines it (§9.2.6): lines end with CR, LF or CRLF, a byte order mark at the start and lines
/// that begin with a colon are dropped, several `data` lines are joined by a line feed, an event without data is none,
/// and what the last blank line does not close is lost. Invalid UTF-8 becomes U+FFFD.
package struct ServerSentEventParser: Sendable {
    package struct TooLarge: Error, Sendable, Hashable {
        package let limit: Int
    }

    /// The most bytes that an event, or one line of it, may have.
    package let maximumEventBytes: Int
    /// What the stream last asked to wait before the next connection.
    package private(set) var retry: Duration?

    private var line: [UInt8] = []
    private var data: [UInt8] = []
    private var hasData = false
    private var name = ""
    private var id: String?
    private var hasReadReturn = false
    /// Whether the bytes so far may still be a byte order mark.
    private var isAtStart = true

    package init(maximumEventBytes: Int = 1 << 20) { self.maximumEventBytes = maximumEventBytes }

    package mutating func read(_ bytes: some Sequence<UInt8>) throws(TooLarge) -> [ServerSentEvent] {
        var events: [ServerSentEvent] = []
        for byte in bytes {
            switch byte {
            case 0x0A where hasReadReturn:
                hasReadReturn = false
            case 0x0A, 0x0D:
                hasReadReturn = byte == 0x0D
                endLine(&events)
            default:
                hasReadReturn = false
                guard line.count + data.count < maximumEventBytes else { throw TooLarge(limit: maximumEventBytes) }
                line.append(byte)
                if isAtStart, line.count == 3 {
                    isAtStart = false
                    if line == [0xEF, 0xBB, 0xBF] { line = [] }
                }
            }
        }
        return events
    }

    private mutating func endLine(_ events: inout [ServerSentEvent]) {
        defer { line.removeAll(keepingCapacity: true) }
        isAtStart = false
        guard let first = line.first else {
            if hasData {
                let text = String(decoding: data, as: UTF8.self)
                events.append(ServerSentEvent(name: name.isEmpty ? "message" : name, data: text, id: id))
            }
            data.removeAll(keepingCapacity: true)
            hasData = false
            name = ""
            return
        }
        guard first != UInt8(ascii: ":") else { return }
        let colon = line.firstIndex(of: UInt8(ascii: ":")) ?? line.endIndex
        var value = line[colon...].dropFirst()
        if value.first == 0x20 { value.removeFirst() }
        switch String(decoding: line[..<colon], as: UTF8.self) {
        case "data":
            if hasData { data.append(0x0A) }
            data.append(contentsOf: value)
            hasData = true
        case "event":
            name = String(decoding: value, as: UTF8.self)
        case "id" where !value.contains(0):
            id = String(decoding: value, as: UTF8.self)
        case "retry" where value.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }):
            if let milliseconds = UInt32(String(decoding: value, as: UTF8.self)) { retry = .milliseconds(milliseconds) }
        default:
            break
        }
    }
}
