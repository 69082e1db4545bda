package import Kernel
import Metrics
package import Storage

/// How one lane stands, over all nodes.
package struct QueueStatistics: Sendable, Hashable {
    /// Jobs that could run now.
    ///
    /// Counted up to 100,000.
    package let ready: Int
    package let running: Int
    /// Counted up to 100,000.
    package let quarantined: Int
    /// How long the first of the ready jobs has been waiting.
    package let oldest: Duration?

    package static func all(in database: any Database, now: Timestamp) async throws -> [Lane: QueueStatistics] {
        try await database.read(for: .queue) { tx in
            try tx.stayOnIndexes()
            let statements = Lane.all.flatMap { JobStore.statistics(of: $0, now: now) }
            var counts: [Int: Int] = [:]
            var oldest: [Int: Timestamp] = [:]
            _ = try tx.batch(statements) { index, row in
                if index % 4 == 3 { oldest[index / 4] = try? row.next() } else { counts[index] = try row.next() }
            }
            return Dictionary(
                uniqueKeysWithValues: Lane.all.enumerated().map { index, lane in
                    (
                        lane,
                        QueueStatistics(
                            ready: counts[index * 4] ?? 0,
                            running: counts[index * 4 + 1] ?? 0,
                            quarantined: counts[index * 4 + 2] ?? 0,
                            oldest: oldest[index].map { max(now - $0, .zero) }
                        )
                    )
                }
            )
        }
    }
}

/// The gauges of all lanes.
struct QueueMeters: Sendable {
    private struct LaneGauges: Sendable {
        let ready, running, quarantined, oldest: Gauge
    }

    private let lanes: [Lane: LaneGauges]

    init() {
        lanes = Dictionary(
            uniqueKeysWithValues: Lane.all.map { lane in
                func gauge(_ name: String) -> Gauge {
                    Gauge(label: "kuvend_jobs_\(name)", dimensions: [("lane", lane.name)])
                }
                return (
                    lane,
                    LaneGauges(
                        ready: gauge("ready"),
                        running: gauge("running"),
                        quarantined: gauge("quarantined"),
                        oldest: gauge("oldest_seconds")
                    )
                )
            }
        )
    }

    func record(_ statistics: [Lane: QueueStatistics]) {
        for (lane, numbers) in statistics {
            guard let gauges = lanes[lane] else { continue }
            gauges.ready.record(numbers.ready)
            gauges.running.record(numbers.running)
            gauges.quarantined.record(numbers.quarantined)
            gauges.oldest.record(Double((numbers.oldest ?? .zero).wholeMilliseconds) / 1_000)
        }
    }
}
