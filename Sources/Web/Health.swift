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

/// What operators and their machines ask: `/healthz`, `/readyz` and `/metrics`.
struct Operations: Sendable {
    /// A check that takes longer counts as failed.
    static let patience = Duration.seconds(2)

    let checks: [ReadinessCheck]
    let metrics: PrometheusRegistry
    /// What `/metrics` asks for, if anything.
    let token: Secret?

    @EndpointBuilder var endpoints: [Endpoint] {
        EndpointGroup("", tag: "Operations") {
            Endpoint.public(
                .get,
                "/healthz",
                "Whether the process is alive",
                answers: [],
                rateLimit: .none,
                listed: false,
                use: alive
            )
            Endpoint.public(
                .get,
                "/readyz",
                "Whether the server can do its work",
                answers: [],
                rateLimit: .none,
                listed: false,
                use: ready
            )
            Endpoint.public(
                .get,
                "/metrics",
                "Metrics for Prometheus",
                answers: [],
                rateLimit: .none,
                listed: false,
                use: measure
            )
        }
    }

    private func alive(_ call: PublicCall) -> Reply {
        .json { json in
            json.beginObject()
            json.key("status")
            json.value("ok")
            json.endObject()
        }
    }

    private func ready(_ call: PublicCall) async -> Reply {
        let results = await withTaskGroup(of: (Int, Bool).self) { group in
            for (index, check) in checks.enumerated() { group.addTask { (index, await passes(check)) } }
            return await group.reduce(into: [Int: Bool]()) { $0[$1.0] = $1.1 }
        }
        let isReady = results.values.allSatisfy(\.self)
        return .json(status: isReady ? .ok : .serviceUnavailable) { json in
            json.beginObject()
            json.key("status")
            json.value(isReady ? "ready" : "not_ready")
            json.key("checks")
            json.beginObject()
            for (index, check) in checks.enumerated() {
                json.key(check.name)
                json.value(results[index] == true ? "ok" : "failing")
            }
            json.endObject()
            json.endObject()
        }
    }

    private func passes(_ check: ReadinessCheck) async -> Bool {
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
                try? await Task.sleep(for: Self.patience)
                return false
            }
            let passes = await group.next() ?? false
            group.cancelAll()
            return passes
        }
    }

    private func measure(_ call: PublicCall) throws(Problem) -> Reply {
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
