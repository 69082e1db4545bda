package import Kernel
import Storage

/// A customer of an organization.
package struct Contact: Noun {
    package let id: ID<Contact>
    /// In lower case.
    package var email: String?
    package var phone: String?
    package var name: String?
    /// The organization's own id of the contact; unique within it.
    package var externalID: String?
    package var metadata: JSON
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    /// One of whom nothing is said yet.
    package init(at now: Timestamp) {
        id = ID()
        metadata = [:]
        createdAt = now
        updatedAt = now
    }

    /// The audit log names the fields that changed, not the personal data in them.
    package static let fields = FieldList<Contact>(
        "Contact",
        [
            .shown("id", \.id, .uuid),
            .editable(
                "email",
                \.email,
                .nullable(.email),
                audit: .redacted,
                "Kept in lower case.",
                example: "ana@example.com",
                normal: { $0?.lowercased() }
            ),
            .editable(
                "phone",
                \.phone,
                .nullable(.e164),
                audit: .redacted,
                "In international form.",
                example: "+355691234567"
            ),
            .editable(
                "name",
                \.name,
                .nullable(.string(1...200)),
                accepts: .nullable(.string(1...200, [.singleLine, .notBlank])),
                audit: .redacted,
                example: "Ana"
            ),
            .editable(
                "external_id",
                \.externalID,
                .nullable(.string(1...200)),
                accepts: .nullable(.string(1...200, .singleLine)),
                audit: .redacted,
                "Your own id of the contact; unique."
            ),
            .editable("metadata", \.metadata, .anyObject(), audit: .redacted),
            .shown("created_at", \.createdAt, .dateTime),
            .shown("updated_at", \.updatedAt, .dateTime),
        ]
    )
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
