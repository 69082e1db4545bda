extension JSON {
    /// What an edit changed, as events hold it: `{"field": {"before": …, "after": …}}`; nil when nothing did.
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
