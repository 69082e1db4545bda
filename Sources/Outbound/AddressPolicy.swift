/// Which destinations a URL that a tenant supplied may reach.
///
/// The product resolves the host itself, asks `refusal(of:)` about every address of the answer and connects to one of
/// the addresses it asked about, so that neither a private address, nor a name that resolves to one, nor a name that
/// changes its mind between the check and the connection leads into the administrator's network. Source: OWASP API7:2023;
/// the IANA special-purpose address registries (RFC 6890).
package struct AddressPolicy: Sendable, Hashable {
    package enum Refusal: String, Error, Sendable, Hashable {
        case scheme
        case port
        /// `0.0.0.0/8`, `::`.
        case unspecified
        case loopback
        /// RFC 1918 and unique local addresses.
        case privateNetwork = "private_network"
        /// `100.64.0.0/10`: behind a carrier's NAT.
        case sharedNetwork = "shared_network"
        case linkLocal = "link_local"
        /// A cloud's service that hands out credentials.
        case metadata
        case multicast
        /// An IPv6 address that stands for an IPv4 one: mapped, translated, 6to4, Teredo.
        case embeddedIPv4 = "embedded_ipv4"
        /// Everything else that is no public unicast address.
        case reserved
        /// The name has no address at all.
        case noAddress = "no_address"
    }

    package enum Ports: Sendable, Hashable {
        /// 80 for http, 443 for https.
        case standard
        case only(Set<Int>)
        case any
    }

    package var schemes: Set<OutboundURL.Scheme>
    package var ports: Ports
    /// Networks that are allowed although they are not public, such as an administrator's own receiver.
    package var exceptions: [OutboundNetwork]

    package init(
        schemes: Set<OutboundURL.Scheme> = [.https],
        ports: Ports = .standard,
        exceptions: [OutboundNetwork] = []
    ) {
        self.schemes = schemes
        self.ports = ports
        self.exceptions = exceptions
    }

    /// Only `https` on its own port to public addresses.
    package static let strict = AddressPolicy()

    /// What speaks against a URL before its host is resolved.
    package func refusal(of url: OutboundURL) -> Refusal? {
        guard schemes.contains(url.scheme) else { return .scheme }
        let isPortAllowed =
            switch ports {
            case .standard: url.port == url.scheme.standardPort
            case .only(let ports): ports.contains(url.port)
            case .any: true
            }
        guard isPortAllowed else { return .port }
        return OutboundAddress(url.host).flatMap(refusal(of:))
    }

    package func refusal(of address: OutboundAddress) -> Refusal? {
        if exceptions.contains(where: { $0.contains(address) }) { return nil }
        if let range = Self.ranges.first(where: { $0.network.contains(address) }) { return range.refusal }
        if case .v6 = address, !Self.globalUnicast.contains(where: { $0.contains(address) }) { return .reserved }
        return nil
    }

    /// One refused address refuses the whole answer: a name that mixes public and private addresses is an attack.
    package func refusal(of addresses: [OutboundAddress]) -> Refusal? {
        if addresses.isEmpty { return .noAddress }
        return addresses.lazy.compactMap(refusal(of:)).first
    }

    /// The only part of IPv6 that is routed to everybody.
    private static let globalUnicast = ["2000::/3"].compactMap { OutboundNetwork($0) }

    /// The first match counts, so narrower ranges stand before wider ones.
    private static let ranges: [(network: OutboundNetwork, refusal: Refusal)] = [
        ("169.254.169.254/32", .metadata),
        ("169.254.170.2/32", .metadata),
        ("100.100.100.200/32", .metadata),
        ("168.63.129.16/32", .metadata),
        ("192.0.0.192/32", .metadata),
        ("fd00:ec2::254/128", .metadata),
        ("fd20:ce::254/128", .metadata),
        ("0.0.0.0/8", .unspecified),
        ("10.0.0.0/8", .privateNetwork),
        ("100.64.0.0/10", .sharedNetwork),
        ("127.0.0.0/8", .loopback),
        ("169.254.0.0/16", .linkLocal),
        ("172.16.0.0/12", .privateNetwork),
        ("192.0.0.0/24", .reserved),
        ("192.0.2.0/24", .reserved),
        ("192.88.99.0/24", .reserved),
        ("192.168.0.0/16", .privateNetwork),
        ("198.18.0.0/15", .reserved),
        ("198.51.100.0/24", .reserved),
        ("203.0.113.0/24", .reserved),
        ("224.0.0.0/4", .multicast),
        ("240.0.0.0/4", .reserved),
        ("::/128", .unspecified),
        ("::1/128", .loopback),
        ("::/96", .embeddedIPv4),
        ("::ffff:0:0/96", .embeddedIPv4),
        ("::ffff:0:0:0/96", .embeddedIPv4),
        ("64:ff9b::/96", .embeddedIPv4),
        ("64:ff9b:1::/48", .embeddedIPv4),
        ("2001::/32", .embeddedIPv4),
        ("2001::/23", .reserved),
        ("2001:db8::/32", .reserved),
        ("2002::/16", .embeddedIPv4),
        ("3fff::/20", .reserved),
        ("fc00::/7", .privateNetwork),
        ("fe80::/10", .linkLocal),
        ("fec0::/10", .privateNetwork),
        ("ff00::/8", .multicast),
    ].compactMap { text, refusal in OutboundNetwork(text).map { ($0, refusal) } }

    /// How many ranges the table has; a test compares it with the source so that no misspelt range is lost.
    static var rangeCount: Int { ranges.count }
}

/// Whose idea a destination was.
package enum OutboundAccess: Sendable, Hashable {
    /// Configured by the administrator: any address, resolved by the system.
    case trusted
    /// A tenant's: only what the policy allows, resolved and pinned by us.
    case tenant(AddressPolicy)
}
