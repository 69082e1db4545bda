-- The statement of "list of 20 conversations" (Sources/Messaging/Conversations/ConversationStore.swift), one by one.
BEGIN;
SELECT set_config('kuvend.organization_id', :organization, true), set_config('kuvend.purpose', '', true);
SELECT id, contact_id, channel_id, ai_agent_id, status, handled_by, version, reply_state, reply_error, last_sequence, exclusive, external_id, metadata, last_message_at, created_at, updated_at FROM conversations WHERE organization_id = :organization::uuid ORDER BY created_at DESC, id DESC LIMIT 21;
COMMIT;
