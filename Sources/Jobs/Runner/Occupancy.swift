import Kernel

/// Who holds how many slots of a lane on this node, and how many more each may have.
///
/// An organization holds at most half of the slots that no other one holds, and at least one. So a free slot is left for
/// whoever comes later, behind several greedy ones too: of 256, one alone holds 128, a second 64, a third 32. Work of the
/// product itself, which belongs to the organization zero, is exempt.
struct Occupancy: Sendable {
    let size: Int
    private(set) var held: [ID<OrganizationEntity>: Int] = [:]
    /// All slots that are held.
    private(set) var total = 0

    init(size: Int) { self.size = max(size, 0) }

    var free: Int { max(size - total, 0) }

    /// How many more slots an organization may take now.
    func allowance(of organization: ID<OrganizationEntity>) -> Int {
        guard organization != .zero else { return free }
        let own = held[organization] ?? 0
        let most = max((size - (total - own)) / 2, 1)
        return min(max(most - own, 0), free)
    }

    /// The organizations that may take no more slots.
    var full: [ID<OrganizationEntity>] { held.keys.filter { allowance(of: $0) == 0 } }

    mutating func take(_ count: Int, for organization: ID<OrganizationEntity>) {
        guard count > 0 else { return }
        held[organization, default: 0] += count
        total += count
    }

    mutating func release(_ organization: ID<OrganizationEntity>) {
        guard let own = held[organization] else { return }
        held[organization] = own > 1 ? own - 1 : nil
        total -= 1
    }

    /// Gives free slots to organizations in turns, one each, until nobody may take another.
    ///
    /// - Parameter limit: So many slots at most.
    /// - Returns: How many each may take, in their order.
    func shares(among organizations: [ID<OrganizationEntity>], limit: Int = .max) -> [Int] {
        var after = self
        var shares = organizations.map { _ in 0 }
        var waiting = Array(organizations.indices)
        while !waiting.isEmpty {
            waiting = waiting.filter { index in
                guard after.total - total < limit, after.allowance(of: organizations[index]) > 0 else { return false }
                after.take(1, for: organizations[index])
                shares[index] += 1
                return true
            }
        }
        return shares
    }
}
