package import Kernel

/// One kind of event, declared once: its name, what it carries and an example.
///
/// The audit log, outgoing webhooks, workflow triggers, live streams and the API reference all read this declaration.
package struct EventType: Sendable {
    /// A past fact: `conversation.closed`.
    package let name: String
    /// The kind of thing that it happened to, as the audit log names it: `conversation`.
    package let resource: String
    package let summary: String
    /// The shape of `Event.data`.
    package let data: Schema
    /// A value that `data` accepts.
    package let example: JSON

    package init(_ name: String, resource: String, _ summary: String, data: Schema, example: JSON) {
        self.name = name
        self.resource = resource
        self.summary = summary
        self.data = data
        self.example = example
    }
}

/// A fact of an organization, recorded in the transaction that made it true.
package struct Event: Sendable {
    package let type: EventType
    /// The id of what it happened to.
    package let subject: String
    /// As `type.data` says.
    ///
    /// Holds no secret.
    package let data: JSON
    /// For edits: `{"field": {"before": …, "after": …}}`.
    package let changes: JSON?

    package init(_ type: EventType, subject: String, data: JSON, changes: JSON? = nil) {
        self.type = type
        self.subject = subject
        self.data = data
        self.changes = changes
    }
}
