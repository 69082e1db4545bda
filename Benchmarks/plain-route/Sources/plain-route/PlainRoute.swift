import Foundation
import Hummingbird
import Logging

/// Answers every GET of `/` with the bytes of a file: `plain-route BYTES PORT-FILE`.
@main
struct PlainRoute {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 3 else { fatalError("plain-route BYTES PORT-FILE") }
        let body = ByteBuffer(bytes: try Data(contentsOf: URL(fileURLWithPath: arguments[1])))
        let portFile = URL(fileURLWithPath: arguments[2])
        let router = Router()
        router.get("/") { _, _ in
            Response(status: .ok, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: body))
        }
        var logger = Logger(label: "plain-route")
        logger.logLevel = .error
        let application = Application(
            router: router,
            configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: 0)),
            onServerRunning: { channel in
                let port = channel.localAddress?.port ?? 0
                try? Data("\(port)".utf8).write(to: portFile, options: .atomic)
            },
            logger: logger
        )
        try await application.runService()
    }
}
