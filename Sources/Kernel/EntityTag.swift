/// A strong validator of one state of a resource (RFC 9110 §8.8.3).
package struct EntityTag: Sendable, Hashable {
    /// As sent, with its quotes: `"19aa3f4c8b1"`.
    package let text: String

    /// The tag of a resource that keeps the time of its last change.
    package init(_ updatedAt: Timestamp) {
        text = "\"\(String(updatedAt.milliseconds, radix: 16))\""
    }

    /// The tag of a resource that keeps the time of its last change, and whose body shows a setting of the installation.
    ///
    /// `If-None-Match` compares both, `If-Match` the time alone.
    package init(_ updatedAt: Timestamp, showing setting: String) {
        let shown = setting.utf8.map { String($0, radix: 16) }.joined()
        text = "\"\(String(updatedAt.milliseconds, radix: 16))-\(shown)\""
    }

    /// The tag of a resource that also changes by what is no edit: `"<version>-<place>"`.
    ///
    /// `If-None-Match` compares the whole tag, `If-Match` the version alone.
    ///
    /// - Parameters:
    ///   - version: Raised by edits.
    ///   - place: Moved by every other change.
    package init(version: Int64, place: Int64) { text = "\"\(version)-\(place)\"" }

    /// The tag of something that is the same as long as its hash is.
    package init(hash: String) { text = "\"\(hash)\"" }

    private init(text: String) { self.text = text }

    /// What edits change of it: all up to the hyphen, or the whole text of a tag without one.
    private var edition: Substring { text.firstIndex(of: "-").map { text[...$0] } ?? text[...] }

    /// Whether nobody has edited the resource between the two states.
    package func isSameEdition(as other: EntityTag) -> Bool { edition == other.edition }

    /// The tags of a list such as `"a", W/"b"`; nil when it is none.
    ///
    /// - Parameter weak: Whether weak tags count, by what they share with the strong one.
    package static func list(_ text: String, weak: Bool) -> [EntityTag]? {
        var tags: [EntityTag] = []
        var rest = text.utf8[...]
        func skipSpace() { rest = rest.drop { $0 == 0x20 || $0 == 0x09 } }
        while true {
            skipSpace()
            let isWeak = rest.starts(with: "W/".utf8)
            if isWeak { rest = rest.dropFirst(2) }
            let opaque = rest.dropFirst().prefix { $0 != 0x22 && (0x21...0x7E).contains($0) }
            guard rest.first == 0x22, rest.dropFirst(1 + opaque.count).first == 0x22 else { return nil }
            if weak || !isWeak { tags.append(EntityTag(text: "\"\(Substring(opaque))\"")) }
            rest = rest.dropFirst(opaque.count + 2)
            skipSpace()
            guard let comma = rest.popFirst() else { return tags }
            guard comma == 0x2C else { return nil }
        }
    }
}

/// What a change asks of the state that it is about to change: the request's `If-Match` (RFC 9110 §13.1.1).
package enum Precondition: Sendable, Hashable {
    /// There is no `If-Match`.
    case none
    /// `*`: any state of it will do.
    case exists
    /// One of these, but for what is no edit; an empty list fits no state.
    case matches([EntityTag])

    package init(ifMatch header: String?) {
        guard let header else {
            self = .none
            return
        }
        if header == "*" {
            self = .exists
        } else {
            self = .matches(EntityTag.list(header, weak: false) ?? [])
        }
    }

    /// Throws 412 when the state is not the one that the caller knows.
    ///
    /// Belongs inside the transaction of the change.
    package func check(_ current: EntityTag) throws(Problem) {
        guard case .matches(let tags) = self, !tags.contains(where: current.isSameEdition) else { return }
        throw Problem(
            .preconditionFailed,
            "request.precondition_failed",
            "It has changed since you read it. Read it again and repeat the change.",
            headers: ["ETag": current.text]
        )
    }
}
