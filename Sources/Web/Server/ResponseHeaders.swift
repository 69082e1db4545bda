import HTTPTypes
import HummingbirdCore
import Kernel
import NIOCore

/// What every answer carries beside what its handler said.
struct ResponseHeaders: Sendable {
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
    func finish(_ response: inout Response, to request: Request, id: String, rate: RateDecision?) async {
        var headers = Self.commonHeaders
        headers.append(HTTPField(name: .date, value: dates.now))
        if stopping.isSet, !response.headers.contains(.connection) {
            headers.append(HTTPField(name: .connection, value: "close"))
        }
        headers.append(HTTPField(name: .requestID, value: id))
        if !response.headers.contains(.cacheControl) {
            headers.append(HTTPField(name: .cacheControl, value: "no-store"))
        }
        if let rate {
            headers.append(HTTPField(name: .rateLimitLimit, value: String(rate.limit)))
            headers.append(HTTPField(name: .rateLimitRemaining, value: String(rate.remaining)))
            headers.append(HTTPField(name: .rateLimitReset, value: String(rate.resetSeconds)))
        }
        cors.mark(&headers, for: request.headers[.origin])
        let contentType = response.headers[.contentType] ?? ""
        if contentType.hasPrefix("text/html"), !response.headers.contains(.contentSecurityPolicy) {
            headers.append(HTTPField(name: .contentSecurityPolicy, value: Self.pagePolicy))
        }
        if isUnchanged(response, for: request) {
            response.status = .notModified
            response.content = .none
            response.headers[.contentType] = nil
        }
        if let gzip, case .bytes(let buffer) = response.content, buffer.readableBytes >= 1_024,
            Self.isCompressible(contentType), !response.headers.contains(.contentEncoding)
        {
            headers.append(HTTPField(name: .vary, value: "Accept-Encoding"))
            if accepts("gzip", request.headers[.acceptEncoding]),
                let smaller = await offEventLoop(if: buffer.isLong, { gzip.compress(buffer) })
            {
                response.content = .bytes(smaller)
                headers.append(HTTPField(name: .contentEncoding, value: "gzip"))
            }
        }
        for field in response.headers { headers.append(field) }
        switch response.content {
        case .bytes(let buffer):
            headers.append(HTTPField(name: .contentLength, value: String(buffer.readableBytes)))
        case .none where response.status != .noContent && response.status != .notModified:
            headers.append(HTTPField(name: .contentLength, value: "0"))
        case .none, .events: break
        }
        response.headers = headers
    }

    private func isUnchanged(_ response: Response, for request: Request) -> Bool {
        guard response.status == .ok, request.method == .get || request.method == .head,
            let condition = request.headers[.ifNoneMatch], let tag = response.headers[.eTag]
        else { return false }
        return condition == "*" || EntityTag.list(condition, weak: true)?.contains { $0.text == tag } == true
    }

    private static func isCompressible(_ contentType: String) -> Bool {
        contentType.hasPrefix("application/json") || contentType.hasPrefix("text/")
            || contentType.hasPrefix("application/problem+json")
    }
}
