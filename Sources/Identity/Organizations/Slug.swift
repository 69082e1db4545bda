/// The name of an organization in addresses: lower-case ASCII letters and digits with single hyphens between them.
package enum Slug {
    package static let length = 2...63

    /// Names that the product's own pages and hosts may need.
    package static let reserved: Set<String> = [
        "about", "account", "accounts", "admin", "administrator", "api", "app", "assets", "auth", "billing", "blog",
        "cdn",
        "contact", "dashboard", "demo", "dev", "docs", "download", "edge", "email", "events", "files", "ftp", "healthz",
        "help", "home", "hooks", "imap", "internal", "kuvend", "legal", "login", "logout", "mail", "me", "metrics",
        "new",
        "news", "ns", "null", "oauth", "ops", "organization", "organizations", "owner", "pop", "postmaster", "pricing",
        "privacy", "public", "readyz", "root", "security", "settings", "signin", "signup", "smtp", "staging", "static",
        "status", "support", "system", "team", "terms", "test", "user", "users", "web", "webhook", "webhooks", "widget",
        "www",
    ]

    package static func isReserved(_ slug: String) -> Bool { reserved.contains(slug) }

    /// A slug made from a name: Latin letters lose their marks (`Çëlësi i Artë` becomes `celesi-i-arte`), whatever else
    /// is not a letter or digit separates words.
    ///
    /// A name that leaves nothing becomes `company`.
    ///
    /// - Parameter suffix: Told apart from a slug that is taken; appended after a hyphen.
    package static func made(from name: String, suffix: String? = nil) -> String {
        var slug = ""
        var isPending = false
        for scalar in name.lowercased().unicodeScalars {
            guard let letters = ascii(scalar) else {
                isPending = !slug.isEmpty
                continue
            }
            if letters.isEmpty { continue }
            if isPending { slug += "-" }
            isPending = false
            slug += letters
        }
        let longest = length.upperBound - (suffix.map { $0.utf8.count + 1 } ?? 0)
        slug = String(slug.prefix(min(longest, 48)))
        while slug.hasSuffix("-") { slug.removeLast() }
        if slug.isEmpty { slug = "company" }
        if let suffix { return "\(slug)-\(suffix)" }
        return slug.utf8.count < length.lowerBound || isReserved(slug) ? "\(slug)-org" : slug
    }

    /// Five letters and digits that tell slugs of the same name apart.
    static func randomSuffix() -> String {
        let alphabet = Array("abcdefghijkmnpqrstuvwxyz23456789")
        return String((0..<5).compactMap { _ in alphabet.randomElement() })
    }

    /// The letters for one lower-case character; empty for a mark that belongs to the letter before, nil for whatever
    /// separates words.
    private static func ascii(_ scalar: Unicode.Scalar) -> String? {
        switch scalar {
        case "a"..."z", "0"..."9": return String(Character(scalar))
        case "'", "’", "\u{300}"..."\u{36F}": return ""
        case "à"..."å", "ā", "ă", "ą", "ǎ": return "a"
        case "æ": return "ae"
        case "ç", "ć", "ĉ", "ċ", "č": return "c"
        case "ď", "đ", "ð": return "d"
        case "è"..."ë", "ē", "ĕ", "ė", "ę", "ě": return "e"
        case "ĝ", "ğ", "ġ", "ģ": return "g"
        case "ĥ", "ħ": return "h"
        case "ì"..."ï", "ĩ", "ī", "ĭ", "į", "ı": return "i"
        case "ĵ": return "j"
        case "ķ": return "k"
        case "ĺ", "ļ", "ľ", "ł": return "l"
        case "ñ", "ń", "ņ", "ň": return "n"
        case "ò"..."ö", "ø", "ō", "ŏ", "ő": return "o"
        case "œ": return "oe"
        case "ŕ", "ŗ", "ř": return "r"
        case "ś", "ŝ", "ş", "š", "ș": return "s"
        case "ß": return "ss"
        case "ţ", "ť", "ț": return "t"
        case "þ": return "th"
        case "ù"..."ü", "ũ", "ū", "ŭ", "ů", "ű", "ų": return "u"
        case "ŵ": return "w"
        case "ý", "ÿ", "ŷ": return "y"
        case "ź", "ż", "ž": return "z"
        default: return nil
        }
    }
}
