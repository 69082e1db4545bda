package import Kernel

/// How the server is set up.
///
/// App reads it from the environment; each key is documented there.
package struct WebConfiguration: Sendable {
    /// A share of uses in a time.
    package struct Rate: Sendable, Hashable {
        package let limit: Int
        package let period: Duration

        package init(_ limit: Int, per period: Duration) {
            self.limit = limit
            self.period = period
        }
    }

    package var host = "127.0.0.1"
    /// 0 lets the system choose; `WebServer` tells which it was.
    package var port = 8080
    /// How callers reach the server, without a slash at the end: for the API description.
    package var publicURL = "http://127.0.0.1:8080"
    package var version = "0.0.0"

    /// In bytes, for endpoints that do not set their own.
    package var bodyLimit = 1 << 20
    /// In bytes, of all request bodies that are being read or worked on.
    ///
    /// One caller may hold a quarter; the largest body that an endpoint takes fits in any case.
    package var bodyBudget = 256 << 20
    package var bodyDeadline = Duration.seconds(30)
    package var idleTimeout = Duration.seconds(60)
    package var stallTimeout = Duration.seconds(60)
    package var heartbeat = Duration.seconds(15)
    /// How often the caller's right to read an open stream is checked again.
    package var streamCheck = Duration.seconds(10)
    /// After this time a stream ends, and its reader comes back.
    package var streamLifetime = Duration.seconds(15 * 60)
    package var streamsPerActor = 50
    package var streamsPerOrganization = 1_000
    /// How long running requests may go on after a shutdown has begun.
    package var shutdownGrace = Duration.seconds(20)
    /// More connections than this wait in the listen queue; nil for no limit.
    package var maximumConnections: Int? = 10_000

    /// Per caller; nil for none.
    package var apiRate: Rate? = Rate(6_000, per: .seconds(60))
    /// Per organization, for all its callers together; nil for none.
    package var organizationRate: Rate? = Rate(60_000, per: .seconds(60))
    /// Of answers 401 per client address, after which credentials that are new to it are not looked at; nil for none.
    package var failedAuthenticationRate: Rate? = Rate(60, per: .seconds(60))
    /// Per client address on endpoints that check credentials; nil for none.
    package var authenticationRate: Rate? = Rate(10, per: .seconds(60))
    /// For how long `/readyz` repeats what its checks said.
    package var readinessInterval = Duration.seconds(1)
    /// Whose `X-Forwarded-For` is believed.
    package var trustedProxies: [AddressBlock] = []

    /// Origins whose pages may call the API, such as `https://app.example.com`, or `*`; none is off.
    package var allowedOrigins: [String] = []
    /// 1 to 9; 0 is off.
    package var gzipLevel = 2
    /// What `/metrics` asks for as a bearer token; nil when anybody may read it.
    package var metricsToken: Secret?
    /// Requests that take longer are logged at `info`.
    package var slowRequest = Duration.seconds(2)
    /// Holds handlers to the answers that their endpoints declare: for tests, as it reads every answer.
    package var verifiesResponses = false

    package init() {}
}
