/// The path and the query of a request, still encoded.
///
/// Scheme and authority of the absolute form are left out.
struct RequestTarget: Sendable {
    let path: Substring
    let query: Substring

    init(_ text: String) {
        var rest = text.prefix { $0 != "#" }
        if !rest.hasPrefix("/"), let scheme = rest.firstRange(of: "://") {
            rest = rest[scheme.upperBound...].drop { $0 != "/" && $0 != "?" }
        }
        let mark = rest.firstIndex(of: "?")
        path = rest[..<(mark ?? rest.endIndex)]
        query = mark.map { rest[rest.index(after: $0)...] } ?? ""
    }
}
