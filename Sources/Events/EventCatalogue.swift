package import Kernel

/// All types of event that the product records, each declared once.
package struct EventCatalogue: Sendable {
    package enum Failure: Error, Sendable, Hashable {
        case duplicate(String)
        /// The example of a type does not fit its own schema.
        case badExample(String, [FieldError])
    }

    /// In the order in which they were declared.
    package let types: [EventType]
    private let byName: [String: EventType]

    package init(_ types: [EventType]) throws(Failure) {
        var byName: [String: EventType] = [:]
        for type in types {
            guard byName.updateValue(type, forKey: type.name) == nil else { throw .duplicate(type.name) }
            let errors = type.data.validate(type.example, as: .response)
            guard errors.isEmpty else { throw .badExample(type.name, errors) }
        }
        self.types = types
        self.byName = byName
    }

    package subscript(_ name: String) -> EventType? { byName[name] }
}
