package import Kernel
package import Storage

/// A class of jobs with reserved slots, so that a flood in one does not delay another.
///
/// A lane that is read from a row and that this node does not know is kept and shown.
package struct Lane: Sendable, Hashable, SQLBindable, ColumnDecodable {
    package let name: String

    package init(_ name: String) { self.name = name }

    package init(column: Int, of source: any RowSource) throws { name = try String(column: column, of: source) }

    package var sqlValue: SQLValue { .text(name) }

    /// Somebody is waiting: replies.
    package static let interactive = Lane("interactive")
    /// Something outside is waiting: webhooks, outgoing messages, mail.
    package static let delivery = Lane("delivery")
    package static let workflow = Lane("workflow")
    /// Nobody is waiting: imports, embeddings.
    package static let bulk = Lane("bulk")
    /// The product's own housekeeping.
    package static let maintenance = Lane("maintenance")

    /// Those that a node serves.
    package static let all = [interactive, delivery, workflow, bulk, maintenance]
}

extension SystemPurpose {
    /// Claims, finishes and sweeps jobs and schedules.
    package static let queue = SystemPurpose("queue")
}

extension Signal {
    /// A job was made ready in a lane.
    package static func jobs(_ lane: Lane) -> Signal { Signal("j:\(lane.name)") }
}

extension Permission {
    package static let jobsRead = Permission("jobs", "read")
    package static let jobsWrite = Permission("jobs", "write")
}
