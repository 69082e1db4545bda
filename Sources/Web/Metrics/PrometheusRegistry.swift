package import Metrics
import Synchronization

/// The metrics of this process: a backend of swift-metrics that writes Prometheus' text format (0.0.4).
///
/// Counters become counters, gauges and meters gauges, timers histograms in seconds, aggregating recorders histograms.
/// A value costs one atomic addition or one short lock. Labels are written once, when a series is made, so whoever
/// records often keeps the `Counter` or `Timer`. A metric has at most `seriesLimit` series; further label values share
/// one series whose labels say `other`.
package final class PrometheusRegistry: MetricsFactory, Sendable {
    private enum Kind: String {
        case counter, gauge, histogram
    }

    private final class Family: Sendable {
        let name: String
        let kind: Kind
        let buckets: [Double]
        let series = Mutex<[String: any Series]>([:])

        init(name: String, kind: Kind, buckets: [Double]) {
            self.name = name
            self.kind = kind
            self.buckets = buckets
        }
    }

    private let seriesLimit: Int
    private let families = Mutex<[String: Family]>([:])
    private let help = Mutex<[String: String]>([:])

    package init(seriesLimit: Int = 1_000) { self.seriesLimit = seriesLimit }

    /// Says what a metric means, for its `# HELP` line.
    package func describe(_ label: String, _ words: String) {
        help.withLock { $0[Self.metricName(label)] = words }
    }

    // MARK: Making

    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        series(label, dimensions, .counter, make: PrometheusCounter.init) ?? PrometheusCounter(labels: "", buckets: [])
    }

    package func makeFloatingPointCounter(
        label: String,
        dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        series(label, dimensions, .counter, make: PrometheusGauge.init) ?? PrometheusGauge(labels: "", buckets: [])
    }

    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        series(label, dimensions, .gauge, make: PrometheusGauge.init) ?? PrometheusGauge(labels: "", buckets: [])
    }

    package func makeRecorder(
        label: String,
        dimensions: [(String, String)],
        aggregate: Bool
    ) -> any RecorderHandler {
        aggregate
            ? series(label, dimensions, .histogram, buckets: PrometheusHistogram.sizes, make: PrometheusHistogram.init)
                ?? PrometheusHistogram(labels: "", buckets: [])
            : series(label, dimensions, .gauge, make: PrometheusGauge.init) ?? PrometheusGauge(labels: "", buckets: [])
    }

    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        series(label, dimensions, .histogram, buckets: PrometheusHistogram.seconds, make: PrometheusHistogram.init)
            ?? PrometheusHistogram(labels: "", buckets: [])
    }

    // Series live as long as the process: a counter that starts again at zero would look like a restart.
    package func destroyCounter(_ handler: any CounterHandler) {}
    package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    package func destroyMeter(_ handler: any MeterHandler) {}
    package func destroyRecorder(_ handler: any RecorderHandler) {}
    package func destroyTimer(_ handler: any TimerHandler) {}

    /// The series of a metric with these labels; nil when the name is in use for another kind of metric.
    private func series<Made: Series>(
        _ label: String,
        _ dimensions: [(String, String)],
        _ kind: Kind,
        buckets: [Double] = [],
        make: (_ labels: String, _ buckets: [Double]) -> Made
    ) -> Made? {
        let name = Self.metricName(label)
        let family = families.withLock { families in
            if let family = families[name] { return family }
            let family = Family(name: name, kind: kind, buckets: buckets)
            families[name] = family
            return family
        }
        let labels = Self.labels(dimensions)
        return family.series.withLock { series in
            if let known = series[labels] { return known as? Made }
            guard series.count >= seriesLimit else {
                let made = make(labels, family.buckets)
                series[labels] = made
                return made
            }
            let shared = Self.labels(dimensions.map { ($0.0, "other") })
            if let known = series[shared] { return known as? Made }
            let made = make(shared, family.buckets)
            series[shared] = made
            return made
        }
    }

    // MARK: Writing

    /// All metrics, sorted by name.
    package func exposition() -> String {
        let families = families.withLock { $0.values.sorted { $0.name < $1.name } }
        let help = help.withLock { $0 }
        var text = ""
        text.reserveCapacity(16_384)
        for family in families {
            let series = family.series.withLock { $0.values.sorted { $0.labels < $1.labels } }
            if let words = help[family.name] {
                text += "# HELP \(family.name) \(words.replacing("\\", "\\\\").replacing("\n", "\\n"))\n"
            }
            text += "# TYPE \(family.name) \(family.kind.rawValue)\n"
            for series in series { series.write(family.name, to: &text) }
        }
        return text
    }

    /// Letters, digits, `_` and `:`, no digit first; everything else becomes `_`.
    private static func metricName(_ label: String) -> String { identifier(label, allowing: ":") }

    private static func identifier(_ text: String, allowing extra: Unicode.Scalar? = nil) -> String {
        var name = ""
        for scalar in text.unicodeScalars {
            let isLetter =
                ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar) || scalar == "_" || scalar == extra
            let isDigit = ("0"..."9").contains(scalar)
            if isDigit, name.isEmpty { name += "_" }
            name.unicodeScalars.append(isLetter || isDigit ? scalar : "_")
        }
        return name
    }

    private static func labels(_ dimensions: [(String, String)]) -> String {
        dimensions.map { name, value in
            let escaped = value.replacing("\\", "\\\\").replacing("\"", "\\\"").replacing("\n", "\\n")
            return "\(identifier(name))=\"\(escaped)\""
        }.joined(separator: ",")
    }
}

extension String {
    fileprivate func replacing(_ character: Character, _ other: String) -> String {
        contains(character)
            ? split(separator: character, omittingEmptySubsequences: false).joined(separator: other) : self
    }
}

/// One set of labels of one metric.
private protocol Series: AnyObject, Sendable {
    /// As written between braces.
    var labels: String { get }
    func write(_ name: String, to text: inout String)
}

private func sample(_ name: String, _ labels: String, _ value: String) -> String {
    labels.isEmpty ? "\(name) \(value)\n" : "\(name){\(labels)} \(value)\n"
}

/// As Prometheus reads it: whole numbers without a fraction.
private func number(_ value: Double) -> String {
    if let integer = Int64(exactly: value) { return String(integer) }
    if value.isNaN { return "NaN" }
    return value.isInfinite ? (value < 0 ? "-Inf" : "+Inf") : value.description
}

private final class PrometheusCounter: CounterHandler, Series {
    let labels: String
    private let value = Atomic<Int64>(0)

    init(labels: String, buckets: [Double]) { self.labels = labels }

    func increment(by amount: Int64) { value.wrappingAdd(amount, ordering: .relaxed) }
    func reset() { value.store(0, ordering: .relaxed) }

    func write(_ name: String, to text: inout String) {
        text += sample(name, labels, String(value.load(ordering: .relaxed)))
    }
}

/// Also a counter of fractions, which is a gauge that only grows.
private final class PrometheusGauge: MeterHandler, RecorderHandler, FloatingPointCounterHandler, Series {
    let labels: String
    private let bits = Atomic<UInt64>(0)

    init(labels: String, buckets: [Double]) { self.labels = labels }

    func set(_ value: Int64) { set(Double(value)) }
    func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }
    func record(_ value: Int64) { set(Double(value)) }
    func record(_ value: Double) { set(value) }
    func decrement(by amount: Double) { increment(by: -amount) }
    func reset() { set(0.0) }

    func increment(by amount: Double) {
        var old = bits.load(ordering: .relaxed)
        while true {
            let new = (Double(bitPattern: old) + amount).bitPattern
            let (isExchanged, original) = bits.weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
            if isExchanged { return }
            old = original
        }
    }

    func write(_ name: String, to text: inout String) {
        text += sample(name, labels, number(Double(bitPattern: bits.load(ordering: .relaxed))))
    }
}

private final class PrometheusHistogram: TimerHandler, RecorderHandler, Series {
    /// For times: from half a millisecond to a minute.
    static let seconds = [
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
    ]
    /// For counts and sizes.
    static let sizes: [Double] = [1, 2, 5, 10, 20, 50, 100, 250, 500, 1_000, 5_000, 10_000, 100_000, 1_000_000]

    private struct State {
        var counts: [UInt64]
        var sum = 0.0
    }

    let labels: String
    private let bounds: [Double]
    /// One count for each bound, and one for what is above all of them.
    private let state: Mutex<State>

    init(labels: String, buckets: [Double]) {
        self.labels = labels
        bounds = buckets
        state = Mutex(State(counts: Array(repeating: 0, count: buckets.count + 1)))
    }

    func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }
    func record(_ value: Int64) { record(Double(value)) }

    func record(_ value: Double) {
        let index = bounds.firstIndex { value <= $0 } ?? bounds.count
        state.withLock { state in
            state.counts[index] &+= 1
            state.sum += value
        }
    }

    func write(_ name: String, to text: inout String) {
        let state = state.withLock { $0 }
        let prefix = labels.isEmpty ? "" : "\(labels),"
        var total: UInt64 = 0
        for (count, bound) in zip(state.counts, bounds + [.infinity]) {
            total &+= count
            text += sample("\(name)_bucket", "\(prefix)le=\"\(number(bound))\"", String(total))
        }
        text += sample("\(name)_sum", labels, number(state.sum))
        text += sample("\(name)_count", labels, String(total))
    }
}
