import NIOCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The IP address of whoever sent a request.
///
/// IPv4 is kept as IPv4-mapped IPv6 (`::ffff:0:0/96`).
struct ClientAddress: Sendable, Hashable {
    let high: UInt64
    let low: UInt64

    init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Reads an address without a port; nil for anything else.
    init?(_ text: String) {
        guard text.utf8.count <= 45, !text.utf8.contains(0) else { return nil }
        var four = in_addr()
        if inet_pton(AF_INET, text, &four) == 1 {
            self.init(ipv4: four.s_addr)
            return
        }
        var six = in6_addr()
        guard inet_pton(AF_INET6, text, &six) == 1 else { return nil }
        self = withUnsafeBytes(of: six) { ClientAddress(ipv6: $0) }
    }

    /// Nil for a socket that has no IP address.
    init?(_ address: SocketAddress?) {
        guard let address, address.port != nil else { return nil }
        let isIPv6 = address.protocol == .inet6
        // `sockaddr_in` has its address after 4 bytes, `sockaddr_in6` after 8 (POSIX); named members would need the
        // module of NIO that declares them.
        let found = address.withSockAddr { pointer, size -> ClientAddress? in
            let bytes = UnsafeRawBufferPointer(start: pointer, count: size)
            if isIPv6 { return size >= 24 ? ClientAddress(ipv6: UnsafeRawBufferPointer(rebasing: bytes[8..<24])) : nil }
            return size >= 8 ? ClientAddress(ipv4: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self)) : nil
        }
        guard let found else { return nil }
        self = found
    }

    /// - Parameter ipv4: In network order.
    private init(ipv4: UInt32) { self.init(high: 0, low: 0xFFFF_0000_0000 | UInt64(UInt32(bigEndian: ipv4))) }

    /// - Parameter ipv6: 16 bytes in network order.
    private init(ipv6: UnsafeRawBufferPointer) {
        self.init(
            high: UInt64(bigEndian: ipv6.loadUnaligned(as: UInt64.self)),
            low: UInt64(bigEndian: ipv6.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        )
    }

    private var isIPv4: Bool { high == 0 && low >> 32 == 0xFFFF }

    /// What a rate limit counts: an IPv4 address, or the /64 that one subscriber of IPv6 has at least.
    var rateLimitKey: ClientAddress { isIPv4 ? self : ClientAddress(high: high, low: 0) }

    var text: String {
        if isIPv4 { return "\(low >> 24 & 255).\(low >> 16 & 255).\(low >> 8 & 255).\(low & 255)" }
        var address = in6_addr()
        withUnsafeMutableBytes(of: &address) { bytes in
            bytes.storeBytes(of: high.bigEndian, as: UInt64.self)
            bytes.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
            inet_ntop(AF_INET6, &address, buffer.baseAddress, socklen_t(buffer.count)).map { String(cString: $0) } ?? ""
        }
    }
}

/// A range of addresses, `10.0.0.0/8` or a single one.
package struct AddressBlock: Sendable, Hashable {
    private let base: ClientAddress
    private let prefix: Int

    package init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let base = ClientAddress(String(first)) else { return nil }
        let width = first.contains(":") ? 128 : 32
        var prefix = 128
        if parts.count == 2 {
            guard let bits = Int(parts[1]), (0...width).contains(bits) else { return nil }
            prefix = bits + 128 - width
        }
        self.prefix = prefix
        self.base = Self.masked(base, prefix)
    }

    func contains(_ address: ClientAddress) -> Bool { Self.masked(address, prefix) == base }

    private static func masked(_ address: ClientAddress, _ prefix: Int) -> ClientAddress {
        // Shifts by 64 or more give 0, as smart shifts do.
        ClientAddress(
            high: address.high & (UInt64.max << (64 - min(prefix, 64))),
            low: address.low & (UInt64.max << (64 - max(prefix - 64, 0)))
        )
    }
}

extension ClientAddress {
    /// The client behind trusted proxies: of `X-Forwarded-For`, read from its end, the first address that is none of them.
    static func client(peer: ClientAddress?, forwardedFor: [String], trusting proxies: [AddressBlock]) -> ClientAddress?
    {
        guard let peer, !proxies.isEmpty, proxies.contains(where: { $0.contains(peer) }) else { return peer }
        var client = peer
        for hop in forwardedFor.joined(separator: ",").split(separator: ",").reversed() {
            let text = hop.drop { $0 == " " }.prefix { $0 != " " }
            guard let address = ClientAddress(String(text)) else { return client }
            client = address
            if !proxies.contains(where: { $0.contains(address) }) { return client }
        }
        return client
    }
}
