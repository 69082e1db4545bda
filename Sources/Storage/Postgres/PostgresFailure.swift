import CPostgres
import Kernel

/// Why statements of a connection had no result.
struct PostgresFailure: Error {
    enum Cause {
        /// The server refused a statement and lives on.
        case refused
        /// The server said goodbye, in so many words: what it was asked after that did not happen.
        case ended
        /// The connection broke, or the two sides lost count of each other. What happened to unanswered statements is
        /// not known.
        case lost
        /// The deadline passed while the server was at work.
        case late
    }

    let cause: Cause
    /// SQLSTATE; empty when the server said none.
    let code: String
    let message: String
    var constraint = ""
    var column = ""
    /// What the failed statement's caller knows about its constraints.
    var violations: [ConstraintMapping] = []
    /// COMMIT itself failed, not a statement before it.
    var isCommit = false

    static func lost(_ message: String) -> PostgresFailure { PostgresFailure(cause: .lost, code: "", message: message) }

    static let late = PostgresFailure(cause: .late, code: "57014", message: "the deadline passed")

    init(cause: Cause, code: String, message: String) {
        self.cause = cause
        self.code = code
        self.message = message
    }

    /// Reads the fields of a failed result.
    init(result: OpaquePointer, isConnected: Bool) {
        func field(_ name: Unicode.Scalar) -> String {
            PQresultErrorField(result, Int32(name.value)).map { String(cString: $0) } ?? ""
        }
        code = field("C")
        constraint = field("n")
        column = field("c")
        let words = field("M")
        message = words.isEmpty ? Self.trimmed(PQresultErrorMessage(result)) : words
        let severity = field("V")
        if code.isEmpty {
            cause = .lost
        } else if severity == "FATAL" || severity == "PANIC" {
            cause = .ended
        } else {
            // A connection that is gone although the server refused only the statement is noticed by its next use.
            cause = .refused
        }
    }

    /// The words of libpq without the line break at their end.
    static func trimmed(_ message: UnsafePointer<CChar>?) -> String {
        guard let message else { return "unknown" }
        var text = String(cString: message)
        while text.last?.isWhitespace == true { text.removeLast() }
        return text.isEmpty ? "unknown" : text
    }

    /// What a transaction does about it.
    enum Remedy {
        /// Tell the caller.
        case none
        /// Run the body again: other transactions were in the way.
        case rerun
        /// Forget the prepared statements and run the body again, once: the schema has changed under them.
        case prepareAgain
        /// Run the body again on another connection.
        case reconnect
    }

    var remedy: Remedy {
        switch cause {
        case .late: return .none
        case .lost, .ended: return .reconnect
        case .refused: break
        }
        switch code {
        case "40001", "40P01": return .rerun
        case "0A000", "26000": return .prepareAgain
        case "57P01", "57P02", "57P03", "57P05": return .reconnect
        default: return code.hasPrefix("08") ? .reconnect : .none
        }
    }

    /// What the caller is told.
    var error: any Error {
        switch code {
        case "23505": violation(.unique(constraint))
        case "23514", "23P01": violation(.check(constraint))
        case "23503": violation(.foreignKey)
        case "23502": violation(.check("not_null:\(column)"))
        case "22021", "22P05": StorageError.unstorable(message)
        case "57014", "25P04": StorageError.timedOut
        case "53100": StorageError.full
        case "": StorageError.unavailable(message)
        default:
            if remedy == .reconnect || code.hasPrefix("53") {
                StorageError.unavailable(message)
            } else {
                StorageError.database(code: code, message: message)
            }
        }
    }

    private func violation(_ constraint: ConstraintMapping.Constraint) -> any Error {
        violations.error(for: constraint, otherwise: .violation(constraint))
    }
}
