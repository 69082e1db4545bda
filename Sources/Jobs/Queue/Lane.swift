import Storage

/// A class of jobs with reserved workers, so that a flood in one does not delay another.
package enum Lane: String, Sendable, Hashable, CaseIterable, StoredEnumeration {
    /// Somebody is waiting: replies.
    case interactive
    /// Something outside is waiting: webhooks, outgoing messages, mail.
    case delivery
    case workflow
    /// Nobody is waiting: imports, embeddings.
    case bulk
    /// The product's own housekeeping.
    case maintenance

    /// Jobs of this lane that one node runs at a time.
    package var defaultConcurrency: Int {
        switch self {
        case .interactive: 16
        case .delivery: 8
        case .workflow: 8
        case .bulk: 2
        case .maintenance: 1
        }
    }
}
