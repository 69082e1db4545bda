import App
import Kernel
import Storage
import TestKit
import Testing

@Suite("Coming back to a conversation's stream", .timeLimit(.minutes(2)))
struct ResumeTests {
    @Test("an event's id names its conversation and its place, and leads back to it", arguments: TestDatabase.kinds)
    func ids(on kind: TestDatabase.Kind) async throws {
        try await withConversations(on: kind) { desk in
            let all = try await desk.events("?after=0", until: 4)
            let mark = String(desk.first.suffix(8))
            #expect(all.map(\.eventID) == (1...4).map { "\(mark)-\($0)" })
            // In the header and in the query, with the mark and, as `last_event_id` is shown, without.
            for place in ["\(mark)-2", "2"] {
                #expect(try await desk.events("", lastEventID: place, until: 4).map(\.id) == [3, 4])
                #expect(try await desk.events("?after=\(place)", until: 4).map(\.id) == [3, 4])
                #expect(try await desk.events("?after=0", lastEventID: place, until: 4).map(\.id) == [3, 4])
            }
            #expect(try await desk.events("?after=\(mark)-0", until: 4).map(\.id) == [1, 2, 3, 4])
        }
    }

    @Test("what is no place of this stream is told, and the stream goes on from now", arguments: TestDatabase.kinds)
    func unknown(on kind: TestDatabase.Kind) async throws {
        try await withConversations(on: kind) { desk in
            let (mine, other) = (String(desk.first.suffix(8)), String(desk.second.suffix(8)))
            let places: [(String, String)] = [
                ("\(other)-2", "unknown"), ("742-1093", "unknown"), ("abc", "unknown"), ("-1", "unknown"),
                ("9223372036854775808", "unknown"), ("\(mine)-", "unknown"), ("\(mine)-5", "ahead"), ("5", "ahead"),
                ("9223372036854775807", "ahead"),
            ]
            for (place, reason) in places {
                let events = try await desk.events("", lastEventID: place, until: .max)
                #expect(events.map(\.kind) == ["stream.reset"], "\(place)")
                #expect(
                    events.first?.data == ["reason": .string(reason), "last_event_id": .string("\(mine)-4")],
                    "\(place)"
                )
                // So a client that breaks off now comes back to where it is.
                #expect(events.first?.eventID == "\(mine)-4", "\(place)")
            }
            let after = try await desk.events("?after=\(other)-2", until: .max)
            #expect(after.map(\.kind) == ["stream.reset"])
            for text in ["abc", "742-1093", "\(mine)-", "\(mine)--1", "\(mine)-%2B1", "9223372036854775808", "+1", ""] {
                let reply = try await desk.owner.get("\(desk.path)?after=\(text)")
                #expect(reply.status == 400 && reply.code == "request.invalid", "\(text): \(reply.text)")
                #expect(reply.json["errors"]?.array?.first?["pointer"]?.string == "?after", "\(text)")
            }

            // What comes after it comes as ever.
            let hasBegun = Gate()
            async let events = desk.owner.events("GET", desk.path, headers: ["last-event-id": "\(other)-2"]) { event in
                if event.kind == "stream.reset" { hasBegun.open() }
                return event.kind == "message.created"
            }
            try await hasBegun.pass()
            try await desk.say("One more.")
            #expect(try await events.map(\.kind) == ["stream.reset", "message.created"])
            #expect(try await events.last?.id == 5)
        }
    }

    @Test("purged events are told, once, and only where some are missing", arguments: TestDatabase.kinds)
    func purged(on kind: TestDatabase.Kind) async throws {
        try await withConversations(on: kind) { desk in
            let mark = String(desk.first.suffix(8))
            try await desk.purge(upTo: 2)
            for place in ["0", "\(mark)-0", "\(mark)-1"] {
                let events = try await desk.events("?after=\(place)", until: 4)
                #expect(events.map(\.kind) == ["stream.reset", "message.created", "message.created"], "\(place)")
                #expect(events.map(\.id) == [2, 3, 4], "\(place)")
                #expect(
                    events.first?.data == ["reason": "purged", "last_event_id": .string("\(mark)-2")],
                    "\(place)"
                )
            }
            #expect(try await desk.events("?after=\(mark)-2", until: 4).map(\.id) == [3, 4])

            try await desk.purge(upTo: 4)
            for place in ["0", "\(mark)-3"] {
                let events = try await desk.events("", lastEventID: place, until: .max)
                #expect(events.map(\.kind) == ["stream.reset"], "\(place)")
                #expect(
                    events.first?.data == ["reason": "purged", "last_event_id": .string("\(mark)-4")],
                    "\(place)"
                )
            }
            // Nothing is missing at the very end.
            async let events = desk.events("", lastEventID: "\(mark)-4", until: 5)
            try await desk.say("One more.")
            #expect(try await events.map(\.id) == [5])
        }
    }

    @Test(
        "events that go missing under a reader are told; a posted message's stream ends",
        arguments: TestDatabase.kinds
    )
    func missing(on kind: TestDatabase.Kind) async throws {
        try await withConversations(on: kind) { desk in
            let (hasPosted, isFollowed) = (Gate(), Gate())
            async let posted = desk.owner.events(
                "POST",
                "/api/v1/conversations/\(desk.first)/messages",
                body: ["content": "Question 5"]
            ) { _ in
                hasPosted.open()
                return false
            }
            try await hasPosted.pass()
            async let followed = desk.owner.events("GET", "\(desk.path)?after=4") { event in
                isFollowed.open()
                return event.id >= 8
            }
            try await isFollowed.pass()
            // As if two more had come and been purged before the readers looked.
            try await desk.skip(2)
            try await desk.say("Question 8")
            let kinds = ["message.created", "stream.reset", "message.created"]
            // A reset has the id of the place after which the stream goes on.
            #expect(try await followed.map(\.kind) == kinds)
            #expect(try await followed.map(\.id) == [5, 7, 8])
            #expect(try await posted.map(\.kind) == Array(kinds.dropLast()))
        }
    }
}

/// Two conversations, the first of which has four events.
private struct Desk: Sendable {
    let app: TestApp
    let owner: TestClient
    let first: String
    let second: String

    var path: String { "/api/v1/conversations/\(first)/events" }

    /// The events of the first conversation up to a place, or up to the first reset.
    func events(_ query: String, lastEventID: String? = nil, until last: Int64) async throws -> [TestEvent] {
        try await owner.events(
            "GET",
            path + query,
            headers: lastEventID.map { ["last-event-id": $0] } ?? [:]
        ) { event in event.kind == "stream.reset" ? last == .max : event.id >= last }
    }

    /// Says something in the first conversation.
    func say(_ text: String) async throws {
        _ = try await owner.create("/api/v1/conversations/\(first)/messages", ["content": .string(text)])
    }

    func purge(upTo sequence: Int64) async throws {
        try await write { organization, id in
            """
            DELETE FROM conversation_events
            WHERE organization_id = \(organization) AND conversation_id = \(id) AND sequence <= \(sequence)
            """
        }
    }

    func skip(_ count: Int64) async throws {
        try await write { organization, id in
            """
            UPDATE conversations SET last_sequence = last_sequence + \(count)
            WHERE organization_id = \(organization) AND id = \(id)
            """
        }
    }

    private func write(_ statement: @escaping @Sendable (ID<OrganizationEntity>, ID<Void>) -> SQL) async throws {
        guard let organization = ID<OrganizationEntity>(owner.organization), let id = ID<Void>(first) else {
            throw TestAppFailure("no conversation")
        }
        try await app.node.database.write(.job(of: organization)) { tx in try tx.run(statement(organization, id)) }
    }
}

private func withConversations(
    on kind: TestDatabase.Kind,
    _ body: @escaping @Sendable (Desk) async throws -> Void
) async throws {
    try await withApp(on: kind, roles: "http") { app in
        let owner = try await app.signUp()
        let desk = Desk(
            app: app,
            owner: owner,
            first: try await owner.startConversation(),
            second: try await owner.startConversation()
        )
        for conversation in [desk.first, desk.second] {
            for number in 1...4 {
                _ = try await owner.create(
                    "/api/v1/conversations/\(conversation)/messages",
                    ["content": "Question \(number)"]
                )
            }
        }
        try await body(desk)
    }
}
