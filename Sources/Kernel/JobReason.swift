/// The words that are kept of an error that ended some work, safe to store and to show.
package enum JobReason {
    /// The type of an error, and more only where the type vouches for it.
    package static func of(_ error: any Error) -> String {
        let type = String(describing: Swift.type(of: error))
        return switch error {
        case let error as any JobReasonConvertible: clean(error.jobReason)
        case let error as any ProblemConvertible: clean("\(type): \(error.problem.code)")
        default: clean(type)
        }
    }

    /// At most 500 characters, none of which a database cannot keep.
    package static func clean(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.lazy.filter { $0.value >= 0x20 }.prefix(500)))
    }
}

/// An error that can say why some work failed in words that are safe to keep: no secret, and nothing that a contact wrote.
///
/// Of every other error only the type is kept.
package protocol JobReasonConvertible: Error {
    var jobReason: String { get }
}
