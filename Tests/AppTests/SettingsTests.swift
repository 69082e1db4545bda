import App
import Testing
import Web

@Suite("Settings")
struct SettingsTests {
    @Test(
        "without a public address it is one that a browser on this machine can open",
        arguments: [
            ("127.0.0.1", "http://127.0.0.1:8080"), ("192.0.2.7", "http://192.0.2.7:8080"),
            ("kuvend.example", "http://kuvend.example:8080"), ("::1", "http://[::1]:8080"),
            ("2001:db8::7", "http://[2001:db8::7]:8080"), ("fe80::1%eth0", "http://[fe80::1%25eth0]:8080"),
            ("0.0.0.0", "http://localhost:8080"), ("::", "http://localhost:8080"),
            ("0:0:0:0:0:0:0:0", "http://localhost:8080"),
        ]
    )
    func publicURL(host: String, url: String) async throws {
        #expect(try await Settings.load(environment: ["KUVEND_HOST": host]).web.publicURL == url)
    }

    @Test("a model has a minute to begin an answer, or what is said")
    func startTimeout() async throws {
        #expect(try await Settings.load(environment: [:]).modelStartTimeout == .seconds(60))
        let longer = try await Settings.load(environment: ["KUVEND_LLM_START_TIMEOUT": "300"])
        #expect(longer.modelStartTimeout == .seconds(300))
        for text in ["4", "601", "a minute"] {
            await #expect(throws: CommandError.self) {
                _ = try await Settings.load(environment: ["KUVEND_LLM_START_TIMEOUT": text])
            }
        }
    }

    @Test("a public address stays as it is")
    func givenURL() async throws {
        let environment = ["KUVEND_HOST": "::", "KUVEND_PUBLIC_URL": "https://chat.example"]
        #expect(try await Settings.load(environment: environment).web.publicURL == "https://chat.example")
    }
}
