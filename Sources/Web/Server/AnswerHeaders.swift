import HTTPTypes
import HummingbirdCore
import Kernel
import NIOCore

/// What every answer carries beside what its handler said.
struct AnswerHeaders: Sendable {
    let cors: CORS
    let stopping = StopFlag()
    private let gzip: Gzip?
    private let dates = HTTPDates()

    init(_ configuration: WebConfiguration) {
        cors = CORS(configuration.allowedOrigins)
        gzip = configuration.gzipLevel > 0 ? Gzip(level: configuration.gzipLevel) : nil
    }

    private static let commonHeaders: HTTPFields = {
        var headers = HTTPFields()
        headers.append(HTTPField(name: .xContentTypeOptions, value: "nosniff"))
        headers.append(HTTPField(name: .referrerPolicy, value: "no-referrer"))
        headers.append(HTTPField(name: .frameOptions, value: "DENY"))
        return headers
    }()

    private static let pagePolicy =
        "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; "
        + "frame-ancestors 'none'"

    /// Completes the headers, answers `If-None-Match` and compresses.
    func finish(_ reply: inout Reply, to request: Request, id: String, rate: RateDecision?) async {
        var headers = Self.commonHeaders
        headers.append(HTTPField(name: .date, value: dates.now))
        if stopping.isSet, !reply.headers.contains(.connection) {
            headers.append(HTTPField(name: .connection, value: "close"))
        }
        headers.append(HTTPField(name: .requestID, value: id))
        if !reply.headers.contains(.cacheControl) {
            headers.append(HTTPField(name: .cacheControl, value: "no-store"))
        }
        if let rate {
            headers.append(HTTPField(name: .rateLimitLimit, value: String(rate.limit)))
            headers.append(HTTPField(name: .rateLimitRemaining, value: String(rate.remaining)))
            headers.append(HTTPField(name: .rateLimitReset, value: String(rate.resetSeconds)))
        }
        cors.mark(&headers, for: request.headers[.origin])
        let contentType = reply.headers[.contentType] ?? ""
        if contentType.hasPrefix("text/html"), !reply.headers.contains(.contentSecurityPolicy) {
            headers.append(HTTPField(name: .contentSecurityPolicy, value: Self.pagePolicy))
        }
        if isUnchanged(reply, for: request) {
            reply.status = .notModified
            reply.content = .none
            reply.headers[.contentType] = nil
        }
        if let gzip, case .bytes(let buffer) = reply.content, buffer.readableBytes >= 1_024,
            Self.isCompressible(contentType), !reply.headers.contains(.contentEncoding)
        {
            headers.append(HTTPField(name: .vary, value: "Accept-Encoding"))
            if accepts("gzip", request.headers[.acceptEncoding]),
                let smaller = await offEventLoop(if: buffer.isLong, { gzip.compress(buffer) })
            {
                reply.content = .bytes(smaller)
                headers.append(HTTPField(name: .contentEncoding, value: "gzip"))
            }
        }
        for field in reply.headers { headers.append(field) }
        switch reply.content {
        case .bytes(let buffer):
            headers.append(HTTPField(name: .contentLength, value: String(buffer.readableBytes)))
        case .none where reply.status != .noContent && reply.status != .notModified:
            headers.append(HTTPField(name: .contentLength, value: "0"))
        case .none, .events: break
        }
        reply.headers = headers
    }

    private func isUnchanged(_ reply: Reply, for request: Request) -> Bool {
        guard reply.status == .ok, request.method == .get || request.method == .head,
            let condition = request.headers[.ifNoneMatch], let tag = reply.headers[.eTag]
        else { return false }
        return condition == "*" || EntityTag.list(condition, weak: true)?.contains { $0.text == tag } == true
    }

    private static func isCompressible(_ contentType: String) -> Bool {
        contentType.hasPrefix("application/json") || contentType.hasPrefix("text/")
            || contentType.hasPrefix("application/problem+json")
    }
}
