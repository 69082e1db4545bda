import Kernel
import Logging
import Storage
import Synchronization

/// One key was used at a moment.
struct APIKeyUse: Sendable {
    let key: ID<APIKeyEntity>
    let organization: ID<OrganizationEntity>
    let at: Timestamp
}

/// Collects when keys were used and writes it down now and then, so that no request waits for it.
final class APIKeyUsage: Sendable {
    /// How often it is written down, at most.
    static let interval = Duration.seconds(60)
    private static let batchLimit = 500

    private let database: any Database
    private let uses = Mutex<[ID<APIKeyEntity>: APIKeyUse]>([:])

    init(database: any Database) { self.database = database }

    func note(_ key: LiveKey, at now: Timestamp) {
        uses.withLock { $0[key.id] = APIKeyUse(key: key.id, organization: key.organization, at: now) }
    }

    /// Writes down what was collected; what fails is collected again unless the key was used since.
    func runOnce() async throws {
        while true {
            let batch = uses.withLock { uses in
                let batch = uses.values.prefix(Self.batchLimit).map(\.self)
                for use in batch { uses[use.key] = nil }
                return batch
            }
            guard !batch.isEmpty else { return }
            do {
                // In one order everywhere, so that nodes do not wait for each other in a circle.
                let ordered = batch.sorted { $0.key < $1.key }
                try await database.write(for: .authentication, isolation: .readCommitted) { tx in
                    try APIKeyStore.touch(ordered, in: tx)
                }
            } catch {
                uses.withLock { uses in
                    for use in batch where uses[use.key] == nil { uses[use.key] = use }
                }
                throw error
            }
        }
    }
}
