import Kernel

/// The statement with which the first transaction of a request marks its idempotency record as applied.
///
/// Both drivers add it to every writing transaction whose scope carries a claim, held back so that it costs no round
/// trip. It commits with the change itself, so a record says `applied` exactly when the change is durable. Later
/// transactions of the same request find the record applied and change nothing.
func markApplied(_ claim: IdempotencyClaim, in organizationID: ID<OrganizationEntity>) -> SQL {
    """
    UPDATE idempotency_keys SET state = 'applied' \
    WHERE organization_id = \(organizationID) AND principal = \(claim.principal) AND key = \(claim.key) \
    AND token = \(claim.token) AND state = 'claimed'
    """
}
