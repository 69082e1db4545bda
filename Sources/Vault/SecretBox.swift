import Crypto
package import Kernel

/// Seals small values with a key that only the server holds: AES-256-GCM, one key for each purpose.
///
/// The key is derived from the server's secret key with HKDF-SHA256 and the purpose as its label, so a value sealed for
/// one purpose does not open for another. A sealed value is also bound to its place: the same words must be given to open
/// it, so that it cannot be moved to another row.
///
/// Layout: one byte of version (1), 12 of nonce, the ciphertext, 16 of tag.
package struct SecretBox: Sendable {
    package enum Failure: Error, Sendable {
        /// Not sealed by this key for this place, or changed since.
        case notAuthentic
        case unknownVersion
    }

    private static let version: UInt8 = 1
    private let key: SymmetricKey

    /// - Parameters:
    ///   - secretKey: The server's own, of high entropy.
    ///   - purpose: A name from this program's text, such as `provider credentials`. It must never change.
    package init(secretKey: Secret, purpose: String) {
        key = HKDF<SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: Array(secretKey.exposed.utf8)),
            salt: Array("kuvend".utf8),
            info: Array(purpose.utf8),
            outputByteCount: 32
        )
    }

    /// - Parameter place: Where the value is kept, such as `table:organization:column`.
    package func seal(_ value: [UInt8], in place: String) throws -> [UInt8] {
        let box = try AES.GCM.seal(value, using: key, authenticating: Array(place.utf8))
        return [Self.version] + Array(box.nonce) + Array(box.ciphertext) + Array(box.tag)
    }

    package func open(_ sealed: [UInt8], in place: String) throws(Failure) -> [UInt8] {
        guard sealed.first == Self.version else { throw .unknownVersion }
        do {
            let box = try AES.GCM.SealedBox(combined: sealed.dropFirst())
            return Array(try AES.GCM.open(box, using: key, authenticating: Array(place.utf8)))
        } catch {
            throw .notAuthentic
        }
    }

    package func seal(_ secret: Secret, in place: String) throws -> [UInt8] {
        try seal(Array(secret.exposed.utf8), in: place)
    }

    package func openSecret(_ sealed: [UInt8], in place: String) throws(Failure) -> Secret {
        Secret(String(decoding: try open(sealed, in: place), as: UTF8.self))
    }
}
