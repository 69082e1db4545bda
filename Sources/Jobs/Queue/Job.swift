package import Kernel

/// Marks the ids of jobs.
package enum JobEntity {}

/// What all jobs have in common.
///
/// A kind of job conforms to ``Job`` or ``PlatformJob``.
package protocol QueuedWork: Sendable {
    /// Names the kind in the queue, for ever: `reply.generate`.
    static var kind: String { get }
    static var lane: Lane { get }
    static var policy: RetryPolicy { get }

    /// What `init(payload:)` reads. Holds no secret: the queue is readable by the administrator.
    var payload: JSON { get }

    /// How long one attempt at this job may run, at most a day; nil is what its kind's policy says.
    var timeout: Duration? { get }

    /// Reads a payload that any version of the program may have written; a failure quarantines the job.
    init(payload: JSON) throws
}

extension QueuedWork {
    package static var policy: RetryPolicy { RetryPolicy() }
    package var timeout: Duration? { nil }
}

/// Work for one organization.
package protocol Job: QueuedWork {}

/// Work for the product itself, in no organization: purges, schedules.
package protocol PlatformJob: QueuedWork {}

/// How a handler says what becomes of its job, apart from returning (finished) and other errors (tried again).
///
/// Reasons are kept and shown to administrators; they hold no secret and no words of a contact.
package enum JobFailure: Error, Sendable, Hashable {
    /// Trying again cannot help: into quarantine at once.
    case permanent(_ reason: String)
    /// Try again, not before `after` where that is longer than the back-off; waits of more than the policy's longest are cut.
    case retry(after: Duration, reason: String)
}

extension JobFailure: JobReasonConvertible {
    package var jobReason: String {
        switch self {
        case .permanent(let reason), .retry(_, let reason): reason
        }
    }
}

package enum JobError: Error, Sendable, Hashable {
    /// The claim was taken away: the lease expired and the sweeper moved the job on, or somebody discarded it.
    case leaseLost(ID<JobEntity>)
    case unknown(ID<JobEntity>)
    /// Another job with the same unique key is ready or running.
    case duplicate(ID<JobEntity>)
    /// The transaction acts for somebody else than the job.
    case foreignScope
    case duplicateKinds([String])
}

extension JobError: ProblemConvertible {
    package var problem: Problem {
        switch self {
        case .unknown: .notFound("job")
        case .duplicate: Problem(.conflict, "job.duplicate", "The same work is already waiting or running.")
        case .leaseLost: Problem(.conflict, "job.lease_lost", "The job has been taken over.")
        case .foreignScope, .duplicateKinds: Problem(.internalError, "internal", "Something went wrong on our side.")
        }
    }
}
