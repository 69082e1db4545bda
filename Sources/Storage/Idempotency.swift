import Kernel

/// The statement with which a writing transaction of a request marks its idempotency record as applied.
///
/// Both drivers add it to every writing transaction whose scope carries a claim, held back so that it costs no round
/// trip. It commits with the change itself, so a record says `applied` exactly when the change is durable. When another
/// request has taken the key over, because this one outlived its lease, the state becomes one that the table refuses:
/// the transaction fails, and the change does not happen twice.
func markApplied(_ claim: IdempotencyClaim, in organizationID: ID<OrganizationEntity>) -> SQL {
    let now = Timestamp.now()
    return """
        INSERT INTO idempotency_keys (organization_id, principal, key, token, request_hash, state, created_at, \
        lease_expires_at, expires_at) \
        VALUES (\(organizationID), \(claim.principal), \(claim.key), \(claim.token), '', 'applied', \(now), \(now), \(now)) \
        ON CONFLICT (organization_id, principal, key) DO UPDATE SET state = \
        CASE WHEN idempotency_keys.token = excluded.token THEN 'applied' ELSE 'taken over' END
        """
}

/// The request outlived the lease of its idempotency key, and another one holds the key now.
struct IdempotencyClaimLost: ProblemConvertible {
    static let mapping = [
        ConstraintMapping.check("idempotency_keys_state_check", IdempotencyClaimLost())
    ]

    var problem: Problem {
        Problem(
            .conflict,
            "idempotency.in_flight",
            "Another request with this Idempotency-Key took over. Repeat the request to learn its answer.",
            retryAfterSeconds: 1
        )
    }
}
