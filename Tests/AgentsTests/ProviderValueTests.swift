import Kernel
import Outbound
import Simulators
import Testing

@testable import Agents

private func request(
    _ question: String,
    _ passages: [RetrievedPassage] = [],
    instructions: String = "",
    maximumTokens: Int = 1_024
) -> ModelRequest {
    ModelRequest(
        instructions: instructions,
        messages: [ModelMessage(.contact, question)],
        passages: passages,
        maximumTokens: maximumTokens,
        deadline: .now.advanced(by: .seconds(5)),
        requestID: "r"
    )
}

@Suite("Prompts")
struct ProviderPromptTests {
    @Test("instructions, rules, numbered passages, then the conversation in turns")
    func assembly() throws {
        var request = request(
            "Where is my parcel?",
            [
                RetrievedPassage(
                    number: 1,
                    source: "FAQ \"new\"\n",
                    section: "Shipping",
                    content: "Parcels take 3 days."
                ),
                RetrievedPassage(number: 2, source: "Terms", content: "No refunds."),
            ],
            instructions: "You are Ana."
        )
        request.messages.insert(contentsOf: [ModelMessage(.contact, "Hi"), ModelMessage(.agent, "Hello [1]")], at: 0)
        let messages = PromptBuilder().messages(for: request)
        #expect(messages.map(\.role) == [.system, .user, .assistant, .user])
        #expect(
            messages[0].content == """
                You are Ana.

                \(PromptBuilder.rules)

                Passages:

                <passage number="1" source="FAQ 'new'    Shipping">
                Parcels take 3 days.
                </passage>

                <passage number="2" source="Terms">
                No refunds.
                </passage>
                """
        )
        #expect(messages[1].content == "<contact>\nHi\n</contact>")
        #expect(messages[2].content == "Hello [1]")
        #expect(messages[3].content == "<contact>\nWhere is my parcel?\n</contact>")
        for rule in ["[1]", "do not know", "data"] { #expect(PromptBuilder.rules.contains(rule)) }
    }

    @Test("without passages the model is told so")
    func noPassages() {
        let system = PromptBuilder().messages(for: request("Hi"))[0].content
        #expect(system.hasSuffix("There are no passages for this question."))
    }

    @Test(
        "nobody writes themselves out of a fence",
        arguments: [
            ("a </contact> b", "a &lt;/contact> b"), ("<CONTACT>", "&lt;CONTACT>"),
            ("< / Passage >", "&lt; / Passage >"),
            ("<passage number=\"9\">", "&lt;passage number=\"9\">"), ("1 < 2 <b>", "1 < 2 <b>"), ("<", "<"), ("", ""),
            ("</\n\npassage>", "&lt;/\n\npassage>"),
        ]
    )
    func fences(_ text: String, _ safe: String) { #expect(PromptBuilder.unfenced(text) == safe) }

    @Test("words of the same author are one message")
    func turns() {
        var request = request("b")
        request.messages.insert(ModelMessage(.contact, "a"), at: 0)
        request.messages.append(ModelMessage(.contact, ""))
        let messages = PromptBuilder().messages(for: request)
        #expect(messages.map(\.role) == [.system, .user])
        #expect(messages[1].content == "<contact>\na\n</contact>\n\n<contact>\nb\n</contact>")
    }

    @Test("too long a prompt loses its oldest messages, then its last passages, never the question")
    func limit() {
        var request = request(
            "question",
            (1...5).map { RetrievedPassage(number: $0, source: "s", content: String(repeating: "p", count: 1_000)) }
        )
        request.messages.insert(
            contentsOf: (0..<10).flatMap { _ in
                [ModelMessage(.contact, String(repeating: "c", count: 500)), ModelMessage(.agent, "x")]
            },
            at: 0
        )
        let messages = PromptBuilder(maximumBytes: 4_000).messages(for: request)
        #expect(messages.map(\.role) == [.system, .user])
        #expect(messages[1].content.contains("question"))
        #expect(messages[0].content.contains("number=\"2\""))
        #expect(!messages[0].content.contains("number=\"5\""))
        #expect(messages.reduce(0) { $0 + $1.content.utf8.count } <= 4_000)
        #expect(PromptBuilder(maximumBytes: 0).messages(for: request).last?.content.contains("question") == true)
    }
}

@Suite("Extractive model")
struct ProviderExtractiveTests {
    static let refunds = RetrievedPassage(
        number: 1,
        source: "Returns",
        section: "Refunds",
        content: """
            # Refunds

            We want you to be happy. Refunds are paid within 14 days to the original payment method.
            Dr. Smith checks each case, e.g. broken glass.

            ## FAQ
            Can I return a gift? Yes, gifts can be returned with the receipt.

            You may pay with:
            - cards
            - bank transfer
            """
    )
    static let hours = RetrievedPassage(
        number: 2,
        source: "Hours",
        section: "Opening hours",
        content: "We are open on Saturdays from 9 to 14. On Sundays we rest."
    )
    static let albanian = RetrievedPassage(
        number: 3,
        source: "Pagesat",
        content: "Faturat dërgohen me email çdo muaj. Dërgesat falas vlejnë për porositë mbi 5.000 lekë."
    )

    @Test(
        "quotes the sentence that holds the answer, with its citation",
        arguments: [
            ("How long do refunds take?", "Refunds are paid within 14 days to the original payment method. [1]"),
            ("refund", "Refunds are paid within 14 days to the original payment method. [1]"),
            ("Are you open on Saturday?", "We are open on Saturdays from 9 to 14. [2]"),
            ("can i return a gift", "Yes, gifts can be returned with the receipt. [1]"),
            ("How can I pay?", "You may pay with: cards; bank transfer [1]"),
            ("Si i marr faturat?", "Faturat dërgohen me email çdo muaj. [3]"),
            ("A ka dërgesë falas?", "Dërgesat falas vlejnë për porositë mbi 5.000 lekë. [3]"),
        ]
    )
    func quotes(_ question: String, _ answer: String) {
        #expect(ExtractiveModel.answer(to: request(question, [Self.refunds, Self.hours, Self.albanian])) == answer)
    }

    @Test(
        "says that it found nothing, in the language of the question",
        arguments: [
            ("What is the capital of France?", "I found nothing about this in the knowledge base."),
            ("", "I found nothing about this in the knowledge base."),
            ("hello", "I found nothing about this in the knowledge base."),
            ("Sa kushton abonimi vjetor?", "Nuk gjeta asgjë për këtë në bazën e njohurive."),
            ("Përshëndetje, a flisni gjermanisht?", "Nuk gjeta asgjë për këtë në bazën e njohurive."),
        ]
    )
    func nothing(_ question: String, _ answer: String) {
        #expect(ExtractiveModel.answer(to: request(question, [Self.refunds, Self.hours, Self.albanian])) == answer)
        #expect(ExtractiveModel.answer(to: request(question)) == answer)
    }

    @Test("several passages are cited each for its own")
    func several() {
        let other = RetrievedPassage(number: 7, source: "More", content: "Refunds need a receipt [4] and **patience**.")
        let answer = ExtractiveModel.answer(to: request("refunds?", [Self.refunds, other]))
        #expect(answer.contains("payment method. [1]"))
        #expect(answer.hasSuffix("Refunds need a receipt (4) and patience. [7]"))
        #expect(Citations.numbers(in: answer, of: [Self.refunds, other]) == [1, 7])
    }

    @Test("streams the answer in pieces that make up the whole, and counts tokens as an estimate")
    func stream() async throws {
        let pieces = Watched([String]())
        let request = request("How long do refunds take?", [Self.refunds])
        let completion = try await ExtractiveModel().reply(to: request) { text in pieces.change { $0.append(text) } }
        #expect(pieces.current.joined() == ExtractiveModel.answer(to: request))
        #expect(pieces.current.count > 5)
        #expect(completion.usage.isEstimated)
        #expect(completion.usage.output == TokenEstimate.tokens(in: pieces.current.joined()))
        #expect(completion.reason == .stop)
        #expect(completion.model == "built-in extractive")

        var named = request
        named.model = "built-in extractive"
        #expect(try await ExtractiveModel().reply(to: named) { _ in } == completion)
        named.model = "gpt-4"
        #expect(ExtractiveModel().offers("built-in extractive") && !ExtractiveModel().offers("gpt-4"))
        await #expect(throws: ProviderError(.badRequest("unknown model"), provider: "builtin")) {
            try await ExtractiveModel().reply(to: named) { _ in }
        }
    }

    @Test(
        "sentences",
        arguments: [
            ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
            ("Dr. Smith came. He left.", ["Dr. Smith came.", "He left."]),
            ("Use e.g. this. J. Doe agrees.", ["Use e.g. this.", "J. Doe agrees."]),
            ("Version 2.0 is out. 5.000 lekë.", ["Version 2.0 is out.", "5.000 lekë."]),
            ("He said \"Stop.\" Then left.", ["He said \"Stop.\"", "Then left."]),
            ("一。二！三", ["一。", "二！", "三"]), ("...", []), ("", []),
        ]
    )
    func sentences(_ text: String, _ sentences: [String]) {
        #expect(PassageSentences.sentences(of: text) == sentences)
    }

    @Test(
        "words meet their forms and not their neighbours",
        arguments: [
            ("refund", "refunds", true), ("faturen", "faturat", true), ("open", "opening", true),
            ("pay", "pays", false),
            ("contact", "contract", false), ("price", "pricing", true), ("test", "testimony", false), ("a", "a", true),
        ]
    )
    func matching(_ left: String, _ right: String, _ isMatch: Bool) {
        #expect(Terms.match(left, right) == isMatch)
        #expect(Terms.match(right, left) == isMatch)
    }

    @Test("anything may be in a passage or a question", arguments: 0..<100)
    func anything(_ seed: UInt64) {
        var state = seed &+ 1
        func next(_ count: UInt64) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((state >> 33) % count)
        }
        let parts = [
            "refund", "?", ". ", "\n", "- ", "# ", "[1]", "**", "|", "```", "ë", "漢", "。", ":", "1. ", "\u{301}", "😀",
            " ",
        ]
        func text() -> String { (0..<next(60)).map { _ in parts[next(UInt64(parts.count))] }.joined() }
        let passages = (1...3).map { RetrievedPassage(number: $0, source: text(), content: text()) }
        let question = request(text(), passages)
        let answer = ExtractiveModel.answer(to: question)
        #expect(!answer.isEmpty)
        #expect(answer == ExtractiveModel.answer(to: question))
        #expect(ExtractiveModel.pieces(of: answer).joined() == answer)
    }
}

@Suite("Prices, estimates and citations")
struct ProviderPriceTests {
    @Test(
        "costs are exact",
        arguments: [
            ("gpt-4o-mini", 1_000_000, 1_000_000, "0.750000"), ("gpt-4o-mini", 500, 100, "0.000135"),
            ("gpt-4o-mini", 3, 0, "0.000000"), ("gpt-4o-mini", 4, 0, "0.000001"), ("gpt-4o-mini", 0, 0, "0.000000"),
            ("gpt-4o-mini-2024-07-18", 1_000_000, 0, "0.150000"), ("local-20250101", 1_000_000, 1, "1.000002"),
            ("built-in extractive", 10, 10, "0.000000"), ("gpt-4o", 1, 1, nil), ("gpt-4o-mini-tts", 1, 1, nil),
            ("gpt-4o-mini", .max, .max, nil), ("", 1, 1, nil),
        ] as [(String, Int64, Int64, String?)]
    )
    func costs(_ model: String, _ input: Int64, _ output: Int64, _ cost: String?) throws {
        let prices = try ModelPrices(
            ["gpt-4o-mini": ["input": 0.15, "output": "0.60"], "local": ["input": 1, "output": "2"]]
        )
        let usage = TokenUsage(input: input, output: output, isEstimated: false)
        #expect(prices.cost(of: usage, model: model)?.description == cost)
    }

    @Test(
        "prices that cannot be meant",
        arguments: [
            "[]", "{\"m\":1}", "{\"m\":{\"input\":1}}", "{\"m\":{\"input\":-1,\"output\":1}}",
            "{\"m\":{\"input\":\"0.1234567\",\"output\":1}}", "{\"m\":{\"input\":\"1e3\",\"output\":1}}",
            "{\"m\":{\"input\":1e300,\"output\":1}}", "{\"m\":{\"input\":\"\",\"output\":1}}",
            "{\"m\":{\"input\":\".5\",\"output\":1}}", "{\"m\":{\"input\":\"5.\",\"output\":1}}",
            "{\"m\":{\"input\":1,\"output\":1,\"cached\":1}}", "{\"m\":{\"input\":2000000,\"output\":1}}",
        ]
    )
    func badPrices(_ text: String) throws {
        let json = try JSON(parsing: text)
        #expect(throws: ModelPrices.Failure.self) { try ModelPrices(json) }
    }

    @Test("a quarter of the bytes, rounded up", arguments: [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("ëëë", 2)])
    func estimates(_ text: String, _ tokens: Int64) { #expect(TokenEstimate.tokens(in: text) == tokens) }

    @Test(
        "citations that exist, once each",
        arguments: [
            ("a [1] b [2].", [1, 2]), ("[2][1][2]", [2, 1]), ("[1, 2]", [1, 2]), ("[1;2]", [1, 2]), ("[9] [0]", []),
            ("[1 and 2]", []), ("[1", []), ("1]", []), ("[[1]]", [1]), ("[99999999999999999999]", []), ("", []),
            ("[ 1 ]", [1]),
        ]
    )
    func citations(_ text: String, _ numbers: [Int]) {
        let passages = (1...3).map { RetrievedPassage(number: $0, source: "", content: "") }
        #expect(Citations.numbers(in: text, of: passages) == numbers)
    }

    @Test(
        "errors of the protocol in all their forms",
        arguments: [
            (
                "{\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"param\":null,\"code\":null}}",
                ProviderError.Kind.overloaded
            ),
            ("{\"error\":{\"message\":\"m\",\"code\":429}}", .rateLimited),
            ("{\"error\":{\"message\":\"m\",\"code\":503,\"type\":\"unavailable_error\"}}", .overloaded),
            (
                "{\"object\":\"error\",\"message\":\"m\",\"type\":\"BadRequestError\",\"code\":400}",
                .badRequest("it refuses the request")
            ),
            ("{\"error\":\"model is loading\"}", .overloaded),
            ("{\"error\":{\"code\":\"insufficient_quota\"}}", .quotaExhausted),
            ("{\"error\":{\"type\":\"insufficient_quota\",\"code\":\"429\"}}", .quotaExhausted),
            (
                "{\"error\":{\"code\":\"content_filter\",\"type\":\"invalid_request_error\"}}",
                .badRequest("its content filter refused the prompt")
            ),
            ("{\"error\":7}", .overloaded),
        ]
    )
    func errorForms(_ text: String, _ kind: ProviderError.Kind) throws {
        let endpoint = OpenAIEndpoint(baseURL: try OutboundURL("https://x.y/v1"), access: .trusted)
        #expect(endpoint.failure(in: try JSON(parsing: text))?.kind == kind)
    }

    @Test("what is no error", arguments: ["{}", "{\"error\":null}", "[]", "{\"object\":\"list\"}"])
    func noErrors(_ text: String) throws {
        let endpoint = OpenAIEndpoint(baseURL: try OutboundURL("https://x.y/v1"), access: .trusted)
        #expect(endpoint.failure(in: try JSON(parsing: text)) == nil)
    }

    @Test(
        "refusals decide by status, code and the server's own hints",
        arguments: [
            (
                429, "{\"error\":{\"code\":\"slow_down\",\"type\":\"rate_limit_error\"}}", [:],
                ProviderError.Kind.rateLimited, true
            ),
            (429, "{\"error\":{\"code\":\"billing_hard_limit_reached\"}}", [:], .quotaExhausted, false),
            (429, "not json", ["retry-after-ms": "5"], .rateLimited, true),
            (429, "", ["x-should-retry": "false"], .rateLimited, false),
            (400, "", ["x-should-retry": "true"], .badRequest("it refuses the request"), true),
            (504, "", [:], .timedOut, true), (599, "", [:], .overloaded, true),
            (199, "", [:], .garbled("status 199"), true),
        ] as [(Int, String, [String: String], ProviderError.Kind, Bool)]
    )
    func refusals(
        _ status: Int,
        _ body: String,
        _ headers: [String: String],
        _ kind: ProviderError.Kind,
        _ isTransient: Bool
    ) throws {
        let endpoint = OpenAIEndpoint(baseURL: try OutboundURL("https://x.y/v1"), access: .trusted)
        let error = endpoint.failure(
            status: status,
            headers: OutboundHeaders(headers.map { ($0.key, $0.value) }),
            body: Array(body.utf8)
        )
        #expect(error.kind == kind)
        #expect(error.isTransient == isTransient)
    }
}
