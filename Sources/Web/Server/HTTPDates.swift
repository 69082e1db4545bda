import Kernel
import Synchronization

/// The present moment as HTTP writes it (RFC 9110 §5.6.7), made once a second.
final class HTTPDates: Sendable {
    private let cached = Mutex<(second: Int64, text: String)>((.min, ""))

    var now: String {
        let now = Timestamp.now()
        let second = now.milliseconds / 1_000
        return cached.withLock { cached in
            if cached.second != second { cached = (second, Self.text(now)) }
            return cached.text
        }
    }

    static func text(_ time: Timestamp) -> String {
        let days = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        // `2026-11-24T05:21:54.123Z`
        let text = time.description
        let parts = text.prefix(10).split(separator: "-")
        guard parts.count == 3, let month = Int(parts[1]), months.indices.contains(month - 1) else { return "" }
        // The epoch was a Thursday; a time before it counts backwards.
        let day = Int((time.milliseconds / 86_400_000) % 7)
        let clock = text.dropFirst(11).prefix(8)
        return "\(days[(day + 7) % 7]), \(parts[2]) \(months[month - 1]) \(parts[0]) \(clock) GMT"
    }
}
