import Crypto
import JWTKit
import Kernel

/// What an access token says: who, where, and in which session.
///
/// What they may do there is not in it.
struct AccessClaims: Sendable, Hashable {
    let user: ID<UserEntity>
    let organization: ID<OrganizationEntity>
    let session: ID<Session>
    let expiresAt: Timestamp
}

/// Makes and reads access tokens: JWTs signed with HMAC-SHA256 (RFC 7519, RFC 7515).
///
/// There is one key, derived from the server's secret for this purpose alone, and one algorithm. The `alg` of a token is not
/// asked which to use, and it must name that one.
struct AccessTokens: Sendable {
    private static let longest = 1_024
    private static let issuer = "kuvend"

    private struct TokenClaims: JWTPayload {
        let iss: String
        let sub: String
        let org: String
        let sid: String
        let iat: Int64
        let exp: Int64

        /// Times are checked by the caller, with its own clock.
        func verify(using algorithm: some JWTAlgorithm) {}
    }

    private let keys = JWTKeyCollection()
    private let times: SessionTimes

    init(secretKey: Secret, times: SessionTimes) async {
        self.times = times
        let key = HKDF<SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: Array(secretKey.exposed.utf8)),
            salt: Array("kuvend".utf8),
            info: Array("access tokens".utf8),
            outputByteCount: 32
        )
        await keys.add(hmac: HMACKey(key: key), digestAlgorithm: .sha256)
    }

    func sign(
        _ user: ID<UserEntity>,
        in organization: ID<OrganizationEntity>,
        _ session: ID<Session>,
        at now: Timestamp
    ) async throws -> Secret {
        let issuedAt = now.milliseconds / 1_000
        let payload = TokenClaims(
            iss: Self.issuer,
            sub: user.description,
            org: organization.description,
            sid: session.description,
            iat: issuedAt,
            exp: issuedAt + times.access.components.seconds
        )
        return Secret(try await keys.sign(payload))
    }

    /// The claims of a token of ours that has not ended; nil for anything else.
    func read(_ token: Secret, at now: Timestamp) async -> AccessClaims? {
        let text = token.exposed
        guard text.utf8.count <= Self.longest, text.utf8.allSatisfy(Self.mayBeInToken), Self.isOurAlgorithm(text),
            let payload = try? await keys.verify(text, as: TokenClaims.self),
            payload.iss == Self.issuer, let user = ID<UserEntity>(payload.sub),
            let organization = ID<OrganizationEntity>(payload.org), let session = ID<Session>(payload.sid),
            let expiresAt = Self.timestamp(payload.exp), let issuedAt = Self.timestamp(payload.iat),
            now < expiresAt + times.leeway, issuedAt <= now + times.leeway
        else { return nil }
        return AccessClaims(user: user, organization: organization, session: session, expiresAt: expiresAt)
    }

    private static func mayBeInToken(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
            true
        default: false
        }
    }

    /// Whether the header is one that `sign` writes, in either order of its two members.
    private static func isOurAlgorithm(_ token: String) -> Bool {
        let header = token.prefix { $0 != "." }
        return headers.contains(String(header))
    }

    /// `{"alg":"HS256","typ":"JWT"}` and `{"typ":"JWT","alg":"HS256"}` in base64url.
    private static let headers: Set<String> = [
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9",
    ]

    private static func timestamp(_ seconds: Int64) -> Timestamp? {
        let (milliseconds, overflow) = seconds.multipliedReportingOverflow(by: 1_000)
        return overflow ? nil : Timestamp(milliseconds: milliseconds)
    }
}
