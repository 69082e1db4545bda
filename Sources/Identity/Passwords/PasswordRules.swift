package import Kernel

/// What a password must be.
package enum PasswordRules {
    /// In code points.
    package static let length = 10...128

    static let schema = Schema.string(length)
    /// For endpoints that only compare: what would not be accepted today is still read.
    static let knownSchema = Schema.string(1...1_024)

    /// What is wrong with a password; nil when nothing is.
    ///
    /// - Parameters:
    ///   - email: The address that it will belong to.
    ///   - pointer: Where the password stands in what the caller sent.
    package static func error(in password: Secret, email: String, at pointer: String) -> FieldError? {
        let count = password.exposed.unicodeScalars.count
        if count < length.lowerBound {
            return FieldError(
                pointer: pointer,
                code: "too_short",
                detail: "must have at least \(length.lowerBound) characters"
            )
        }
        if count > length.upperBound {
            return FieldError(
                pointer: pointer,
                code: "too_long",
                detail: "must have at most \(length.upperBound) characters"
            )
        }
        if password.exposed.lowercased() == email.lowercased() {
            return FieldError(pointer: pointer, code: "not_allowed", detail: "must not be the e-mail address")
        }
        return nil
    }

    static func check(_ password: Secret, email: String, at pointer: String) throws(Problem) {
        if let error = error(in: password, email: email, at: pointer) { throw .invalid([error]) }
    }
}
