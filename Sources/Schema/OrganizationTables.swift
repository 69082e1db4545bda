extension ProductSchema {
    /// Every table with rows of organizations by the column `organization_id`, those that refer to others first: the
    /// order in which an organization is deleted.
    ///
    /// A test holds it to the database.
    package static let organizationTables = [
        "idempotency_keys", "jobs", "events", "audit_logs", "webhook_subscriptions",
        "call_transcripts", "call_turns", "call_sessions",
        "usage_entries", "usage", "subscriptions",
        "workflow_runs", "workflows",
        "document_chunks", "knowledge_documents", "knowledge_sources",
        "conversation_events", "messages", "conversations", "contacts", "channels", "ai_agents",
        "refresh_tokens", "sessions", "api_keys", "invitations", "memberships", "users",
    ]
}
