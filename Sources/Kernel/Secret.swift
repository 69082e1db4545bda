/// A value that must not be printed: keys, tokens, passwords.
///
/// Its descriptions and mirrors show none of it.
package struct Secret: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The value itself, for the one call that needs it.
    package let exposed: String

    package init(_ value: String) { exposed = value }

    package var description: String { "‹secret›" }
    package var debugDescription: String { "‹secret›" }
    package var customMirror: Mirror { Mirror(self, children: []) }
}
