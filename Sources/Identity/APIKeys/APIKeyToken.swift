import Crypto
package import Kernel

/// The text of an API key: `kv_live_`, 40 random letters and digits (238 bits), and 6 that check them, so that a key with a
/// typing error is refused without a look into the database, and scanners can tell a real key from noise.
package struct APIKeyToken: Sendable {
    package static let prefix = "kv_live_"
    private static let randomLength = 40
    private static let checkLength = 6
    /// How much of it is shown in lists.
    private static let shownLength = 12

    package let secret: Secret
    /// What is kept of it.
    let hash: String

    /// A new one.
    package init() {
        let body = RandomToken.characters(Self.randomLength)
        secret = Secret(Self.prefix + body + Self.check(of: body))
        hash = RandomToken.hash(secret)
    }

    /// One that came from outside; nil for what cannot be one.
    package init?(_ secret: Secret) {
        let text = secret.exposed
        guard text.utf8.count == Self.prefix.utf8.count + Self.randomLength + Self.checkLength,
            text.hasPrefix(Self.prefix), RandomToken.isCharacters(text.dropFirst(Self.prefix.count))
        else { return nil }
        let rest = text.dropFirst(Self.prefix.count)
        guard Self.check(of: String(rest.prefix(Self.randomLength))) == rest.suffix(Self.checkLength) else {
            return nil
        }
        self.secret = secret
        hash = RandomToken.hash(secret)
    }

    /// The beginning, which is shown.
    package var shown: String { String(secret.exposed.prefix(Self.shownLength)) }

    /// The first 32 bits of a SHA-256, in base 62.
    ///
    /// Anybody can compute it: it tells typing errors, not forgeries.
    private static func check(of body: String) -> String {
        let digest = SHA256.hash(data: Array("kuvend api key \(body)".utf8))
        var number = digest.prefix(4).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        var digits: [UInt8] = []
        let base = UInt64(RandomToken.alphabet.count)
        for _ in 0..<checkLength {
            digits.append(RandomToken.alphabet[Int(number % base)])
            number /= base
        }
        return String(decoding: digits.reversed(), as: UTF8.self)
    }
}
