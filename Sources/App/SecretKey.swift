import Crypto
package import Kernel

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif
#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// The key from which all others are derived: tokens are signed and secrets are sealed with it.
package enum SecretKeyFile {
    /// Reads the key, or makes one where there is none; the file can be read by its owner only.
    package static func load(in directory: String) throws -> Secret { try load(in: directory, isRetry: false) }

    private static func load(in directory: String, isRetry: Bool) throws -> Secret {
        let path = directory + "/secret.key"
        if let text = try? String(contentsOfFile: path, encoding: .utf8) {
            let key = text.filter { !$0.isWhitespace }
            guard key.utf8.count >= 32 else { throw CommandError("\(path) does not hold a key") }
            return Secret(key)
        }
        let bytes = SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) }
        let key = bytes.map { byte in String(byte >> 4, radix: 16) + String(byte & 15, radix: 16) }.joined()
        let file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
        guard file >= 0 else {
            // Another process was faster: its key is the one that counts.
            if errno == EEXIST {
                guard !isRetry else { throw CommandError("\(path) exists and cannot be read") }
                return try load(in: directory, isRetry: true)
            }
            throw CommandError("\(path) cannot be written: \(String(cString: strerror(errno)))")
        }
        defer { close(file) }
        let line = Array((key + "\n").utf8)
        guard write(file, line, line.count) == line.count, fsync(file) == 0 else {
            throw CommandError("\(path) cannot be written: \(String(cString: strerror(errno)))")
        }
        return Secret(key)
    }
}

/// Makes the data directory, for its owner only.
package func makeDataDirectory(_ path: String) throws {
    try FileManager.default.createDirectory(
        atPath: path,
        withIntermediateDirectories: true,
        attributes: [.posixPermissions: 0o700]
    )
}
