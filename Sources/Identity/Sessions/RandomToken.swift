import Crypto
import Kernel

/// Credentials made of letters and digits, from the system's own source of randomness.
enum RandomToken {
    static let alphabet = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)

    /// - Returns: `count` characters of 5.95 bits each.
    static func characters(_ count: Int) -> String {
        var generator = SystemRandomNumberGenerator()
        let bytes = (0..<count).map { _ in alphabet[Int.random(in: 0..<alphabet.count, using: &generator)] }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func isCharacters(_ text: some StringProtocol) -> Bool {
        text.utf8.allSatisfy { byte in
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
                || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
        }
    }

    /// What is kept of a credential, and how it is found again: its SHA-256, in hexadecimal digits.
    ///
    /// It has as much entropy as the hash, so nothing slower is needed.
    static func hash(_ token: Secret) -> String {
        SHA256.hash(data: Array(token.exposed.utf8)).reduce(into: "") { text, byte in
            text += byte < 16 ? "0" : ""
            text += String(byte, radix: 16)
        }
    }
}

/// A credential of a prefix and 43 letters and digits (256 bits), of which only the hash is kept.
protocol RandomCredential: Sendable {
    static var prefix: String { get }
    var secret: Secret { get }
    /// What is kept of it.
    var hash: String { get }

    /// - Parameter secret: Of the right form.
    init(wellFormed secret: Secret)
}

extension RandomCredential {
    private static var length: Int { 43 }

    /// A new one.
    init() { self.init(wellFormed: Secret(Self.prefix + RandomToken.characters(Self.length))) }

    /// One that came from outside; nil for what cannot be one.
    init?(_ secret: Secret) {
        let text = secret.exposed
        guard text.utf8.count == Self.prefix.utf8.count + Self.length, text.hasPrefix(Self.prefix),
            RandomToken.isCharacters(text.dropFirst(Self.prefix.count))
        else { return nil }
        self.init(wellFormed: secret)
    }
}

/// What a client sends to receive the next access token.
struct RefreshToken: RandomCredential {
    static let prefix = "kr_"

    let secret: Secret
    let hash: String

    init(wellFormed secret: Secret) {
        self.secret = secret
        hash = RandomToken.hash(secret)
    }
}
