import App
import ArgumentParser

@main
struct Kuvend: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kuvend",
        abstract: "Answers your customers with AI: agents, knowledge, conversations, for many organizations at once.",
        discussion: """
            Settings come from flags, then from KUVEND_* in the environment, then from a file (--config). \
            `kuvend serve --help` lists them.
            """,
        version: Version.current,
        subcommands: [
            Serve.self, Migrate.self, DemoCommand.self, OpenAPICommand.self, DoctorCommand.self, Backup.self,
            UserCommand.self, OrganizationCommand.self, VersionCommand.self,
        ]
    )
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "version", abstract: "Print the version.")

    func run() { print("kuvend \(Version.current)") }
}
