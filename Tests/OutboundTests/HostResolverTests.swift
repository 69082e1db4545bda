import Dispatch
import Kernel
import Synchronization
import TestKit
import Testing

@testable import Outbound

@Suite("Name lookups", .timeLimit(.minutes(5)))
struct HostResolverTests {
    private static let address = OutboundAddress.v4(0x0102_0304)
    private let mine = ID<OrganizationEntity>()
    private let other = ID<OrganizationEntity>()

    @Test("an organization uses two threads at once, and those of lookups that nobody waits for count")
    func share() async throws {
        let (starts, start) = AsyncStream.makeStream(of: String.self)
        let answer = DispatchSemaphore(value: 0)
        let resolver = SystemHostResolver(threads: 3) { host in
            guard host.hasPrefix("slow") else { return .success([Self.address]) }
            start.yield(host)
            // Blocks as the system does; the deadline only keeps a failure from hanging.
            _ = answer.wait(timeout: .now() + .seconds(60))
            return .success([Self.address])
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for host in ["slow1", "slow2"] {
                group.addTask {
                    // Both are broken off below.
                    await #expect(throws: OutboundError.cancelled) {
                        try await resolver.addresses(of: host, for: mine)
                    }
                }
            }
            var begun = starts.makeAsyncIterator()
            for _ in 0..<2 { _ = await begun.next() }
            group.cancelAll()
            try await group.waitForAll()
        }
        // Two threads are still busy for nobody; the third is not for the same organization.
        async let third = resolver.addresses(of: "quick", for: mine)
        while resolver.waiting(mine) == 0 { await Task.yield() }
        #expect(try await resolver.addresses(of: "quick", for: other) == [Self.address])
        #expect(try await resolver.addresses(of: "quick") == [Self.address])
        #expect(resolver.waiting(mine) == 1)
        answer.signal()
        #expect(try await third == [Self.address])
        answer.signal()
    }

    @Test("a name that was not found is not asked for again for some seconds")
    func failures() async throws {
        let clock = InstantClock()
        let asked = Mutex<[String: Int]>([:])
        let resolver = SystemHostResolver(threads: 1) { host in
            let times = asked.withLock { asked in
                asked[host, default: 0] += 1
                return asked[host, default: 0]
            }
            return host == "missing" && times == 1 ? .failure(.resolveFailed) : .success([Self.address])
        } now: {
            clock.now
        }
        for organization in [mine, mine, other] {
            await #expect(throws: OutboundError.resolveFailed) {
                try await resolver.addresses(of: "missing", for: organization)
            }
        }
        #expect(asked.withLock { $0["missing"] } == 1)
        for _ in 0..<2 { #expect(try await resolver.addresses(of: "there", for: mine) == [Self.address]) }
        #expect(asked.withLock { $0["there"] } == 2, "what was found is asked for each time, as it may move")
        clock.advance(by: .seconds(6))
        #expect(try await resolver.addresses(of: "missing", for: mine) == [Self.address])
        #expect(asked.withLock { $0["missing"] } == 2)
    }
}
