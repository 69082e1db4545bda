import Kernel
import Metrics
import Storage
import Synchronization
import TestKit
import Testing

@testable import Web

private struct Down: Error {}

@Suite("Observability")
struct ObservabilityTests {
    @Test("requests are counted by method, declared route and status")
    func requests() async throws {
        try await withServer(Things().endpoints) { server in
            _ = try await server.get("/api/v1/things/\(ThingBody.sample.id)")
            _ = try await server.get("/api/v1/things/\(ID<ThingBody>())")
            _ = try await server.get("/nothing/\(ID<ThingBody>())")
            // A request is counted once its answer has gone out, so the caller may be here first.
            let response = try await eventually("three requests counted, and this one under way") {
                let response = try await server.get("/metrics")
                let isCounted =
                    response.text.contains(#"http_requests_total{method="none",route="none",status="404"} 1"#)
                    && response.text.contains(#"http_request_duration_seconds_count{route="/api/v1/things/{id}"} 2"#)
                    && response.text.contains("http_requests_in_flight 1\n")
                return isCounted ? response : nil
            }
            #expect(response.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8")
            let text = response.text
            #expect(text.contains(#"http_requests_total{method="GET",route="/api/v1/things/{id}",status="200"} 1"#))
            #expect(text.contains(#"http_requests_total{method="GET",route="/api/v1/things/{id}",status="404"} 1"#))
            #expect(text.contains("process_resident_memory_bytes "))
            #expect(text.contains("process_open_fds "))
            #expect(text.contains("process_cpu_seconds_total "))
            #expect(!text.contains(ThingBody.sample.id.description))
        }
    }

    @Test("the exposition is what Prometheus reads, and its size is bounded")
    func exposition() {
        let registry = PrometheusRegistry(seriesLimit: 3)
        registry.describe("jobs.done", "How many.\nReally.")
        for index in 0..<10 {
            Counter(label: "jobs.done", dimensions: [("lane", "a\"\\\n\(index)")], factory: registry).increment(by: 2)
        }
        Gauge(label: "depth", factory: registry).record(2.5)
        let meter = Meter(label: "pool", factory: registry)
        meter.increment(by: 3)
        meter.decrement(by: 1)
        let timer = Timer(label: "wait", factory: registry)
        timer.recordMilliseconds(3)
        timer.recordSeconds(100)
        let expected = """
            # TYPE depth gauge
            depth 2.5
            # HELP jobs_done How many.\\nReally.
            # TYPE jobs_done counter
            jobs_done{lane="a\\"\\\\\\n0"} 2
            jobs_done{lane="a\\"\\\\\\n1"} 2
            jobs_done{lane="a\\"\\\\\\n2"} 2
            jobs_done{lane="other"} 14
            # TYPE pool gauge
            pool 2
            # TYPE wait histogram
            wait_bucket{le="0.0005"} 0
            wait_bucket{le="0.001"} 0
            wait_bucket{le="0.0025"} 0
            wait_bucket{le="0.005"} 1
            """
        let text = registry.exposition()
        #expect(text.hasPrefix(expected))
        #expect(
            text.hasSuffix("wait_bucket{le=\"60\"} 1\nwait_bucket{le=\"+Inf\"} 2\nwait_sum 100.003\nwait_count 2\n")
        )
    }

    @Test("metrics count exactly under concurrency")
    func concurrency() async {
        let registry = PrometheusRegistry()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    let counter = Counter(label: "c", factory: registry)
                    let meter = Meter(label: "m", factory: registry)
                    for _ in 0..<1_000 {
                        counter.increment()
                        meter.increment()
                    }
                }
            }
        }
        #expect(registry.exposition().contains("\nc 8000\n"))
        #expect(registry.exposition().contains("\nm 8000\n"))
    }

    @Test("metrics may ask for a token of their own")
    func token() async throws {
        try await withServer([], configure: { $0.metricsToken = Secret("open") }) { server async throws in
            #expect(try await server.get("/metrics", token: nil).status == 401)
            #expect(try await server.get("/metrics", token: "shut").status == 401)
            #expect(try await server.get("/metrics", token: "open").status == 200)
        }
    }

    @Test("readiness names what fails")
    func readiness() async throws {
        let checks = [ReadinessCheck("database") {}, ReadinessCheck("disk") { throw Down() }]
        try await withServer([], readiness: checks) { server in
            let response = try await server.get("/readyz", token: nil)
            #expect(response.status == 503)
            #expect(try response.json == ["status": "not_ready", "checks": ["database": "ok", "disk": "failing"]])
            #expect(try await server.get("/healthz", token: nil).json == ["status": "ok"])
        }
        try await withServer([], readiness: [ReadinessCheck("database") {}]) { server async throws in
            #expect(try await server.get("/readyz", token: nil).status == 200)
        }
    }

    @Test("readiness is asked for once a second, and once for all who ask together", .timeLimit(.minutes(5)))
    func sharedReadiness() async {
        let clock = InstantClock()
        let asked = Mutex(0)
        let mayEnd = Gate()
        let check = ReadinessCheck("database") {
            asked.withLock { $0 += 1 }
            try await mayEnd.pass()
        }
        let readiness = Readiness([check], interval: .seconds(1), now: { clock.now })
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<5 { group.addTask { #expect(await readiness.results().map(\.name) == ["database"]) } }
            while await readiness.waiting < 4 { await Task.yield() }
            mayEnd.open()
        }
        #expect(asked.withLock { $0 } == 1)
        _ = await readiness.results()
        #expect(asked.withLock { $0 } == 1)
        clock.advance(by: .seconds(1))
        _ = await readiness.results()
        #expect(asked.withLock { $0 } == 2)
    }

    @Test("what is refused on purpose is no error in the log")
    func refusals() async throws {
        func endpoint(_ path: String, _ error: any Error) -> Endpoint {
            Endpoint.public(.get, path, "Fail", responses: [.noContent]) { _ in throw error }
        }
        let endpoints = [
            endpoint("/busy", Problem(.unavailable, "thing.busy", "Come back later.", retryAfterSeconds: 2)),
            endpoint("/away", StorageError.unavailable("the disk is full")), endpoint("/broken", Down()),
        ]
        try await withServer(endpoints) { server async throws in
            #expect(try await server.get("/busy").status == 503)
            let log = server.logs.text
            #expect(log.contains("debug request refused code=thing.busy"))
            #expect(!log.contains("error "))
            #expect(try await server.get("/away").status == 503)
            #expect(try await server.get("/broken").status == 500)
            let errors = server.logs.text.split(separator: "\n").filter { $0.hasPrefix("error request failed") }
            #expect(errors.count == 2)
        }
    }

    @Test("the access log names route and organization, and nothing that was sent")
    func accessLog() async throws {
        try await withServer(Things().endpoints, configure: { $0.slowRequest = .seconds(3_600) }) { server in
            _ = try await server.send(
                "GET",
                "/api/v1/things/special?name=private",
                headers: [("User-Agent", "private"), ("X-Request-Id", "r1")]
            )
            // Written once the answer has gone out, so the caller may be here first.
            let log = try await eventually("a line about the request") {
                server.logs.text.contains("debug request") ? server.logs.text : nil
            }
            #expect(log.contains("request_id=r1"))
            #expect(log.contains("route=/api/v1/things/special"))
            #expect(log.contains("organization_id=\(TestCaller.organization)"))
            #expect(!log.contains("private"))
        }
    }
}
