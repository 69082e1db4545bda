package import Kernel
import Storage

/// A customer of an organization.
package struct Contact: Sendable {
    package let id: ID<Contact>
    package var email: String?
    package var phone: String?
    package var name: String?
    /// The organization's own id of the contact; unique within it.
    package var externalID: String?
    package var metadata: JSON
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    mutating func touch(at now: Timestamp) { updatedAt = max(now, updatedAt + .milliseconds(1)) }
}

package struct NewContact: Sendable {
    package var email: String?
    package var phone: String?
    package var name: String?
    package var externalID: String?
    package var metadata: JSON = [:]

    package init(email: String? = nil, phone: String? = nil, name: String? = nil, externalID: String? = nil) {
        self.email = email
        self.phone = phone
        self.name = name
        self.externalID = externalID
    }
}

/// For the optional fields `.some(nil)` empties the field.
package struct ContactChanges: Sendable {
    package var email: String??
    package var phone: String??
    package var name: String??
    package var externalID: String??
    package var metadata: JSON?
}

package struct ContactFilter: Sendable {
    package var email: String?
    package var phone: String?
    package var externalID: String?
}

package enum ContactError: ProblemConvertible {
    case unknown(ID<Contact>)
    case externalIDTaken
    case inUse

    package var problem: Problem {
        switch self {
        case .unknown: .notFound("contact")
        case .externalIDTaken:
            Problem(
                .conflict,
                "contact.external_id_taken",
                "Another contact has this external_id.",
                errors: [FieldError(pointer: "/external_id", code: "taken", detail: "is in use")]
            )
        case .inUse:
            Problem(.conflict, "contact.in_use", "The contact has conversations or calls and cannot be deleted.")
        }
    }
}
