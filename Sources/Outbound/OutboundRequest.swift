package import Kernel

/// The fields of a message in their order.
///
/// Names compare without regard to case.
package struct OutboundHeaders: Sendable, ExpressibleByDictionaryLiteral {
    package private(set) var fields: [(name: String, value: String)]

    package init(_ fields: [(name: String, value: String)] = []) { self.fields = fields }

    package init(dictionaryLiteral elements: (String, String)...) { fields = elements.map { ($0, $1) } }

    /// The first value of the name; setting replaces all of them.
    package subscript(_ name: String) -> String? {
        get { fields.first { Self.isSame($0.name, name) }?.value }
        set {
            fields.removeAll { Self.isSame($0.name, name) }
            if let newValue { fields.append((name, newValue)) }
        }
    }

    private static func isSame(_ left: String, _ right: String) -> Bool {
        left.utf8.count == right.utf8.count && left.lowercased() == right.lowercased()
    }
}

/// One call to the outside.
///
/// Its description shows the method and the origin, nothing that could be a secret.
package struct OutboundRequest: Sendable {
    package enum RequestMethod: String, Sendable {
        case get = "GET"
        case post = "POST"
        case put = "PUT"
        case patch = "PATCH"
        case delete = "DELETE"
        case head = "HEAD"
    }

    /// A fixed word for metrics and logs: `openai`, `webhook`.
    package var provider: String
    package var method: RequestMethod
    package var url: OutboundURL
    package var headers: OutboundHeaders
    package var body: [UInt8]
    package var access: OutboundAccess
    /// Whose slots the call takes; nil for calls of the platform itself, which share one lane.
    package var organization: ID<OrganizationEntity>?
    /// The end of everything: waiting, connecting, sending, and reading the last byte.
    package var deadline: ContinuousClock.Instant
    /// How long the beginning of the response may be waited for, from sending on: its head, and the first bytes of its body, where
    /// those may take longer than ``idleTimeout``; nil leaves it to the deadline.
    package var startTimeout: Duration?
    /// How long one read of the body may wait; nil leaves it to the deadline.
    package var idleTimeout: Duration?
    package var maximumResponseBytes: Int

    package init(
        provider: String,
        method: RequestMethod,
        url: OutboundURL,
        headers: OutboundHeaders = [:],
        body: [UInt8] = [],
        access: OutboundAccess,
        organization: ID<OrganizationEntity>?,
        deadline: ContinuousClock.Instant,
        startTimeout: Duration? = nil,
        idleTimeout: Duration? = nil,
        maximumResponseBytes: Int = 1 << 20
    ) {
        self.provider = provider
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
        self.access = access
        self.organization = organization
        self.deadline = deadline
        self.startTimeout = startTimeout
        self.idleTimeout = idleTimeout
        self.maximumResponseBytes = maximumResponseBytes
    }
}

extension OutboundRequest: CustomStringConvertible, CustomReflectable {
    package var description: String { "\(provider): \(method.rawValue) \(url.origin)" }
    package var customMirror: Mirror { Mirror(self, children: []) }
}

/// A response whose body has been read.
package struct OutboundResponse: Sendable {
    package let status: Int
    package let headers: OutboundHeaders
    package let body: [UInt8]

    package init(status: Int, headers: OutboundHeaders, body: [UInt8]) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    package var isSuccess: Bool { (200..<300).contains(status) }
}
