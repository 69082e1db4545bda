package import Kernel

/// A short mark of one subject, so that an id of another stream is recognized.
///
/// It is the last eight digits of the subject's UUID in lower case, 32 of its random bits, and is fixed for ever: clients keep
/// ids. Two subjects have the same one with a probability of 1 : 4 billion, and then what is lost is only the notice.
package struct StreamMark: Sendable, Hashable {
    package let text: String

    package init<Entity>(of subject: ID<Entity>) { text = String(subject.description.suffix(8)) }

    /// - Parameter text: Eight hexadecimal digits in lower case; anything else is nil.
    init?(_ text: some StringProtocol) {
        guard text.utf8.count == 8, text.utf8.allSatisfy({ $0.isDigit || (0x61...0x66).contains($0) }) else {
            return nil
        }
        self.text = String(text)
    }
}

/// Names one entry of a live stream for those outside: `3f0c91ab-12`.
///
/// Sequence 0 is the place before the first entry.
package struct StreamEntryID: Sendable, Hashable, CustomStringConvertible {
    package let mark: StreamMark
    package let sequence: Int64

    package init(_ mark: StreamMark, _ sequence: Int64) {
        self.mark = mark
        self.sequence = sequence
    }

    package var description: String { mark.text + "-" + String(sequence) }
}

/// The place up to which somebody says to have seen a stream.
package enum StreamPlace: Sendable, Hashable {
    case entry(StreamEntryID)
    /// Of the stream at hand, as bodies show the newest one.
    case sequence(Int64)

    /// - Parameter text: `3f0c91ab-12` or `12`; anything else is nil.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        guard let last = parts.last, !last.isEmpty, last.utf8.allSatisfy(\.isDigit), let sequence = Int64(last) else {
            return nil
        }
        if parts.count == 1 {
            self = .sequence(sequence)
        } else if let mark = StreamMark(parts[0]) {
            self = .entry(StreamEntryID(mark, sequence))
        } else {
            return nil
        }
    }
}

extension UInt8 {
    fileprivate var isDigit: Bool { (0x30...0x39).contains(self) }
}
