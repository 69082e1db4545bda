#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A moment in UTC at a resolution of one millisecond, from year 1 to year 9999.
///
/// Both databases and the API keep exactly this resolution, so a value that makes the round trip compares equal.
package struct Timestamp: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    package let milliseconds: Int64

    /// The first and last moments that the text form can name.
    package static let earliest = Timestamp(uncheckedMilliseconds: -62_135_596_800_000)
    package static let latest = Timestamp(uncheckedMilliseconds: 253_402_300_799_999)

    private init(uncheckedMilliseconds: Int64) { milliseconds = uncheckedMilliseconds }

    /// Milliseconds outside the range of the text form are moved to its nearest end.
    package init(milliseconds: Int64) {
        self.milliseconds = min(max(milliseconds, Self.earliest.milliseconds), Self.latest.milliseconds)
    }

    package static func now() -> Timestamp { Timestamp(milliseconds: unixNanosecondsNow() / 1_000_000) }

    static func unixNanosecondsNow() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    package static func < (left: Timestamp, right: Timestamp) -> Bool { left.milliseconds < right.milliseconds }

    /// Adds a duration, whole milliseconds of it; the result stays inside the range.
    package static func + (left: Timestamp, right: Duration) -> Timestamp {
        let (sum, overflow) = left.milliseconds.addingReportingOverflow(right.wholeMilliseconds)
        return overflow ? (right < .zero ? earliest : latest) : Timestamp(milliseconds: sum)
    }

    package static func - (left: Timestamp, right: Duration) -> Timestamp {
        let (difference, overflow) = left.milliseconds.subtractingReportingOverflow(right.wholeMilliseconds)
        return overflow ? (right > .zero ? earliest : latest) : Timestamp(milliseconds: difference)
    }

    /// The time from `right` to `left`.
    package static func - (left: Timestamp, right: Timestamp) -> Duration {
        .milliseconds(left.milliseconds - right.milliseconds)
    }
}

extension Duration {
    /// Whole milliseconds, rounded towards zero and clamped to the range of `Int64`.
    package var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000)
        guard !overflow else { return seconds < 0 ? .min : .max }
        let (sum, overflowed) = product.addingReportingOverflow(attoseconds / 1_000_000_000_000_000)
        return overflowed ? (seconds < 0 ? .min : .max) : sum
    }
}

// MARK: - Text (RFC 3339)

extension Timestamp {
    /// RFC 3339 in UTC with milliseconds, always 24 characters: `2026-11-24T05:21:54.123Z`.
    ///
    /// Sorts as text.
    package var description: String {
        String(unsafeUninitializedCapacity: 24) { buffer in
            write(into: buffer)
            return 24
        }
    }

    /// Writes the text form, as ASCII.
    ///
    /// - Parameter buffer: Of at least 24 bytes.
    package func write(into buffer: UnsafeMutableBufferPointer<UInt8>) {
        let dayMilliseconds: Int64 = 86_400_000
        var days = milliseconds / dayMilliseconds
        var rest = milliseconds % dayMilliseconds
        if rest < 0 {
            rest += dayMilliseconds
            days -= 1
        }
        let (year, month, day) = civilDate(daysSinceEpoch: days)
        func put(_ value: Int64, digits: Int, at position: Int) {
            var value = value
            for index in stride(from: position + digits - 1, through: position, by: -1) {
                buffer[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value % 10)
                value /= 10
            }
        }
        put(year, digits: 4, at: 0)
        buffer[4] = UInt8(ascii: "-")
        put(month, digits: 2, at: 5)
        buffer[7] = UInt8(ascii: "-")
        put(day, digits: 2, at: 8)
        buffer[10] = UInt8(ascii: "T")
        put(rest / 3_600_000, digits: 2, at: 11)
        buffer[13] = UInt8(ascii: ":")
        put(rest / 60_000 % 60, digits: 2, at: 14)
        buffer[16] = UInt8(ascii: ":")
        put(rest / 1_000 % 60, digits: 2, at: 17)
        buffer[19] = UInt8(ascii: ".")
        put(rest % 1_000, digits: 3, at: 20)
        buffer[23] = UInt8(ascii: "Z")
    }

    /// Reads RFC 3339 with any offset and any fraction (digits past the millisecond are cut); a leap second counts as
    /// the second after it.
    ///
    /// Years below 1 and dates that no calendar has are nil.
    package init?(_ text: some StringProtocol) {
        var text = String(text)
        guard let moment = text.withUTF8({ Timestamp(utf8: $0) }) else { return nil }
        self = moment
    }

    /// Reads the same from bytes.
    package init?(utf8: UnsafeBufferPointer<UInt8>) {
        var reader = DigitReader(bytes: utf8)
        guard let year = reader.number(digits: 4), reader.skip("-"), let month = reader.number(digits: 2),
            reader.skip("-"), let day = reader.number(digits: 2),
            reader.skip("T") || reader.skip("t") || reader.skip(" "),
            let hour = reader.number(digits: 2), reader.skip(":"), let minute = reader.number(digits: 2),
            reader.skip(":"), let second = reader.number(digits: 2)
        else { return nil }
        guard year >= 1, (1...12).contains(month), (1...daysInMonth(month, of: year)).contains(day),
            hour < 24, minute < 60, second <= 60
        else { return nil }
        var fraction: Int64 = 0
        if reader.skip(".") {
            guard let digits = reader.fractionMilliseconds() else { return nil }
            fraction = digits
        }
        var offset: Int64 = 0
        if !(reader.skip("Z") || reader.skip("z")) {
            let sign: Int64
            if reader.skip("+") { sign = 1 } else if reader.skip("-") { sign = -1 } else { return nil }
            guard let hours = reader.number(digits: 2), reader.skip(":"), let minutes = reader.number(digits: 2),
                hours < 24, minutes < 60
            else { return nil }
            offset = sign * (hours * 60 + minutes)
        }
        guard reader.isAtEnd else { return nil }
        let seconds = daysSinceEpoch(year: year, month: month, day: day) * 86_400 + hour * 3_600 + minute * 60 + second
        let milliseconds = (seconds - offset * 60) * 1_000 + fraction
        guard (Self.earliest.milliseconds...Self.latest.milliseconds).contains(milliseconds) else { return nil }
        self.milliseconds = milliseconds
    }

    /// The calendar month (UTC) that contains the moment: its first moment and that of the next month.
    package var month: (start: Timestamp, end: Timestamp) {
        var days = milliseconds / 86_400_000
        if milliseconds % 86_400_000 < 0 { days -= 1 }
        let (year, month, _) = civilDate(daysSinceEpoch: days)
        let next = month == 12 ? (year + 1, Int64(1)) : (year, month + 1)
        return (
            Timestamp(milliseconds: daysSinceEpoch(year: year, month: month, day: 1) * 86_400_000),
            Timestamp(milliseconds: daysSinceEpoch(year: next.0, month: next.1, day: 1) * 86_400_000)
        )
    }
}

private struct DigitReader {
    let bytes: UnsafeBufferPointer<UInt8>
    var position = 0

    var isAtEnd: Bool { position == bytes.count }

    mutating func skip(_ character: Unicode.Scalar) -> Bool {
        guard position < bytes.count, bytes[position] == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    mutating func number(digits: Int) -> Int64? {
        guard bytes.count - position >= digits else { return nil }
        var value: Int64 = 0
        for byte in bytes[position..<position + digits] {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            value = value * 10 + Int64(byte - UInt8(ascii: "0"))
        }
        position += digits
        return value
    }

    mutating func fractionMilliseconds() -> Int64? {
        var value: Int64 = 0
        var digits = 0
        while position < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[position]) {
            if digits < 3 { value = value * 10 + Int64(bytes[position] - UInt8(ascii: "0")) }
            digits += 1
            position += 1
        }
        guard digits > 0 else { return nil }
        return digits == 1 ? value * 100 : digits == 2 ? value * 10 : value
    }
}

// MARK: - The proleptic Gregorian calendar

/// Days from 1970-01-01 to a date, by counting in eras of 400 years that begin on 1 March.
private func daysSinceEpoch(year: Int64, month: Int64, day: Int64) -> Int64 {
    let year = month <= 2 ? year - 1 : year
    let era = (year >= 0 ? year : year - 399) / 400
    let yearOfEra = year - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
}

private func civilDate(daysSinceEpoch days: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
}

private func daysInMonth(_ month: Int64, of year: Int64) -> Int64 {
    switch month {
    case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
}
