/// One page of a list, in the order of the list, and where the next one begins.
package struct Page<Element: Sendable>: Sendable {
    package let items: [Element]
    package let next: Cursor?

    package init(items: [Element], next: Cursor?) {
        self.items = items
        self.next = next
    }

    /// Cuts a page out of one row more than it may hold: the extra row only says that there is a next page.
    package init(cutting rows: [Element], to limit: Int, place: (Element) -> Cursor) {
        if rows.count > limit, limit > 0 {
            items = Array(rows.prefix(limit))
            next = place(rows[limit - 1])
        } else {
            items = rows
            next = nil
        }
    }

    package func map<Other>(_ transform: (Element) throws -> Other) rethrows -> Page<Other> {
        Page<Other>(items: try items.map(transform), next: next)
    }
}

/// Which page is asked for: at most `limit` items after the place that `after` names.
package struct PageRequest: Sendable {
    package static let limits = 1...100
    package static let defaultLimit = 20

    package let limit: Int
    package let after: Cursor?

    package init(limit: Int = defaultLimit, after: Cursor? = nil) {
        self.limit = min(max(limit, Self.limits.lowerBound), Self.limits.upperBound)
        self.after = after
    }
}

/// A place in a list that is ordered by a time and an id.
///
/// The text form is opaque to callers.
package struct Cursor: Sendable, Hashable {
    package let time: Timestamp
    package let high: UInt64
    package let low: UInt64

    package init<Entity>(time: Timestamp, id: ID<Entity>) {
        self.time = time
        high = id.high
        low = id.low
    }

    package func id<Entity>(of: Entity.Type = Entity.self) -> ID<Entity> { ID(high: high, low: low) }

    /// 48 hexadecimal digits: the time and the id.
    package var text: String {
        String(unsafeUninitializedCapacity: 48) { buffer in
            let bytes = UnsafeMutableRawBufferPointer(buffer)
            for (index, word) in [UInt64(bitPattern: time.milliseconds), high, low].enumerated() {
                let (upper, lower) = (UInt32(truncatingIfNeeded: word >> 32), UInt32(truncatingIfNeeded: word))
                bytes.storeBytes(of: hexadecimalDigits(upper), toByteOffset: index * 16, as: UInt64.self)
                bytes.storeBytes(of: hexadecimalDigits(lower), toByteOffset: index * 16 + 8, as: UInt64.self)
            }
            return 48
        }
    }

    package init?(_ text: String) {
        guard text.utf8.count == 48,
            text.utf8.allSatisfy({
                UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || UInt8(ascii: "a")...UInt8(ascii: "f") ~= $0
            })
        else { return nil }
        let words = stride(from: 0, to: 48, by: 16).compactMap { offset in
            UInt64(text.dropFirst(offset).prefix(16), radix: 16)
        }
        guard words.count == 3 else { return nil }
        let milliseconds = Int64(bitPattern: words[0])
        guard (Timestamp.earliest.milliseconds...Timestamp.latest.milliseconds).contains(milliseconds) else {
            return nil
        }
        time = Timestamp(milliseconds: milliseconds)
        high = words[1]
        low = words[2]
    }
}
