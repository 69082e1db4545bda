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

extension JSON {
    /// What an edit changed, as `Event.changes` holds it; nil when nothing did.
    package static func changes(_ fields: [FieldChange]) -> JSON? {
        var changes = JSONObject()
        for field in fields where field.before != field.after {
            changes[field.name] =
                field.isRedacted
                ? ["before": "redacted", "after": "redacted"] : ["before": field.before, "after": field.after]
        }
        return changes.isEmpty ? nil : .object(changes)
    }
}

/// One field of an edit.
package struct FieldChange: Sendable {
    let name: String
    let before: JSON
    let after: JSON
    let isRedacted: Bool

    package static func of(_ name: String, _ before: JSON, _ after: JSON) -> FieldChange {
        FieldChange(name: name, before: before, after: after, isRedacted: false)
    }

    /// For free JSON and personal data: that it changed is recorded, its values are not.
    package static func redacted(_ name: String, _ before: JSON, _ after: JSON) -> FieldChange {
        FieldChange(name: name, before: before, after: after, isRedacted: true)
    }
}
