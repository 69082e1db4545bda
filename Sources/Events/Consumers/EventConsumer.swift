package import Storage

/// Somebody who reads the whole feed, every event once.
package protocol EventConsumer: Sendable {
    /// Names its place, for ever: `audit`.
    var name: String { get }
    /// Where it begins when it has no place yet.
    var start: ConsumerStart { get }
    /// Which plans PostgreSQL may make for its statements.
    var planner: ConsumerPlanner { get }

    /// Takes note of events, in order, in the transaction (`SystemPurpose.feed`) that moves the place behind them. May be
    /// called again with the same events after a failure, whose effects are gone then; outside work is a job. An event that
    /// keeps failing is set aside with its reason, and the others flow on.
    func consume(_ events: [RecordedEvent], in tx: any Transaction) throws
}

extension EventConsumer {
    package var start: ConsumerStart { .now }
    package var planner: ConsumerPlanner { .free }
}

/// Where a consumer begins that has no place yet.
package enum ConsumerStart: Sendable, Hashable {
    /// Behind all that has been recorded.
    case now
    /// With the oldest event that is kept.
    case beginning
}

/// How PostgreSQL plans the statements of a consumer.
package enum ConsumerPlanner: Sendable, Hashable {
    /// As it does by default.
    case free
    /// On indexes only, as the feed itself is read: for tables that are empty at one moment and long at the next.
    case indexesOnly
}
