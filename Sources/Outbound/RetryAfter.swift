package import Kernel

/// How long a server asks to be left alone.
package enum RetryAfter {
    /// The wait that response headers ask for, at most `ceiling`; nil when they ask for none or cannot be read.
    ///
    /// `retry-after-ms` (milliseconds, OpenAI) is more exact and comes first; `Retry-After` is a number of seconds or an
    /// HTTP date in any of its three forms (RFC 9110 §5.6.7, §10.2.3). A date in the past is zero.
    package static func wait(
        in headers: OutboundHeaders,
        at now: Timestamp,
        ceiling: Duration = .seconds(7 * 86_400)
    ) -> Duration? {
        if let text = headers["retry-after-ms"], let milliseconds = number(text) {
            return min(.milliseconds(milliseconds), ceiling)
        }
        guard let text = headers["retry-after"] else { return nil }
        if let seconds = number(text) { return min(.seconds(seconds), ceiling) }
        return date(text).map { min(max($0 - now, .zero), ceiling) }
    }

    /// Digits, and a fraction that is dropped; large numbers are cut to a billion.
    private static func number(_ text: String) -> Int64? {
        let parts = trimmed(text).split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first, !whole.isEmpty,
            parts.allSatisfy({ $0.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } })
        else { return nil }
        return whole.utf8.count > 9 ? 1_000_000_000 : Int64(whole)
    }

    private static func trimmed(_ text: String) -> Substring {
        var text = text[...]
        while text.first == " " || text.first == "\t" { text.removeFirst() }
        while text.last == " " || text.last == "\t" { text.removeLast() }
        return text
    }

    private static let months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]

    /// `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or `Sun Nov  6 08:49:37 1994`.
    static func date(_ text: String) -> Timestamp? {
        guard text.utf8.count <= 40 else { return nil }
        var month: Int?
        var time: Substring?
        var numbers: [Substring] = []
        for word in text.split(whereSeparator: { $0 == " " || $0 == "," || $0 == "-" }) {
            if word.contains(":") {
                time = word
            } else if let place = months.firstIndex(of: word.lowercased()) {
                month = place + 1
            } else if word.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) {
                numbers.append(word)
            }
        }
        guard let month, let time, numbers.count == 2, let day = Int(numbers[0]), var year = Int(numbers[1]),
            numbers[0].utf8.count <= 2, numbers[1].utf8.count == 2 || numbers[1].utf8.count == 4
        else { return nil }
        if numbers[1].utf8.count == 2 { year += year < 70 ? 2_000 : 1_900 }
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return Timestamp("\(year)-\(two(month))-\(two(day))T\(time)Z")
    }
}
