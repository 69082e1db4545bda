import Kernel
import Storage

/// Full-text search over the messages of an organization.
struct MessageSearch {
    let tx: any Transaction
    let scope: OrganizationScope

    func find(_ words: SearchWords, _ page: PageRequest) throws -> Page<Message> {
        var conditions: [SQL] = [
            "organization_id = \(scope.id)",
            tx.matches(words, .all, in: "messages", column: "content", of: scope),
        ]
        if let after = page.after {
            conditions.append("(created_at, id) < (\(after.time), \(after.id(of: Message.self)))")
        }
        let rows: [Message] = try tx.all(
            """
            SELECT \(MessageStore.columns) FROM messages WHERE \(SQL.join(conditions, " AND "))
            ORDER BY created_at DESC, id DESC LIMIT \(limit: page.limit + 1)
            """
        )
        return Page(cutting: rows, to: page.limit) { Cursor(time: $0.createdAt, id: $0.id) }
    }
}
