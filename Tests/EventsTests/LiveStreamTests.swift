import Kernel
import Storage
import Synchronization
import TestKit
import Testing

@testable import Events

@Suite("Live streams")
struct LiveStreamTests {
    @Test("entries have consecutive numbers, whoever appends them", arguments: TestDatabase.kinds)
    func noGaps(on kind: TestDatabase.Kind) async throws {
        try await withErrands(on: kind) { errands in
            let (id, other) = (try await errands.begin(), try await errands.begin())
            async let seen = errands.follow(id, after: "0", count: 40)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<4 {
                    group.addTask { try await errands.step(id, 1...10) }
                    group.addTask { try await errands.step(other, 1...2) }
                    group.addTask {
                        await #expect(throws: Errands.GivenUp.self) { try await errands.step(id, 1...1, fails: true) }
                    }
                }
                try await group.waitForAll()
            }
            let all = (1...40).map { "\($0)" }
            #expect(try await seen == all)
            #expect(try await errands.follow(other, after: "0", count: 8) == Array(all.prefix(8)))
        }
    }

    @Test("an entry comes as it was appended, with an id that leads back", arguments: TestDatabase.kinds)
    func contents(on kind: TestDatabase.Kind) async throws {
        try await withErrands(on: kind) { errands in
            let id = try await errands.begin()
            try await errands.step(id, 7...9)
            let scope = errands.scope
            let given = Mutex<[LiveStream<Errand>.Item]>([])
            try await Errand.stream.follow(id, in: scope, from: StreamStart(after: 1), on: errands.database) { item in
                given.withLock { $0.append(item) }
                return given.withLock { $0.count } < 2
            }
            let items = given.withLock { $0 }
            let mark = String(id.description.suffix(8))
            #expect(items.map(\.id.description) == ["\(mark)-2", "\(mark)-3"])
            #expect(items.map(\.name) == ["errand.step", "errand.step"])
            #expect(try JSON(parsing: items.last?.data ?? []) == ["number": 9])
            #expect(LiveStream<Errand>.names == ["errand.step", "errand.done", "stream.reset"])
        }
    }

    @Test("a condition decides whether an entry is appended", arguments: TestDatabase.kinds)
    func condition(on kind: TestDatabase.Kind) async throws {
        try await withErrands(on: kind) { errands in
            let id = try await errands.begin()
            let scope = errands.scope
            for (last, fits) in [(0, true), (0, false), (1, true)] {
                let isAppended = try await errands.database.write(scope, isolation: .readCommitted) { tx in
                    try Errand.stream.append(
                        .done,
                        to: id,
                        where: "last_sequence = \(last)",
                        in: scope,
                        at: Errands.start,
                        tx
                    )
                }
                #expect(isAppended == fits)
            }
            #expect(try await errands.follow(id, after: "0", count: 2) == ["1", "2"])
        }
    }

    @Test("another organization sees nothing, not even that there is one", arguments: TestDatabase.kinds)
    func isolation(on kind: TestDatabase.Kind) async throws {
        try await withErrands(on: kind) { errands in
            let id = try await errands.begin()
            try await errands.step(id, 1...3)
            let stranger = Errands(database: errands.database)
            await #expect(throws: Errands.GivenUp.self) { try await stranger.start(id, after: nil) }
            #expect(try await stranger.follow(id, from: StreamStart(after: 0)).isEmpty)
        }
    }

    @Test("following ends when the subject is gone", arguments: TestDatabase.kinds)
    func gone(on kind: TestDatabase.Kind) async throws {
        try await withErrands(on: kind) { errands in
            let id = try await errands.begin()
            try await errands.step(id, 1...1)
            let seen = try await errands.follow(id, after: "0") { _ in try await errands.delete(id) }
            #expect(seen == ["1"])
        }
    }

    @Test("following ends when its task is cancelled", arguments: TestDatabase.kinds)
    func cancelled(on kind: TestDatabase.Kind) async throws {
        try await withErrands(on: kind) { errands in
            let id = try await errands.begin()
            try await errands.step(id, 1...1)
            let isReading = Gate()
            let reader = Task { try await errands.follow(id, after: "0") { _ in isReading.open() } }
            try await isReading.pass()
            reader.cancel()
            // Either way: the database refuses work for a cancelled task.
            _ = await reader.result
        }
    }

    // MARK: Gaps

    @Test("purged entries are told where some are missing, and only there", arguments: TestDatabase.kinds)
    func purged(on kind: TestDatabase.Kind) async throws {
        try await withErrands(on: kind) { errands in
            let id = try await errands.begin()
            try await errands.step(id, 1...3)
            try await errands.step(id, 4...5, at: Errands.start + .seconds(50))
            #expect(try await errands.purge(at: Errands.start + .seconds(60)) == 0)
            #expect(try await errands.purge(at: Errands.start + .seconds(61)) == 3)
            for place in ["0", "1", "2"] {
                #expect(try await errands.follow(id, after: place, count: 3) == ["purged 3", "4", "5"])
            }
            #expect(try await errands.follow(id, after: "3", count: 2) == ["4", "5"])

            #expect(try await errands.purge(at: Errands.start + .seconds(111)) == 2)
            for place in ["0", "3", "4"] {
                #expect(try await errands.follow(id, after: place, count: 1) == ["purged 5"])
            }
            // At the very end nothing is missing.
            let (end, now) = (try await errands.start(id, after: "5"), try await errands.start(id, after: nil))
            try await errands.step(id, 6...6)
            #expect(try await errands.follow(id, from: end, count: 1) == ["6"])
            #expect(try await errands.follow(id, from: now, count: 1) == ["6"])
        }
    }

    @Test("a slow reader is told of what was purged meanwhile", arguments: TestDatabase.kinds, [false, true])
    func slowReader(on kind: TestDatabase.Kind, isAllPurged: Bool) async throws {
        try await withErrands(on: kind) { errands in
            let id = try await errands.begin()
            try await errands.step(id, 1...1)
            let late = Errands.start + .seconds(100)
            let seen = try await errands.follow(id, after: "0", count: isAllPurged ? 2 : 3) { words in
                guard words == "1" else { return }
                try await errands.step(id, 2...4)
                if !isAllPurged { try await errands.step(id, 5...5, at: late) }
                _ = try await errands.purge(at: late)
            }
            #expect(seen == (isAllPurged ? ["1", "purged 4"] : ["1", "purged 4", "5"]))
        }
    }

    @Test("a hole in the middle is told as well", arguments: TestDatabase.kinds)
    func hole(on kind: TestDatabase.Kind) async throws {
        try await withErrands(on: kind) { errands in
            let id = try await errands.begin()
            // The clocks of nodes differ, so what is later may be older.
            try await errands.step(id, 1...1, at: Errands.start + .seconds(50))
            try await errands.step(id, 2...2)
            try await errands.step(id, 3...3, at: Errands.start + .seconds(50))
            #expect(try await errands.purge(at: Errands.start + .seconds(100)) == 1)
            #expect(try await errands.follow(id, after: "0", count: 3) == ["1", "purged 2", "3"])
        }
    }

    @Test("a database that is older than a reader is told", arguments: TestDatabase.kinds)
    func older(on kind: TestDatabase.Kind) async throws {
        try await withErrands(on: kind) { errands in
            let id = try await errands.begin()
            try await errands.step(id, 1...2)
            #expect(try await errands.follow(id, from: StreamStart(after: 7), count: 1) == ["ahead 2"])
        }
    }

    // MARK: Values

    private static let mark = StreamMark(of: ID<Errand>(high: 1, low: 0x8000_0000_3F0C_91AB))

    @Test(
        "where a reader begins whose stream has 9 entries",
        arguments: [
            (nil, 9, nil), ("9", 9, nil), ("0", 0, nil), ("4", 4, nil), ("3f0c91ab-4", 4, nil), ("3f0c91ab-0", 0, nil),
            ("3f0c91ab-9", 9, nil), ("3f0c91ab-10", 9, .ahead), ("10", 9, .ahead),
            ("3f0c91ab-9223372036854775807", 9, .ahead), ("3f0c91ac-4", 9, .unknown), ("3f0c91ac-10", 9, .unknown),
            ("", 9, .unknown), ("x", 9, .unknown), ("3f0c91ab", 9, .unknown), ("742-1093", 9, .unknown),
        ] as [(String?, Int64, StreamReset.Reason?)]
    )
    func start(text: String?, place: Int64, reason: StreamReset.Reason?) {
        let start = StreamStart(after: text, mark: Self.mark, newest: 9)
        #expect(start.sequence == place && start.newest == 9)
        #expect(start.reset?.reason == reason)
        #expect(start.reset.map { $0.id == StreamEntryID(Self.mark, 9) } ?? true)
    }

    @Test("an id survives its text", arguments: ["00000000-0", "3f0c91ab-12", "ffffffff-9223372036854775807"])
    func id(text: String) throws {
        guard case .entry(let id)? = StreamPlace(text) else { return #expect(Bool(false), "\(text)") }
        #expect(id.description == text)
    }

    @Test(
        "other texts are no place",
        arguments: [
            "", "-", "-1", "+1", "1-", "1.5", "1e3", " 1", "1 ", "0x1", "9223372036854775808", "3f0c91ab-",
            "3f0c91ab--1",
            "3f0c91ab-+1", "3F0C91AB-1", "3f0c91a-1", "3f0c91abc-1", "3f0c91ag-1", "3f0c91ab-1-2",
            "3f0c91ab-9223372036854775808", "٣", "3f0c91ab-٣",
        ]
    )
    func noPlace(text: String) { #expect(StreamPlace(text) == nil) }
}
