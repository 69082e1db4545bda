import Crypto
import HTTPTypes
package import Kernel
import NIOCore
package import Storage
import Vault

/// The memory of requests that carried an `Idempotency-Key`: see the README for the states and their answers.
package struct IdempotencyKeys: Sendable {
    /// How long a request may work before another may take over its key.
    package static let lease = Duration.seconds(60)
    /// How long an answer is kept.
    package static let retention = Duration.seconds(24 * 60 * 60)

    enum Precedent: Sendable {
        /// The handler may run.
        case claimed(IdempotencyClaim)
        /// It has run before, and this was its answer.
        case answered(Response)
    }

    private let database: any Database
    private let box: SecretBox
    private let now: @Sendable () -> Timestamp

    package init(
        database: any Database,
        secretKey: Secret,
        now: @escaping @Sendable () -> Timestamp = { .now() }
    ) {
        self.database = database
        self.now = now
        box = SecretBox(secretKey: secretKey, purpose: "idempotency keys")
    }

    /// Claims a key for a request, or finds what an earlier request with it left.
    ///
    /// - Parameter hash: Of everything that makes the request what it is.
    func claim(
        _ key: String,
        of principal: Principal,
        hash: String,
        from origin: RequestOrigin
    ) async throws -> Precedent {
        let scope = OrganizationScope.authenticated(principal.organization, as: principal.actor, from: origin)
        let now = now()
        let claim = IdempotencyClaim(
            principal: Self.name(of: principal.actor),
            key: key,
            token: ID<IdempotencyClaim>().description
        )
        let found = try await database.write(scope) { tx in
            try IdempotencyStore(tx: tx, scope: scope).claim(claim, hash: hash, at: now)
        }
        guard let record = found else { return .claimed(claim) }
        return .answered(try record.response(to: hash, at: now, box: box, place: Self.place(scope, claim)))
    }

    /// Keeps the answer of a claimed request, or gives the key back when the answer says nothing about the next try.
    func finish(_ claim: IdempotencyClaim, in scope: OrganizationScope, with response: Response) async throws {
        let now = now()
        let (kept, isStream) = response.replayed
        let bytes: [UInt8] = if case .bytes(let buffer) = kept.content { Array(buffer.readableBytesView) } else { [] }
        let sealed = isStream ? nil : try box.seal(bytes, in: Self.place(scope, claim))
        try await database.write(scope) { tx in
            let store = IdempotencyStore(tx: tx, scope: scope)
            let status = kept.status.code
            if status < 500, let sealed {
                let headers = JSON.object(JSONObject(kept.headers.map { ($0.name.canonicalName, .string($0.value)) }))
                try store.keep(
                    claim,
                    status: status,
                    headers: headers,
                    body: sealed,
                    evenUnapplied: Self.isFinal(status)
                )
            }
            // Only what is still claimed has changed nothing; what is applied stays, and its lease is over.
            try store.release(claim, at: now, evenClaimed: !isStream)
        }
    }

    /// Deletes the keys whose answers need not be kept any longer.
    package static let purge = Purge("idempotency_keys") { now, limit in
        """
        DELETE FROM idempotency_keys WHERE (organization_id, principal, key) IN (
            SELECT organization_id, principal, key FROM idempotency_keys WHERE expires_at <= \(now)
            ORDER BY expires_at LIMIT \(limit: limit)
        )
        """
    }

    /// Whether the same request would be answered the same way again.
    private static func isFinal(_ status: Int) -> Bool {
        switch status {
        case 401, 403, 408, 409, 429, 500...: false
        default: true
        }
    }

    private static func name(of actor: Actor) -> String { "\(actor.kind.name):\(actor.id ?? "")" }

    private static func place(_ scope: OrganizationScope, _ claim: IdempotencyClaim) -> String {
        "\(scope.id)\n\(claim.principal)\n\(claim.key)"
    }

    /// The hash of a request: method, path, query and body.
    static func hash(method: String, target: String, body: ByteBuffer) -> String {
        var hash = SHA256()
        hash.update(data: Array("\(method) \(target)\n".utf8))
        body.withUnsafeReadableBytes { hash.update(bufferPointer: $0) }
        return hash.finalize().reduce(into: "") { text, byte in
            text += byte < 16 ? "0" : ""
            text += String(byte, radix: 16)
        }
    }
}

extension Response {
    /// What a repeated request receives, and whether there is nothing to give because this is a stream.
    fileprivate var replayed: (response: Response, isStream: Bool) {
        guard case .events(let stream) = content else { return (self, false) }
        return stream.replay.map { ($0.response, false) } ?? (self, true)
    }
}

/// What an earlier request left behind.
struct IdempotencyRecord: RowDecodable, Sendable {
    enum State: String, StoredEnumeration {
        case claimed, applied, done
    }

    let token: String
    let hash: String
    let state: State
    let status: Int?
    let headers: JSON?
    let body: [UInt8]?
    let leaseExpiresAt: Timestamp
    let expiresAt: Timestamp

    static let columns: SQL =
        "token, request_hash, state, response_status, response_headers, response_body, lease_expires_at, expires_at"

    init(row: inout Row) throws {
        token = try row.next()
        hash = try row.next()
        state = try row.next()
        status = try row.next()
        headers = try row.next()
        body = try row.next()
        leaseExpiresAt = try row.next()
        expiresAt = try row.next()
    }

    /// Whether another request may claim the key as if nobody had.
    func isFree(for hash: String, at now: Timestamp) -> Bool {
        expiresAt <= now || state == .claimed && leaseExpiresAt <= now && self.hash == hash
    }

    /// What a request is told that comes after the one that left this.
    func response(to hash: String, at now: Timestamp, box: SecretBox, place: String) throws -> Response {
        guard self.hash == hash else {
            throw Problem(
                .unprocessable,
                "idempotency.key_reused",
                "This Idempotency-Key was used before with another request. Take a new key for a new request."
            )
        }
        guard state == .done, let status, let body else {
            guard leaseExpiresAt <= now else {
                throw Problem(
                    .conflict,
                    "idempotency.in_flight",
                    "The first request with this Idempotency-Key is still at work.",
                    retryAfterSeconds: 1
                )
            }
            throw Problem(
                .conflict,
                "idempotency.response_lost",
                "The first request with this Idempotency-Key took effect, but its answer is not kept. Read the resource."
            )
        }
        var fields = HTTPFields()
        for (name, value) in headers?.object ?? [:] {
            guard let name = HTTPField.Name(name), let value = value.string else { continue }
            fields.append(HTTPField(name: name, value: value))
        }
        fields.append(HTTPField(name: .idempotencyReplayed, value: "true"))
        let bytes = ByteBuffer(bytes: try box.open(body, in: place))
        return Response(
            HTTPResponse.Status(code: min(max(status, 200), 599)),
            headers: fields,
            content: bytes.readableBytes == 0 ? .none : .bytes(bytes)
        )
    }
}

struct IdempotencyStore {
    let tx: any Transaction
    let scope: OrganizationScope

    /// Inserts a claim, or takes over what is free; else returns what stands in its way.
    func claim(_ claim: IdempotencyClaim, hash: String, at now: Timestamp) throws -> IdempotencyRecord? {
        let inserted = try tx.execute(
            """
            INSERT INTO idempotency_keys
                (organization_id, principal, key, token, request_hash, state, created_at, lease_expires_at, expires_at)
            VALUES (\(scope.id), \(claim.principal), \(claim.key), \(claim.token), \(hash), 'claimed', \(now),
                \(now + IdempotencyKeys.lease), \(now + IdempotencyKeys.retention))
            ON CONFLICT (organization_id, principal, key) DO NOTHING
            """
        )
        if inserted > 0 { return nil }
        let record = try tx.first(
            "SELECT \(IdempotencyRecord.columns) FROM idempotency_keys WHERE \(isKey(claim)) \(.forUpdate)",
            as: IdempotencyRecord.self
        )
        guard let record else { throw StorageError.conflict(attempts: 1) }
        guard record.isFree(for: hash, at: now) else { return record }
        try tx.run(
            """
            UPDATE idempotency_keys SET token = \(claim.token), request_hash = \(hash), state = 'claimed',
                response_status = NULL, response_headers = NULL, response_body = NULL, created_at = \(now),
                lease_expires_at = \(now + IdempotencyKeys.lease), expires_at = \(now + IdempotencyKeys.retention)
            WHERE \(isKey(claim))
            """
        )
        return nil
    }

    /// - Parameter evenUnapplied: Whether the answer is final although it changed nothing.
    func keep(
        _ claim: IdempotencyClaim,
        status: Int,
        headers: JSON,
        body: [UInt8],
        evenUnapplied: Bool
    ) throws {
        let states: SQL = evenUnapplied ? "('claimed', 'applied')" : "('applied')"
        try tx.run(
            """
            UPDATE idempotency_keys SET state = 'done', response_status = \(status), response_headers = \(headers),
                response_body = \(SQLValue.bytes(body))
            WHERE \(isKey(claim)) AND token = \(claim.token) AND state IN \(states)
            """
        )
    }

    func release(_ claim: IdempotencyClaim, at now: Timestamp, evenClaimed: Bool) throws {
        if evenClaimed {
            try tx.run(
                "DELETE FROM idempotency_keys WHERE \(isKey(claim)) AND token = \(claim.token) AND state = 'claimed'"
            )
        }
        try tx.run(
            """
            UPDATE idempotency_keys SET lease_expires_at = \(now)
            WHERE \(isKey(claim)) AND token = \(claim.token) AND state = 'applied'
            """
        )
    }

    private func isKey(_ claim: IdempotencyClaim) -> SQL {
        "organization_id = \(scope.id) AND principal = \(claim.principal) AND key = \(claim.key)"
    }
}
