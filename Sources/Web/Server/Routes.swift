import Kernel

/// An endpoint as the router knows it.
final class Route: Sendable {
    let endpoint: Endpoint
    /// The names of the path's parameters, in order.
    let parameters: [String]
    let meters: RouteMeters
    let bodyLimit: Int
    let headerRules: [HeaderRule]
    let streams: Bool
    let refusesIdempotencyKey: Bool

    init(_ endpoint: Endpoint, meters: RouteMeters, bodyLimit: Int) {
        self.endpoint = endpoint
        self.meters = meters
        headerRules = endpoint.headerRules
        streams = endpoint.streams
        refusesIdempotencyKey = endpoint.refusesIdempotencyKey
        self.bodyLimit = endpoint.bodyLimit ?? bodyLimit
        parameters = Self.parameters(of: endpoint.path)
    }

    /// The names in braces, in order.
    static func parameters(of path: String) -> [String] {
        path.split(separator: "/").filter { $0.hasPrefix("{") }.map { String($0.dropFirst().dropLast()) }
    }
}

/// The paths of all endpoints as a tree of segments.
///
/// Words go before parameters, as OpenAPI asks.
struct Routes: Sendable {
    enum Failure: Error, CustomStringConvertible {
        case duplicate(String)

        var description: String {
            switch self {
            case .duplicate(let route): "two endpoints are declared for \(route)"
            }
        }
    }

    private final class RouteNode: Sendable {
        let words: [Substring: RouteNode]
        let parameter: RouteNode?
        let routes: [Endpoint.Method: Route]

        /// - Parameter depth: How many segments of the routes' paths lead here.
        init(_ routes: [(segments: [Substring], route: Route)], depth: Int) throws {
            var here: [Endpoint.Method: Route] = [:]
            for (segments, route) in routes where segments.count == depth {
                guard here.updateValue(route, forKey: route.endpoint.method) == nil else {
                    throw Failure.duplicate("\(route.endpoint.method.rawValue) \(route.endpoint.path)")
                }
            }
            self.routes = here
            let deeper = routes.filter { $0.segments.count > depth }
            let byWord = Dictionary(grouping: deeper.filter { !$0.segments[depth].hasPrefix("{") }) {
                $0.segments[depth]
            }
            words = try byWord.mapValues { try RouteNode($0, depth: depth + 1) }
            let others = deeper.filter { $0.segments[depth].hasPrefix("{") }
            parameter = others.isEmpty ? nil : try RouteNode(others, depth: depth + 1)
        }
    }

    enum Match {
        case found(Route, values: [String])
        case methodNotAllowed([Endpoint.Method])
        case notFound
    }

    private let root: RouteNode

    init(_ routes: [Route]) throws {
        root = try RouteNode(
            routes.map {
                ($0.endpoint.path.split(separator: "/", omittingEmptySubsequences: false).dropFirst().map(\.self), $0)
            },
            depth: 0
        )
    }

    /// Finds the endpoint of a path that begins with a slash.
    ///
    /// - Parameter method: nil for a method that no endpoint has.
    func match(_ method: Endpoint.Method?, _ path: Substring) throws(Problem) -> Match {
        var segments = path.split(separator: "/", omittingEmptySubsequences: false)
        guard segments.count > 1, segments.count <= 32 else { return .notFound }
        segments.removeFirst()
        var values: [String] = []
        guard let node = try find(root, segments[...], &values) else { return .notFound }
        if let method, let route = node.routes[method] { return .found(route, values: values) }
        return .methodNotAllowed(Endpoint.Method.allCases.filter { node.routes[$0] != nil })
    }

    private func find(
        _ node: RouteNode,
        _ segments: ArraySlice<Substring>,
        _ values: inout [String]
    ) throws(Problem) -> RouteNode? {
        guard let segment = segments.first else { return node.routes.isEmpty ? nil : node }
        let rest = segments.dropFirst()
        if let next = node.words[segment], let found = try find(next, rest, &values) { return found }
        guard let next = node.parameter, !segment.isEmpty else { return nil }
        values.append(try percentDecoded(segment, in: "path"))
        if let found = try find(next, rest, &values) { return found }
        values.removeLast()
        return nil
    }
}

/// Text with its percent-encoding undone.
///
/// - Parameters:
///   - place: For the problem: `path` or `query`.
///   - plusIsSpace: As in forms and queries.
func percentDecoded(_ text: Substring, in place: String, plusIsSpace: Bool = false) throws(Problem) -> String {
    let isPlain = text.utf8.allSatisfy { byte in
        byte != UInt8(ascii: "%") && byte > 0x20 && byte < 0x7F && (byte != UInt8(ascii: "+") || !plusIsSpace)
    }
    if isPlain { return String(text) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.utf8.count)
    var iterator = text.utf8.makeIterator()
    while let byte = iterator.next() {
        switch byte {
        case UInt8(ascii: "%"):
            guard let high = iterator.next().flatMap(hexadecimalDigit),
                let low = iterator.next().flatMap(hexadecimalDigit)
            else {
                throw Problem(
                    .badRequest,
                    "request.malformed",
                    "The \(place) has a percent sign without two hexadecimal digits after it."
                )
            }
            bytes.append(high << 4 | low)
        case UInt8(ascii: "+") where plusIsSpace: bytes.append(0x20)
        default: bytes.append(byte)
        }
    }
    guard !bytes.contains(0) else {
        throw Problem(.badRequest, "request.malformed", "The \(place) holds the character U+0000.")
    }
    guard let decoded = String(validating: bytes, as: UTF8.self) else {
        throw Problem(.badRequest, "request.malformed", "The \(place) is not valid UTF-8 once decoded.")
    }
    return decoded
}

private func hexadecimalDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
}
