import Kernel
import NIOCore
import NIOPosix
import TestKit
import Testing

@testable import Web

@Suite("Memory for request bodies")
struct BodyBudgetTests {
    private static func caller(_ number: UInt64) -> CallerKey {
        .address(ClientAddress(high: 0, low: number))
    }

    @Test("a caller holds at most a quarter, all callers at most the whole, and what is given back can be taken again")
    func shares() throws {
        let budget = BodyBudget(4_000, largestBody: 100)
        var shares = (0..<5).map { BodyBudget.Share(of: Self.caller($0)) }
        for index in 0..<4 {
            try budget.take(600, for: &shares[index])
            try budget.take(400, for: &shares[index])
            #expect(throws: Problem.self) { try budget.take(1, for: &shares[index]) }
        }
        #expect(budget.held == 4_000)
        #expect(throws: Problem.self) { try budget.take(1, for: &shares[4]) }
        budget.giveBack(shares[0])
        #expect(budget.held == 3_000)
        try budget.take(1_000, for: &shares[4])
        budget.giveBack(shares[4])
        var again = BodyBudget.Share(of: Self.caller(0))
        try budget.take(1_000, for: &again)
        for share in [shares[1], shares[2], shares[3], again] { budget.giveBack(share) }
        #expect(budget.held == 0)
    }

    @Test("the largest body fits into the smallest budget")
    func smallBudget() throws {
        let budget = BodyBudget(1, largestBody: 1_000)
        var share = BodyBudget.Share(of: Self.caller(1))
        try budget.take(1_000, for: &share)
        #expect(throws: Problem.self) { try budget.take(1, for: &share) }
    }

    @Test("a body is held until its request ends; what no longer fits is 503, and the connection ends")
    func requests() async throws {
        let started = Gate()
        let mayEnd = Gate()
        let endpoint = Endpoint.organization(
            .post,
            "/upload",
            "Upload",
            permission: nil,
            upload: ["text/plain"],
            responses: [.noContent]
        ) { call in
            guard call.upload.readableBytes == 900 else { return .noContent }
            started.open()
            try await mayEnd.pass()
            return .noContent
        }
        let type = [("Content-Type", "text/plain")]
        func bytes(_ count: Int) -> String { String(repeating: "x", count: count) }
        try await withServer(
            [endpoint],
            configure: {
                $0.bodyLimit = 1_000
                $0.bodyBudget = 4_000
            }
        ) { server in
            async let first = server.send("POST", "/upload", bytes(900), headers: type)
            try await started.pass()
            #expect(try await server.send("POST", "/upload", bytes(100), headers: type).status == 204)
            let refused = try await server.send("POST", "/upload", bytes(101), headers: type)
            #expect(refused.status == 503)
            #expect(refused.code == "server.busy")
            #expect(refused.header("Retry-After") == "2")
            #expect(refused.header("Connection") == "close")
            #expect(try await server.send("POST", "/upload").status == 415, "no body needs no room")
            mayEnd.open()
            #expect(try await first.status == 204)
            #expect(try await server.send("POST", "/upload", bytes(1_000), headers: type).status == 204)
        }
    }

    @Test("a connection over the limit waits until another has ended", .timeLimit(.minutes(5)))
    func connections() async throws {
        let started = Gate()
        let mayEnd = Gate()
        let (orders, order) = AsyncStream.makeStream(of: String.self)
        let endpoints = [
            Endpoint.public(.get, "/first", "Wait", responses: [.noContent]) { _ in
                started.open()
                try await mayEnd.pass()
                order.yield("first")
                return .noContent
            },
            Endpoint.public(.get, "/second", "Follow", responses: [.noContent]) { _ in
                order.yield("second")
                order.finish()
                return .noContent
            },
        ]
        func request(_ path: String) -> ByteBuffer {
            ByteBuffer(string: "GET \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        }
        try await withServer(endpoints, configure: { $0.maximumConnections = 1 }) { server in
            async let first = server.raw([request("/first")])
            try await started.pass()
            // The system takes the connection, and keeps it until the server asks for it.
            let second = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(host: "127.0.0.1", port: server.port).get()
            try await second.writeAndFlush(request("/second"))
            mayEnd.open()
            _ = try await first
            var seen: [String] = []
            for await name in orders { seen.append(name) }
            #expect(seen == ["first", "second"])
            try await second.closeFuture.get()
        }
    }
}
