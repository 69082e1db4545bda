import Kernel
import Synchronization

/// Counts the event streams that are open, by who reads them and by organization.
///
/// Each holds a connection and whatever its source holds, for minutes; rate limits say nothing about that.
final class OpenStreams: Sendable {
    /// One stream that is counted.
    struct OpenStream: Sendable {
        fileprivate let actor: Actor
        fileprivate let organization: ID<OrganizationEntity>
    }

    private struct State {
        var byActor: [Actor: Int] = [:]
        var byOrganization: [ID<OrganizationEntity>: Int] = [:]
    }

    private let actorLimit: Int
    private let organizationLimit: Int
    private let state = Mutex(State())

    init(perActor actorLimit: Int, perOrganization organizationLimit: Int) {
        self.actorLimit = actorLimit
        self.organizationLimit = organizationLimit
    }

    /// Counts one more; throws `stream.too_many` when there may be none.
    func open(for principal: Principal) throws(Problem) -> OpenStream {
        let (actor, organization) = (principal.actor, principal.organization)
        let isOpen = state.withLock { state in
            let (mine, ours) = (state.byActor[actor, default: 0], state.byOrganization[organization, default: 0])
            guard mine < actorLimit, ours < organizationLimit else { return false }
            state.byActor[actor] = mine + 1
            state.byOrganization[organization] = ours + 1
            return true
        }
        guard isOpen else {
            throw Problem(
                ProblemKind.tooManyStreams.status,
                ProblemKind.tooManyStreams.code,
                "Too many event streams are open. Close one before you open another.",
                retryAfterSeconds: 10
            )
        }
        return OpenStream(actor: actor, organization: organization)
    }

    func close(_ place: OpenStream) {
        state.withLock { state in
            let mine = state.byActor[place.actor, default: 0] - 1
            state.byActor[place.actor] = mine > 0 ? mine : nil
            let ours = state.byOrganization[place.organization, default: 0] - 1
            state.byOrganization[place.organization] = ours > 0 ? ours : nil
        }
    }
}
