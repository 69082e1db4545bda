-- The statement of "page of 50 messages" (Sources/Messaging/Messages/MessageStore.swift) in its transaction, one by one.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT set_config('kuvend.organization_id', :organization, true), set_config('kuvend.purpose', '', true);
SELECT m.id, m.conversation_id, m.direction, m.role, m.content, m.external_id, m.metadata, m.created_at FROM conversations c LEFT JOIN (SELECT id, conversation_id, direction, role, content, external_id, metadata, created_at FROM messages m WHERE m.organization_id = :organization::uuid AND m.conversation_id = :conversation::uuid ORDER BY m.created_at DESC, m.id DESC LIMIT 51) m ON m.conversation_id = c.id WHERE c.organization_id = :organization::uuid AND c.id = :conversation::uuid ORDER BY m.created_at DESC, m.id DESC;
COMMIT;
