import CPostgres
package import Kernel

/// How to reach a PostgreSQL server, and how much of it to use.
package struct PostgresConfiguration: Sendable {
    /// `postgresql://…` or libpq's `key=value` form.
    ///
    /// Handed to libpq as it is, so its TLS settings work.
    package var url: Secret
    /// 1–200.
    ///
    /// The transactions that run at a time on this node; others wait in order.
    package var maximumConnections: Int
    /// The role that transactions run as.
    ///
    /// nil: the URL's own user.
    package var role: String?
    /// How long a transaction waits for a connection.
    package var acquireTimeout: Duration
    /// How long a transaction may take, its re-runs included.
    package var transactionTimeout: Duration
    package var connectTimeout: Duration
    /// 1 or more.
    ///
    /// How often a body runs before its conflicts are given up. Between two runs are up to 128 ms.
    package var maximumAttempts: Int

    package init(
        url: Secret,
        maximumConnections: Int = 10,
        role: String? = "kuvend_app",
        acquireTimeout: Duration = .seconds(5),
        transactionTimeout: Duration = .seconds(30),
        connectTimeout: Duration = .seconds(5),
        maximumAttempts: Int = 30
    ) {
        self.url = url
        self.maximumConnections = min(max(maximumConnections, 1), 200)
        self.role = role
        self.acquireTimeout = acquireTimeout
        self.transactionTimeout = transactionTimeout
        self.connectTimeout = connectTimeout
        self.maximumAttempts = max(maximumAttempts, 1)
    }
}

extension PostgresConfiguration {
    /// Whether libpq understands a URL.
    ///
    /// Its complaint is not handed on: it may quote the URL, password and all.
    package static func canRead(_ url: Secret) -> Bool {
        var complaint: UnsafeMutablePointer<CChar>?
        guard let options = PQconninfoParse(url.exposed, &complaint) else {
            PQfreemem(complaint)
            return false
        }
        PQconninfoFree(options)
        return true
    }
}
