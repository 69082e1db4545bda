import HTTPTypes
import Kernel
import NIOCore

/// Something without which the server cannot do its work, looked at by `/readyz`.
package struct ReadinessCheck: Sendable {
    package let name: String
    /// Throws when it cannot be used.
    package let check: @Sendable () async throws -> Void

    package init(_ name: String, check: @escaping @Sendable () async throws -> Void) {
        self.name = name
        self.check = check
    }
}

/// Asks the checks, once for all who want to know at the same time and soon after.
///
/// Anybody may ask whether the server is ready, so that must not cost more than one question a second.
actor Readiness {
    typealias Result = (name: String, passes: Bool)

    /// A check that takes longer counts as failed.
    private static let patience = Duration.seconds(2)

    private let checks: [ReadinessCheck]
    private let interval: Duration
    private let now: @Sendable () -> ContinuousClock.Instant
    private var last: (results: [Result], time: ContinuousClock.Instant)?
    private var isAsking = false
    private var others: [CheckedContinuation<[Result], Never>] = []

    init(
        _ checks: [ReadinessCheck],
        interval: Duration,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        self.checks = checks
        self.interval = interval
        self.now = now
    }

    /// In the order of the checks.
    func results() async -> [Result] {
        if let last, now() - last.time < interval { return last.results }
        if isAsking { return await withCheckedContinuation { others.append($0) } }
        isAsking = true
        let results = await Self.ask(checks)
        last = (results, now())
        isAsking = false
        for other in others { other.resume(returning: results) }
        others = []
        return results
    }

    /// How many wait for the answers to somebody else's question; for tests.
    var waiting: Int { others.count }

    private static func ask(_ checks: [ReadinessCheck]) async -> [Result] {
        let passed = await withTaskGroup(of: (Int, Bool).self) { group in
            for (index, check) in checks.enumerated() { group.addTask { (index, await passes(check)) } }
            return await group.reduce(into: [Int: Bool]()) { $0[$1.0] = $1.1 }
        }
        return checks.enumerated().map { ($1.name, passed[$0] == true) }
    }

    private static func passes(_ check: ReadinessCheck) async -> Bool {
        await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                do {
                    try await check.check()
                    return true
                } catch {
                    return false
                }
            }
            group.addTask {
                try? await Task.sleep(for: patience)
                return false
            }
            let passes = await group.next() ?? false
            group.cancelAll()
            return passes
        }
    }
}

/// What administrators and their machines ask: `/healthz`, `/readyz` and `/metrics`.
struct Operations: Sendable {
    let readiness: Readiness
    let metrics: PrometheusRegistry
    /// What `/metrics` asks for, if anything.
    let token: Secret?

    var endpoints: [Endpoint] {
        .under(
            "",
            tag: "Operations",
            [
                Endpoint.public(
                    .get,
                    "/healthz",
                    "Whether the process is alive",
                    responses: [],
                    rateLimit: .none,
                    listed: false,
                    use: alive
                ),
                Endpoint.public(
                    .get,
                    "/readyz",
                    "Whether the server can do its work",
                    responses: [],
                    rateLimit: .none,
                    listed: false,
                    use: ready
                ),
                Endpoint.public(
                    .get,
                    "/metrics",
                    "Metrics for Prometheus",
                    responses: [],
                    rateLimit: .none,
                    listed: false,
                    use: measure
                ),
            ]
        )
    }

    private func alive(_ call: PublicCall) -> Response {
        .json { json in
            json.beginObject()
            json.key("status")
            json.value("ok")
            json.endObject()
        }
    }

    private func ready(_ call: PublicCall) async -> Response {
        let results = await readiness.results()
        let isReady = results.allSatisfy(\.passes)
        return .json(status: isReady ? .ok : .serviceUnavailable) { json in
            json.beginObject()
            json.key("status")
            json.value(isReady ? "ready" : "not_ready")
            json.key("checks")
            json.beginObject()
            for result in results {
                json.key(result.name)
                json.value(result.passes ? "ok" : "failing")
            }
            json.endObject()
            json.endObject()
        }
    }

    private func measure(_ call: PublicCall) throws(Problem) -> Response {
        if let token, call.request.bearer.map({ isEqual($0, token) }) != true {
            throw Problem(.unauthorized, "auth.required", "The metrics ask for a bearer token of their own.")
        }
        return .bytes(
            ByteBuffer(string: metrics.exposition() + ProcessMetrics.exposition()),
            contentType: "text/plain; version=0.0.4; charset=utf-8"
        )
    }

    /// Compares in a time that depends on the lengths only.
    private func isEqual(_ left: Secret, _ right: Secret) -> Bool {
        let (left, right) = (Array(left.exposed.utf8), Array(right.exposed.utf8))
        guard left.count == right.count else { return false }
        return zip(left, right).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }
}
