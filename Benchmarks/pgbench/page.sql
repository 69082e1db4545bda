-- The statement of "page of 50 messages" (Sources/Messaging/Messages/MessageStore.swift), one by one.
--
-- The server's statements share a transaction because they share a Sync; one by one they need BEGIN and COMMIT for that.
BEGIN;
SELECT set_config('kuvend.organization_id', :organization, true), set_config('kuvend.purpose', '', true);
SELECT id, conversation_id, direction, role, content, external_id, metadata, created_at FROM messages WHERE organization_id = :organization::uuid AND conversation_id = :conversation::uuid ORDER BY created_at DESC, id DESC LIMIT 51;
COMMIT;
