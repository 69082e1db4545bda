import App
import ArgumentParser
import Kernel
import Logging

struct UserCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "user",
        abstract: "Help people with their accounts.",
        subcommands: [ResetPassword.self]
    )
}

struct ResetPassword: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset-password",
        abstract: "Give an account another password and end all its sessions.",
        discussion: """
            Prints a new random password, once. Servers may go on running; they notice within ten seconds. Make sure that \
            you talk to whom the account belongs to.
            """
    )

    @OptionGroup var common: CommonOptions

    @Argument(help: "The e-mail address of the account.")
    var email: String

    @Flag(name: .long, help: "Read the new password from the first line of standard input; print none.")
    var passwordStdin = false

    func run() async throws {
        let settings = try await common.settings(quiet: true)
        let logger = Telemetry.start(level: settings.logLevel)
        try await reportingErrors {
            var chosen: Secret?
            if passwordStdin {
                guard let line = readLine(strippingNewline: true) else {
                    throw CommandError("there is no password on standard input")
                }
                chosen = Secret(line)
            }
            let password = try await Administration.resetPassword(of: email, to: chosen, settings, logger: logger)
            say(chosen == nil ? password.exposed : "the password was changed")
        }
    }
}

struct OrganizationCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "organization",
        abstract: "Suspend and resume organizations.",
        subcommands: [Suspend.self, Resume.self]
    )
}

struct Suspend: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Let nobody act in an organization until it is resumed.",
        discussion: "Its data stays as it is. Servers may go on running; they notice within ten seconds."
    )

    @OptionGroup var common: CommonOptions

    @Argument(help: "The slug of the organization.")
    var slug: String

    func run() async throws {
        let settings = try await common.settings(quiet: true)
        let logger = Telemetry.start(level: settings.logLevel)
        try await reportingErrors {
            let isNew = try await Administration.suspend(slug, settings, logger: logger)
            say(isNew ? "suspended \(slug)" : "\(slug) was suspended already")
        }
    }
}

struct Resume: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lift the suspension of an organization.")

    @OptionGroup var common: CommonOptions

    @Argument(help: "The slug of the organization.")
    var slug: String

    func run() async throws {
        let settings = try await common.settings(quiet: true)
        let logger = Telemetry.start(level: settings.logLevel)
        try await reportingErrors {
            let isNew = try await Administration.resume(slug, settings, logger: logger)
            say(isNew ? "resumed \(slug)" : "\(slug) was active already")
        }
    }
}
