import Metrics
import Synchronization

/// What is measured of one route: how often it answered what, and how long that took.
final class RouteMeters: Sendable {
    private let route: String
    private let method: String
    private let factory: any MetricsFactory
    private let duration: any TimerHandler
    private let answers = Mutex<[Int: any CounterHandler]>([:])

    /// - Parameter route: The declared path; `none` for requests that no route fits.
    init(method: String, route: String, factory: any MetricsFactory) {
        self.method = method
        self.route = route
        self.factory = factory
        duration = factory.makeTimer(label: "http_request_duration_seconds", dimensions: [("route", route)])
    }

    func answered(_ status: Int, after time: Duration) {
        let counter = answers.withLock { answers in
            if let counter = answers[status] { return counter }
            let counter = factory.makeCounter(
                label: "http_requests_total",
                dimensions: [("method", method), ("route", route), ("status", String(status))]
            )
            answers[status] = counter
            return counter
        }
        counter.increment(by: 1)
        duration.recordNanoseconds(time.wholeNanoseconds)
    }
}
