-- The statements of "post a message" (Sources/Messaging/Messages/MessageService.swift), one by one.
--
-- Ids grow with :i, as the server's grow with time.
\set i :i + 1
\set n random(1, :conversations)
BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT set_config('kuvend.organization_id', :organization, true), set_config('kuvend.purpose', '', true);
SELECT id, contact_id, channel_id, ai_agent_id, status, handled_by, version, reply_state, reply_error, last_sequence, exclusive, external_id, metadata, last_message_at, created_at, updated_at FROM conversations WHERE organization_id = :organization::uuid AND id = ('0000be4c-0000-7000-8000-' || lpad(:n::text, 12, '0'))::uuid FOR UPDATE \gset
SELECT epoch, state, error, question_id, started_at FROM answerings WHERE organization_id = :organization::uuid AND conversation_id = :id::uuid;
INSERT INTO messages (organization_id, id, conversation_id, direction, role, content, external_id, metadata, created_at) VALUES (:organization::uuid, (lpad(to_hex(:i::bigint), 12, '0') || '70008000' || lpad(:client_id::text, 12, '0'))::uuid, :id::uuid, 'inbound', 'user', :content, NULL, '{}', now());
INSERT INTO conversation_events (organization_id, conversation_id, sequence, type, message_id, data, created_at) VALUES (:organization::uuid, :id::uuid, :last_sequence::bigint + 1, 'message.created', (lpad(to_hex(:i::bigint), 12, '0') || '70008000' || lpad(:client_id::text, 12, '0'))::uuid, '{}', now());
INSERT INTO events (transaction_number, organization_id, id, type, resource, subject_id, actor_kind, actor_id, data, changes, request_id, ip_address, user_agent, created_at) VALUES ((pg_current_xact_id()::text)::bigint, :organization::uuid, (lpad(to_hex(:i::bigint), 12, '0') || '70008000' || lpad(:client_id::text, 12, '0'))::uuid, 'message.created', 'message', :id, 'api_key', :id, :data, NULL, :id, '127.0.0.1', NULL, now());
UPDATE conversations SET status = 'active', handled_by = 'human', version = :version, reply_state = 'idle', reply_error = NULL, last_sequence = :last_sequence::bigint + 1, metadata = '{}', last_message_at = now(), updated_at = now() WHERE organization_id = :organization::uuid AND id = :id::uuid;
COMMIT;
