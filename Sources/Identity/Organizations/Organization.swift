package import Kernel
import Storage

/// The unit of tenancy: plan, people and data hang off it.
package struct Organization: Sendable {
    package enum Status: String, Sendable, CaseIterable, StoredEnumeration {
        case active
        /// Nobody can act in it until the administrator lifts it.
        case suspended
        /// Nobody can act in it any more; it is purged after the grace period.
        case deleted
    }

    package let id: ID<OrganizationEntity>
    package var name: String
    package var slug: String
    package let plan: String?
    package internal(set) var status: Status
    package var settings: JSON
    package internal(set) var deletedAt: Timestamp?
    package let createdAt: Timestamp
    package var updatedAt: Timestamp

    package init(id: ID<OrganizationEntity>, name: String, slug: String, at now: Timestamp) {
        self.id = id
        self.name = name
        self.slug = slug
        plan = nil
        status = .active
        settings = [:]
        deletedAt = nil
        createdAt = now
        updatedAt = now
    }

    mutating func touch(at now: Timestamp) { updatedAt = max(now, updatedAt + .milliseconds(1)) }

    mutating func suspend(at now: Timestamp) {
        status = .suspended
        touch(at: now)
    }

    mutating func resume(at now: Timestamp) {
        status = .active
        touch(at: now)
    }

    mutating func delete(at now: Timestamp) {
        status = .deleted
        deletedAt = now
        touch(at: now)
    }
}

package struct NewOrganization: Sendable {
    package let name: String
    /// nil: made from the name.
    package let slug: String?

    package init(name: String, slug: String? = nil) {
        self.name = name
        self.slug = slug
    }
}

package struct OrganizationChanges: Sendable {
    package var name: String?
    package var slug: String?
    package var settings: JSON?

    package init(name: String? = nil, slug: String? = nil, settings: JSON? = nil) {
        self.name = name
        self.slug = slug
        self.settings = settings
    }
}

package enum OrganizationError: ProblemConvertible {
    case unknown
    case slugTaken
    case slugReserved(pointer: String)
    case suspended
    /// One with this id, which happens to requests that are made again.
    case exists
    /// The user belongs to as many as one can.
    case tooMany

    package var problem: Problem {
        switch self {
        case .unknown: .notFound("organization")
        case .slugTaken: Problem(.conflict, "organization.slug_taken", "Another organization has this slug.")
        case .slugReserved(let pointer):
            .invalid([FieldError(pointer: pointer, code: "not_allowed", detail: "is reserved")])
        case .suspended:
            Problem(.forbidden, "organization.suspended", "The organization is suspended. Write to the support.")
        case .exists: Problem(.conflict, "organization.exists", "The organization exists already.")
        case .tooMany:
            Problem(
                .conflict,
                "organization.too_many",
                "You belong to \(Belonging.limit) organizations already. Leave one first."
            )
        }
    }
}

extension Slug {
    /// Throws when a slug that the caller chose may not be used.
    static func check(_ slug: String?, at pointer: String) throws(OrganizationError) {
        if let slug, isReserved(slug) { throw .slugReserved(pointer: pointer) }
    }
}
