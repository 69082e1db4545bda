import Kernel
import Testing

@testable import Outbound

@Suite("Addresses of tenants")
struct OutboundPolicyTests {
    @Test(
        "addresses that a tenant may not reach",
        arguments: [
            ("0.0.0.0", AddressPolicy.Refusal.unspecified), ("0.1.2.3", .unspecified),
            ("10.0.0.1", .privateNetwork), ("10.255.255.255", .privateNetwork),
            ("100.64.0.1", .sharedNetwork), ("100.127.255.255", .sharedNetwork), ("100.100.100.200", .metadata),
            ("127.0.0.1", .loopback), ("127.255.255.254", .loopback),
            ("169.254.169.254", .metadata), ("169.254.170.2", .metadata), ("169.254.0.1", .linkLocal),
            ("168.63.129.16", .metadata), ("192.0.0.192", .metadata),
            ("172.16.0.1", .privateNetwork), ("172.31.255.255", .privateNetwork), ("192.168.0.1", .privateNetwork),
            ("192.0.2.1", .reserved), ("198.18.0.1", .reserved), ("198.19.255.255", .reserved),
            ("198.51.100.1", .reserved), ("203.0.113.1", .reserved), ("192.88.99.1", .reserved),
            ("224.0.0.1", .multicast), ("239.255.255.255", .multicast), ("240.0.0.1", .reserved),
            ("255.255.255.255", .reserved),
            ("::", .unspecified), ("::1", .loopback), ("::127.0.0.1", .embeddedIPv4),
            ("::ffff:127.0.0.1", .embeddedIPv4), ("::ffff:8.8.8.8", .embeddedIPv4), ("::ffff:0:8.8.8.8", .embeddedIPv4),
            ("64:ff9b::a9fe:a9fe", .embeddedIPv4), ("64:ff9b:1::1", .embeddedIPv4),
            ("2001::1", .embeddedIPv4), ("2001:10::1", .reserved), ("2001:db8::1", .reserved),
            ("2002:7f00:1::", .embeddedIPv4), ("3fff::1", .reserved), ("100::1", .reserved), ("4000::1", .reserved),
            ("fc00::1", .privateNetwork), ("fd12:3456::1", .privateNetwork), ("fd00:ec2::254", .metadata),
            ("fd20:ce::254", .metadata), ("fe80::1", .linkLocal), ("febf::1", .linkLocal), ("fec0::1", .privateNetwork),
            ("ff02::1", .multicast), ("5f00::1", .reserved),
        ]
    )
    func refused(_ text: String, _ refusal: AddressPolicy.Refusal) throws {
        #expect(AddressPolicy.strict.refusal(of: try #require(OutboundAddress(text))) == refusal)
    }

    @Test(
        "public addresses are allowed",
        arguments: [
            "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
            "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255",
            "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111", "2001:4860::8888",
            "2a00::1", "3ffe::1",
        ]
    )
    func allowed(_ text: String) throws {
        #expect(AddressPolicy.strict.refusal(of: try #require(OutboundAddress(text))) == nil)
    }

    @Test("no range of the table is misspelt")
    func tableIsWhole() { #expect(AddressPolicy.rangeCount == 38) }

    @Test("one private address among public ones refuses them all")
    func mixedAnswer() throws {
        let addresses = try ["8.8.8.8", "10.0.0.1"].map { try #require(OutboundAddress($0)) }
        #expect(AddressPolicy.strict.refusal(of: addresses) == .privateNetwork)
        #expect(AddressPolicy.strict.refusal(of: []) == .noAddress)
    }

    @Test("an exception opens its network and no other")
    func exceptions() throws {
        let policy = AddressPolicy(exceptions: [try #require(OutboundNetwork("10.1.0.0/16"))])
        #expect(policy.refusal(of: try #require(OutboundAddress("10.1.2.3"))) == nil)
        #expect(policy.refusal(of: try #require(OutboundAddress("10.2.0.1"))) == .privateNetwork)
    }

    @Test(
        "schemes, ports and literal addresses are judged from the URL",
        arguments: [
            ("https://example.com/x", AddressPolicy.strict, nil as AddressPolicy.Refusal?),
            ("http://example.com/x", .strict, .scheme),
            ("https://example.com:8443/x", .strict, .port),
            ("https://example.com:8443/x", AddressPolicy(ports: .only([8443])), nil),
            ("https://example.com/x", AddressPolicy(ports: .only([8443])), .port),
            ("http://example.com:81", AddressPolicy(schemes: [.http], ports: .any), nil),
            ("https://127.0.0.1/", .strict, .loopback),
            ("https://[::ffff:10.0.0.1]/", .strict, .embeddedIPv4),
            ("https://[2606:4700::1]/", .strict, nil),
        ]
    )
    func urls(_ text: String, _ policy: AddressPolicy, _ refusal: AddressPolicy.Refusal?) throws {
        #expect(policy.refusal(of: try OutboundURL(text)) == refusal)
    }

    @Test(
        "texts that are addresses, and what they are",
        arguments: [
            ("1.2.3.4", "1.2.3.4"), ("255.255.255.255", "255.255.255.255"), ("::", "0:0:0:0:0:0:0:0"),
            ("1::", "1:0:0:0:0:0:0:0"), ("::1:2", "0:0:0:0:0:0:1:2"), ("2001:DB8::8", "2001:db8:0:0:0:0:0:8"),
            ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"), ("::ffff:1.2.3.4", "0:0:0:0:0:ffff:102:304"),
            ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"), ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        ]
    )
    func addresses(_ text: String, _ canonical: String) {
        #expect(OutboundAddress(text)?.description == canonical)
        #expect(OutboundAddress(canonical) == OutboundAddress(text))
    }

    @Test(
        "texts that are no addresses",
        arguments: [
            "", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.", ".1.2.3", "1.2.3.4 ", "0x7f.0.0.1", ":",
            ":::",
            "1:", ":1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "g::", "fe80::1%eth0",
            "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3", "1:2:3:4:5:6:7:8::", "[::1]", "::1/128",
        ]
    )
    func noAddresses(_ text: String) { #expect(OutboundAddress(text) == nil) }

    @Test(
        "networks",
        arguments: [
            ("0.0.0.0/0", "9.9.9.9", true), ("10.0.0.0/8", "10.9.9.9", true), ("10.0.0.0/8", "11.0.0.0", false),
            ("1.2.3.4", "1.2.3.4", true), ("1.2.3.4/32", "1.2.3.5", false), ("::/0", "2001::", true),
            ("::/0", "1.2.3.4", false), ("2001:db8:0:0:8000::/65", "2001:db8::8000:0:0:1", true),
            ("2001:db8:0:0:8000::/65", "2001:db8::1", false), ("::1/128", "::2", false),
        ]
    )
    func networks(_ network: String, _ address: String, _ isInside: Bool) throws {
        let network = try #require(OutboundNetwork(network))
        #expect(network.contains(try #require(OutboundAddress(address))) == isInside)
    }

    @Test(
        "texts that are no networks",
        arguments: ["", "/", "1.2.3.4/33", "::/129", "1.2.3.4/", "1.2.3.4/a", "1.2.3.4/-1"]
    )
    func noNetworks(_ text: String) { #expect(OutboundNetwork(text) == nil) }

    @Test(
        "URLs are taken apart",
        arguments: [
            ("https://Example.COM", "https://example.com/", "example.com", 443),
            ("HTTP://example.com:8080/a/b?c=d&e", "http://example.com:8080/a/b?c=d&e", "example.com", 8080),
            ("https://example.com:443/", "https://example.com/", "example.com", 443),
            ("https://[2001:DB8::1]:9/x", "https://[2001:db8::1]:9/x", "2001:db8::1", 9),
            ("https://a_b.example.com./%7Ex?", "https://a_b.example.com./%7Ex?", "a_b.example.com.", 443),
            ("https://example.com?x", "https://example.com/?x", "example.com", 443),
        ]
    )
    func urlParts(_ text: String, _ canonical: String, _ host: String, _ port: Int) throws {
        let url = try OutboundURL(text)
        #expect(url.text == canonical)
        #expect(url.host == host)
        #expect(url.port == port)
    }

    @Test(
        "URLs that are refused",
        arguments: [
            ("", OutboundURL.Failure.scheme), ("example.com", .scheme), ("ftp://example.com", .scheme),
            ("https:/x", .scheme),
            ("file:///etc/passwd", .scheme), ("http+unix://%2Ftmp/x", .scheme), ("https://", .host),
            ("https:///x", .host),
            ("https://user@example.com/", .userInformation), ("https://user:pw@example.com/", .userInformation),
            ("https://example.com\\@evil.com/", .character), ("https://exa mple.com/", .character),
            ("https://example.com/\u{0}", .character), ("https://exämple.com/", .character),
            ("https://example.com/\r\nX: y", .character), ("https://example.com/<>", .character),
            ("https://example.com/%zz", .character), ("https://example.com/%4", .character),
            ("https://example.com:0/", .port), ("https://example.com:65536/", .port), ("https://example.com:/", .port),
            ("https://example.com:1a/", .port), ("https://[::1", .host), ("https://[::1%25eth0]/", .host),
            ("https://[127.0.0.1]/", .host), ("https://[::1]x/", .port), ("https://a..b/", .host),
            ("https://./", .host),
            ("https://example.com%2f/", .host), ("https://example.com/#x", .fragment),
            ("https://example.com#@x", .fragment),
            ("https://" + String(repeating: "a", count: 64) + ".com/", .host),
            ("https://example.com/" + String(repeating: "a", count: 2_048), .tooLong),
        ] as [(String, OutboundURL.Failure)]
    )
    func badURLs(_ text: String, _ flaw: OutboundURL.Failure) {
        #expect(throws: flaw) { try OutboundURL(text) }
    }

    @Test("paths are appended before the query")
    func appending() throws {
        #expect(try OutboundURL("https://x.y/v1/?a=b").appending(path: "chat").text == "https://x.y/v1/chat?a=b")
        #expect(try OutboundURL("https://x.y").appending(path: "a/b").text == "https://x.y/a/b")
    }

    @Test("a request prints its origin and nothing else")
    func descriptions() throws {
        let request = OutboundRequest(
            provider: "openai",
            method: .post,
            url: try OutboundURL("https://x.y/hooks/geheim?t=geheim"),
            headers: ["authorization": "Bearer geheim"],
            body: Array("geheim".utf8),
            access: .trusted,
            organization: nil,
            deadline: .now
        )
        #expect("\(request)" == "openai: POST https://x.y")
        #expect(!String(reflecting: request).contains("geheim"))
        #expect(!"\(request.url)".contains("geheim"))
    }
}

@Suite("Retry-After")
struct RetryAfterTests {
    static let now = Timestamp("1994-11-06T08:49:07Z") ?? .earliest

    @Test(
        "waits",
        arguments: [
            ("0", Duration.zero), ("30", .seconds(30)), (" 7 ", .seconds(7)), ("1.9", .seconds(1)),
            ("99999999999999999999", .seconds(604_800)), ("3601", .seconds(3_601)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", .seconds(30)), ("Sunday, 06-Nov-94 08:49:37 GMT", .seconds(30)),
            ("Sun Nov  6 08:49:37 1994", .seconds(30)), ("Sun, 06 Nov 1994 08:00:00 GMT", .zero),
            ("Wed, 06 Nov 2094 08:00:00 GMT", .seconds(604_800)),
        ]
    )
    func waits(_ text: String, _ wait: Duration) {
        #expect(RetryAfter.wait(in: ["Retry-After": text], at: Self.now) == wait)
    }

    @Test(
        "what cannot be read is no wait",
        arguments: [
            "", "-1", "soon", "1,5", "Sun, 32 Nov 1994 08:49:37 GMT", "06 1994 08:49:37",
            "Sun, 06 Foo 1994 08:49:37 GMT", ".5",
            "Sun, 06 Nov 1994 25:49:37 GMT", "1 2 3 4 5 6 7 8 9",
        ]
    )
    func unreadable(_ text: String) {
        #expect(RetryAfter.wait(in: ["Retry-After": text], at: Self.now) == nil)
    }

    @Test("milliseconds come first")
    func milliseconds() {
        #expect(RetryAfter.wait(in: ["retry-after-ms": "250", "retry-after": "9"], at: Self.now) == .milliseconds(250))
        #expect(RetryAfter.wait(in: ["retry-after-ms": "x", "retry-after": "9"], at: Self.now) == .seconds(9))
        #expect(RetryAfter.wait(in: [:], at: Self.now) == nil)
    }
}

@Suite("Circuit breaker")
struct CircuitBreakerTests {
    static let start = ContinuousClock.now

    private func opened() throws -> CircuitBreaker {
        var breaker = CircuitBreaker(
            configuration: .init(threshold: 2, firstPause: .seconds(5), longestPause: .seconds(15))
        )
        for _ in 0..<2 { breaker.failed(try Self.permit(&breaker, 0), at: Self.start) }
        return breaker
    }

    private static func permit(
        _ breaker: inout CircuitBreaker,
        _ seconds: Int,
        of caller: ID<OrganizationEntity> = .zero
    ) throws -> CircuitBreaker.Permit {
        guard case .allowed(let permit) = breaker.admit(at: start.advanced(by: .seconds(seconds)), of: caller) else {
            throw OutboundError.cancelled
        }
        return permit
    }

    @Test("opens at the threshold of failures in a row")
    func threshold() throws {
        var breaker = CircuitBreaker(configuration: .init(threshold: 2))
        breaker.failed(try Self.permit(&breaker, 0), at: Self.start)
        breaker.succeeded(try Self.permit(&breaker, 0))
        #expect(breaker.isPristine)
        breaker.failed(try Self.permit(&breaker, 0), at: Self.start)
        #expect(breaker.state == .closed(failures: 1))
        breaker.failed(try Self.permit(&breaker, 0), at: Self.start)
        #expect(breaker.admit(at: Self.start.advanced(by: .seconds(2))) == .refused(retryAfter: .seconds(3)))
    }

    @Test("failures of one caller alone do not open what others share", arguments: [1, 3])
    func callers(threshold: Int) throws {
        let (one, other) = (ID<OrganizationEntity>(), ID<OrganizationEntity>())
        var breaker = CircuitBreaker(configuration: .init(threshold: threshold, callers: 2))
        for _ in 0..<20 { breaker.failed(try Self.permit(&breaker, 0, of: one), at: Self.start) }
        #expect(!breaker.isPristine)
        breaker.failed(try Self.permit(&breaker, 0, of: other), at: Self.start)
        #expect(breaker.state == .open(until: Self.start.advanced(by: .seconds(5))))

        breaker = CircuitBreaker(configuration: .init(threshold: threshold, callers: 2))
        for _ in 0..<20 { breaker.failed(try Self.permit(&breaker, 0, of: one), at: Self.start) }
        breaker.succeeded(try Self.permit(&breaker, 0))
        #expect(breaker.state == .closed(failures: 0))
        for _ in 0..<20 { breaker.failed(try Self.permit(&breaker, 0, of: other), at: Self.start) }
        #expect(breaker.state == .closed(failures: threshold - 1))
    }

    @Test("calls that hang and end together do not open what others share and were served by meanwhile")
    func hanging() throws {
        var breaker = CircuitBreaker(configuration: .init(threshold: 3, callers: 2))
        let hanging = try (0..<6).map { _ in try Self.permit(&breaker, 0, of: ID()) }
        breaker.succeeded(try Self.permit(&breaker, 10, of: ID()))
        for permit in hanging { breaker.failed(permit, at: Self.start.advanced(by: .seconds(30))) }
        #expect(breaker.state == .closed(failures: 0))

        // Nobody was served since these began.
        let later = try (0..<6).map { _ in try Self.permit(&breaker, 40, of: ID()) }
        for permit in later { breaker.failed(permit, at: Self.start.advanced(by: .seconds(70))) }
        #expect(breaker.state == .open(until: Self.start.advanced(by: .seconds(75))))
    }

    @Test("a probe that hangs does not keep another caller from probing")
    func probes() throws {
        let (one, other) = (ID<OrganizationEntity>(), ID<OrganizationEntity>())
        var breaker = CircuitBreaker(configuration: .init(threshold: 1, callers: 2))
        for caller in [one, other] { breaker.failed(try Self.permit(&breaker, 0, of: caller), at: Self.start) }
        let hanging = try Self.permit(&breaker, 5, of: one)
        #expect(breaker.admit(at: Self.start.advanced(by: .seconds(6)), of: one) == .refused(retryAfter: .seconds(1)))
        let second = try Self.permit(&breaker, 6, of: other)
        breaker.abandoned(hanging, at: Self.start.advanced(by: .seconds(6)))
        #expect(breaker.state == .halfOpen)
        breaker.succeeded(second)
        #expect(breaker.state == .closed(failures: 0))
        breaker.failed(hanging, at: Self.start.advanced(by: .seconds(35)))
        #expect(breaker.state == .closed(failures: 0))
    }

    @Test(
        "a call from before that ends well does not keep a probe from opening the circuit again",
        arguments: [1, 2, 8]
    )
    func lateSuccess(probes: Int) throws {
        let callers = (0..<8).map { _ in ID<OrganizationEntity>() }
        var breaker = CircuitBreaker(configuration: .init(threshold: 1, callers: 2))
        let old = try Self.permit(&breaker, 0, of: callers[0])
        for caller in callers.prefix(2) { breaker.failed(try Self.permit(&breaker, 0, of: caller), at: Self.start) }
        let permits = try callers.prefix(probes).map { try Self.permit(&breaker, 5, of: $0) }
        breaker.succeeded(old)
        for permit in permits { breaker.failed(permit, at: Self.start.advanced(by: .seconds(6))) }
        #expect(breaker.state == .open(until: Self.start.advanced(by: .seconds(16))))
    }

    @Test("a probe that fails for one caller leaves the circuit to the probe of another")
    func failedProbe() throws {
        let callers = (0..<2).map { _ in ID<OrganizationEntity>() }
        func halfOpen() throws -> (CircuitBreaker, [CircuitBreaker.Permit]) {
            var breaker = CircuitBreaker(configuration: .init(threshold: 1, callers: 2))
            for caller in callers { breaker.failed(try Self.permit(&breaker, 0, of: caller), at: Self.start) }
            let permits = try callers.map { try Self.permit(&breaker, 5, of: $0) }
            breaker.failed(permits[0], at: Self.start.advanced(by: .seconds(5)))
            #expect(breaker.state == .halfOpen)
            return (breaker, permits)
        }
        var (breaker, permits) = try halfOpen()
        breaker.succeeded(permits[1])
        #expect(breaker.state == .closed(failures: 0))

        (breaker, permits) = try halfOpen()
        breaker.abandoned(permits[1], at: Self.start.advanced(by: .seconds(5)))
        #expect(breaker.state == .open(until: Self.start.advanced(by: .seconds(15))))

        (breaker, permits) = try halfOpen()
        breaker.answered(permits[1])
        breaker.failed(try Self.permit(&breaker, 6, of: callers[0]), at: Self.start.advanced(by: .seconds(6)))
        guard case .closed = breaker.state else {
            Issue.record("one caller opened it for all")
            return
        }
    }

    @Test("lets one probe through when the pause is over, and closes when it succeeds")
    func probe() throws {
        var breaker = try opened()
        let probe = try Self.permit(&breaker, 5)
        #expect(breaker.state == .halfOpen)
        #expect(breaker.admit(at: Self.start.advanced(by: .seconds(5))) == .refused(retryAfter: .seconds(1)))
        breaker.succeeded(probe)
        #expect(breaker.isPristine)
    }

    @Test("pauses twice as long after each failed probe, up to a limit")
    func doubling() throws {
        var breaker = try opened()
        var now = 5
        for pause in [10, 15, 15] {
            breaker.failed(try Self.permit(&breaker, now), at: Self.start.advanced(by: .seconds(now)))
            now += pause
            #expect(breaker.state == .open(until: Self.start.advanced(by: .seconds(now))))
        }
    }

    @Test("an abandoned probe leaves its place")
    func abandoned() throws {
        var breaker = try opened()
        breaker.abandoned(try Self.permit(&breaker, 5), at: Self.start.advanced(by: .seconds(6)))
        breaker.succeeded(try Self.permit(&breaker, 6))
        #expect(breaker.isPristine)
    }

    @Test("a probe that is being answered lets others through, but the next failure opens again")
    func answered() throws {
        var breaker = try opened()
        let probe = try Self.permit(&breaker, 5)
        breaker.answered(probe)
        _ = try Self.permit(&breaker, 5)
        breaker.failed(probe, at: Self.start.advanced(by: .seconds(6)))
        #expect(breaker.state == .open(until: Self.start.advanced(by: .seconds(16))))
    }

    @Test("outcomes of calls from before the circuit opened do not count")
    func stale() throws {
        var breaker = CircuitBreaker(configuration: .init(threshold: 1))
        let first = try Self.permit(&breaker, 0)
        let second = try Self.permit(&breaker, 0)
        breaker.failed(first, at: Self.start)
        let opened = breaker
        breaker.failed(second, at: Self.start.advanced(by: .seconds(1)))
        breaker.succeeded(second)
        #expect(breaker == opened)
    }

    @Test("a longer wait that the destination asked for wins within the limit")
    func retryAfter() throws {
        var breaker = CircuitBreaker(
            configuration: .init(threshold: 1, firstPause: .seconds(5), longestPause: .seconds(60))
        )
        breaker.failed(try Self.permit(&breaker, 0), at: Self.start, retryAfter: .seconds(30))
        #expect(breaker.state == .open(until: Self.start.advanced(by: .seconds(30))))
    }
}
