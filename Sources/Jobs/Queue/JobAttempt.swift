package import Kernel
package import Logging
package import Storage
import Synchronization

/// Marks the tokens of claims.
package enum JobTokenEntity {}

/// One attempt at a job: the claim that a worker holds.
package struct JobAttempt: Sendable {
    package let id: ID<JobEntity>
    /// All bits zero for platform jobs.
    package let organization: ID<OrganizationEntity>
    package let kind: String
    package let lane: Lane
    package let policy: RetryPolicy
    /// Counted from 1.
    package let number: Int
    package let maxAttempts: Int
    /// When the attempt is cancelled.
    package let deadline: Timestamp
    package let logger: Logger
    /// From -1 to 1; drawn before any transaction, since the body of one may run again.
    let jitter: Double
    let hasFollowUp: Bool
    let token: ID<JobTokenEntity>
    let mark = SettlementMark()

    package var isLast: Bool { number >= maxAttempts }

    /// Deletes the job in the handler's own transaction, so that its effect happens exactly once.
    ///
    /// - Throws: `JobError.leaseLost` when the claim was taken away; the transaction must not commit then.
    package func finish(in tx: any Transaction) throws {
        guard try tx.execute(JobStore.delete(organization, id, token)) == 1 else { throw JobError.leaseLost(id) }
        mark.set(.finished, because: nil)
    }

    /// Makes sure that a part of the work is only kept while the claim holds.
    ///
    /// - Throws: `JobError.leaseLost` when the claim was taken away; the transaction must not commit then.
    package func check(in tx: any Transaction) throws {
        guard try tx.value(JobStore.held(organization, id, token), as: Int.self) != nil else {
            throw JobError.leaseLost(id)
        }
    }

    /// Ends the attempt as failed in the handler's own transaction: the job is tried again after the back-off (with jitter)
    /// or, where that is longer, `after`; quarantined if this was the last attempt.
    ///
    /// - Throws: `JobError.leaseLost` when the claim was taken away; the transaction must not commit then.
    package func retry(in tx: any Transaction, after wait: Duration, reason: String, now: Timestamp) throws {
        let settlement: Settlement =
            if isLast {
                .quarantine(JobReason.clean(reason))
            } else {
                .retry(
                    at: now + policy.wait(afterAttempt: number, retryAfter: wait, jitter: jitter),
                    JobReason.clean(reason)
                )
            }
        if hasFollowUp, case .quarantine(let reason) = settlement {
            try tx.run(JobStore.followUp(organization, id, token, kind: kind, reason: reason, now: now))
            tx.signal(.jobs(lane))
        }
        guard try tx.execute(JobStore.settle(organization, id, token, as: settlement, now: now)) == 1 else {
            throw JobError.leaseLost(id)
        }
        mark.set(isLast ? .quarantined : .retried, because: JobReason.clean(reason))
    }
}

/// How the handler has ended its job in a transaction of its own.
///
/// That may not have committed (yet), but the claim is expected to be gone, and no reason to cancel what the handler
/// still does.
final class SettlementMark: Sendable {
    private let state = Mutex<(outcome: JobMeters.Outcome, reason: String?)?>(nil)

    var outcome: JobMeters.Outcome? { state.withLock { $0?.outcome } }
    /// Why the attempt failed, when it did.
    var reason: String? { state.withLock { $0?.reason } }

    func set(_ outcome: JobMeters.Outcome, because reason: String?) { state.withLock { $0 = (outcome, reason) } }
}

/// What a handler is given beside its job.
package protocol AttemptContext: Sendable {
    var current: JobAttempt { get }
}

extension AttemptContext {
    package var jobID: ID<JobEntity> { current.id }
    /// Counted from 1.
    package var attempt: Int { current.number }
    package var isLastAttempt: Bool { current.isLast }
    package var deadline: Timestamp { current.deadline }
    /// Carries `job_id`, `job_kind` and `organization_id`.
    package var logger: Logger { current.logger }

    /// See ``JobAttempt/finish(in:)``.
    package func finish(in tx: any Transaction) throws { try current.finish(in: tx) }

    /// See ``JobAttempt/check(in:)``.
    package func check(in tx: any Transaction) throws { try current.check(in: tx) }

    /// See ``JobAttempt/retry(in:after:reason:now:)``.
    package func retry(in tx: any Transaction, after wait: Duration, reason: String, now: Timestamp) throws {
        try current.retry(in: tx, after: wait, reason: reason, now: now)
    }
}

/// The context of work for one organization.
package struct JobContext: AttemptContext {
    /// The right to act in the organization that the job belongs to.
    package let scope: OrganizationScope
    package let current: JobAttempt
}

/// The context of work for the product itself.
///
/// It acts in no organization; transactions that finish it are those of `SystemPurpose.queue`.
package struct PlatformJobContext: AttemptContext {
    package let current: JobAttempt
}

/// What becomes of a claimed job.
enum Settlement: Sendable, Hashable {
    case finish
    case retry(at: Timestamp, _ reason: String)
    case quarantine(_ reason: String)
    /// Back to ready as if it had not been claimed.
    case handBack
}

extension JobReason {
    static let timedOut = "timed out"
    static let workerLost = "worker lost"
}
