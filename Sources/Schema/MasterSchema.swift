import Kernel
import Storage

/// Migration 100: all tables of the product and what the queue, the feed and the web layer keep beside them.
enum MasterSchema {
    static var statements: [SQL] {
        [
            RowSecurity.role, RowSecurity.membership, RowSecurity.postgres("CREATE EXTENSION IF NOT EXISTS vector"),
            RowSecurity.postgres("GRANT USAGE ON SCHEMA public TO \(ProductSchema.serverRole)"),
            RowSecurity.postgres("GRANT SELECT ON schema_migrations TO \(ProductSchema.serverRole)"),
        ]
            + billingCatalogue + identity + messaging + agents + knowledge + workflows + billing + voice + webhooks
            + audit + jobs + events + web
    }

    // MARK: Identity

    private static var identity: [SQL] {
        [
            """
            CREATE TABLE organizations (
                id \(.uuid) NOT NULL PRIMARY KEY,
                name \(.text) NOT NULL,
                slug \(.text) NOT NULL,
                plan \(.text) REFERENCES plans (id),
                status \(.text) NOT NULL DEFAULT 'active',
                settings \(.json) NOT NULL,
                deleted_at \(.timestamp),
                created_at \(.timestamp) NOT NULL,
                updated_at \(.timestamp) NOT NULL,
                CONSTRAINT organizations_slug_key UNIQUE (slug),
                CONSTRAINT organizations_name_check CHECK (length(name) BETWEEN 1 AND 120),
                CONSTRAINT organizations_slug_check CHECK (length(slug) BETWEEN 2 AND 63),
                CONSTRAINT organizations_status_check CHECK (status IN ('active', 'suspended', 'deleted')),
                CONSTRAINT organizations_deleted_at_check CHECK ((status = 'deleted') = (deleted_at IS NOT NULL))
            )
            """,
            "CREATE INDEX organizations_deleted_at_idx ON organizations (deleted_at) WHERE deleted_at IS NOT NULL",
            """
            CREATE TABLE users (
                id \(.uuid) NOT NULL PRIMARY KEY,
                organization_id \(.uuid) NOT NULL,
                email \(.text) NOT NULL,
                name \(.text) NOT NULL,
                password_hash \(.text),
                role \(.text) NOT NULL,
                email_verified \(.timestamp),
                image \(.text),
                created_at \(.timestamp) NOT NULL,
                updated_at \(.timestamp) NOT NULL,
                CONSTRAINT users_email_key UNIQUE (email),
                CONSTRAINT users_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id),
                CONSTRAINT users_role_check CHECK (role IN ('owner', 'admin', 'member')),
                CONSTRAINT users_email_check CHECK (length(email) BETWEEN 3 AND 254)
            )
            """,
            "CREATE INDEX users_organization_id_idx ON users (organization_id)",
            """
            CREATE TABLE memberships (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                user_id \(.uuid) NOT NULL REFERENCES users (id),
                role \(.text) NOT NULL,
                created_at \(.timestamp) NOT NULL,
                updated_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, user_id),
                CONSTRAINT memberships_role_check CHECK (role IN ('owner', 'admin', 'member'))
            )
            """,
            "CREATE INDEX memberships_user_id_idx ON memberships (user_id, organization_id)",
            "CREATE INDEX memberships_created_at_idx ON memberships (organization_id, created_at, user_id)",
            """
            CREATE TABLE invitations (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                email \(.text) NOT NULL,
                role \(.text) NOT NULL,
                code_hash \(.text) NOT NULL,
                invited_by \(.uuid) REFERENCES users (id) ON DELETE SET NULL,
                created_at \(.timestamp) NOT NULL,
                expires_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id),
                CONSTRAINT invitations_organization_id_email_key UNIQUE (organization_id, email),
                CONSTRAINT invitations_code_hash_key UNIQUE (code_hash),
                CONSTRAINT invitations_role_check CHECK (role IN ('owner', 'admin', 'member')),
                CONSTRAINT invitations_email_check CHECK (length(email) BETWEEN 3 AND 254)
            )
            """,
            "CREATE INDEX invitations_created_at_idx ON invitations (organization_id, created_at, id)",
            "CREATE INDEX invitations_expires_at_idx ON invitations (expires_at)",
            "CREATE INDEX invitations_invited_by_idx ON invitations (invited_by)",
            """
            CREATE TABLE api_keys (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                name \(.text) NOT NULL,
                key_hash \(.text) NOT NULL,
                key_prefix \(.text) NOT NULL,
                permissions \(.textArray) NOT NULL,
                last_used_at \(.timestamp),
                expires_at \(.timestamp),
                created_by \(.uuid) REFERENCES users (id) ON DELETE SET NULL,
                created_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id),
                CONSTRAINT api_keys_key_hash_key UNIQUE (key_hash),
                CONSTRAINT api_keys_name_check CHECK (length(name) BETWEEN 1 AND 120)
            )
            """,
            "CREATE INDEX api_keys_created_at_idx ON api_keys (organization_id, created_at, id)",
            "CREATE INDEX api_keys_created_by_idx ON api_keys (created_by)",
            """
            CREATE TABLE sessions (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                user_id \(.uuid) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                family_id \(.uuid) NOT NULL,
                user_agent \(.text),
                ip_address \(.inet),
                signed_in_at \(.timestamp) NOT NULL,
                created_at \(.timestamp) NOT NULL,
                expires_at \(.timestamp) NOT NULL,
                revoked_at \(.timestamp),
                revoked_reason \(.text),
                PRIMARY KEY (organization_id, id)
            )
            """,
            "CREATE INDEX sessions_user_id_idx ON sessions (user_id, family_id)",
            "CREATE INDEX sessions_expires_at_idx ON sessions (expires_at)",
            """
            CREATE TABLE refresh_tokens (
                organization_id \(.uuid) NOT NULL,
                session_id \(.uuid) NOT NULL,
                token_hash \(.text) NOT NULL,
                used_at \(.timestamp),
                successor \(.bytes),
                created_at \(.timestamp) NOT NULL,
                expires_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, session_id, token_hash),
                CONSTRAINT refresh_tokens_token_hash_key UNIQUE (token_hash),
                CONSTRAINT refresh_tokens_session_fkey FOREIGN KEY (organization_id, session_id)
                    REFERENCES sessions (organization_id, id) ON DELETE CASCADE
            )
            """,
            """
            CREATE INDEX refresh_tokens_successor_idx ON refresh_tokens (organization_id, session_id)
            WHERE successor IS NOT NULL
            """,
            "CREATE INDEX refresh_tokens_expires_at_idx ON refresh_tokens (expires_at)",
        ]
            + RowSecurity.tenant(
                "organizations",
                column: "id",
                select: ["authentication", "feed", "maintenance"],
                update: ["maintenance"]
            )
            + RowSecurity.tenant(
                "users",
                also: """
                    EXISTS (SELECT 1 FROM memberships WHERE memberships.user_id = users.id AND memberships.organization_id
                        = (SELECT nullif(current_setting('kuvend.organization_id', true), '')::uuid))
                    """,
                select: ["authentication"],
                update: ["authentication"],
                delete: ["authentication"]
            )
            + RowSecurity.tenant("memberships", delete: ["authentication"])
            + RowSecurity.tenant("invitations", select: ["authentication"], delete: ["maintenance"])
            + RowSecurity.tenant("api_keys", select: ["authentication"], update: ["authentication"])
            + RowSecurity.tenant("sessions", all: ["authentication"], delete: ["maintenance"])
            + RowSecurity.tenant("refresh_tokens", all: ["authentication"], delete: ["maintenance"])
    }

    // MARK: Messaging

    private static var messaging: [SQL] {
        [
            """
            CREATE TABLE channels (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                name \(.text) NOT NULL,
                type \(.text) NOT NULL,
                settings \(.json) NOT NULL,
                ai_agent_id \(.uuid),
                single_conversation BOOLEAN NOT NULL,
                is_active BOOLEAN NOT NULL,
                created_at \(.timestamp) NOT NULL,
                updated_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id),
                CONSTRAINT channels_type_check CHECK (type IN ('widget', 'whatsapp', 'voice', 'api')),
                CONSTRAINT channels_name_check CHECK (length(name) BETWEEN 1 AND 120)
            )
            """,
            "CREATE INDEX channels_created_at_idx ON channels (organization_id, created_at, id)",
            """
            CREATE TABLE contacts (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                email \(.text),
                phone \(.text),
                name \(.text),
                external_id \(.text),
                metadata \(.json) NOT NULL,
                created_at \(.timestamp) NOT NULL,
                updated_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id)
            )
            """,
            """
            CREATE UNIQUE INDEX contacts_organization_id_external_id_key ON contacts (organization_id, external_id)
            WHERE external_id IS NOT NULL
            """,
            "CREATE INDEX contacts_created_at_idx ON contacts (organization_id, created_at, id)",
            "CREATE INDEX contacts_email_idx ON contacts (organization_id, email)",
            "CREATE INDEX contacts_phone_idx ON contacts (organization_id, phone)",
            """
            CREATE TABLE conversations (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                contact_id \(.uuid) NOT NULL,
                channel_id \(.uuid) NOT NULL,
                ai_agent_id \(.uuid),
                status \(.text) NOT NULL,
                handled_by \(.text) NOT NULL,
                epoch BIGINT NOT NULL,
                reply_state \(.text) NOT NULL,
                reply_error \(.text),
                last_sequence BIGINT NOT NULL,
                exclusive BOOLEAN NOT NULL,
                external_id \(.text),
                metadata \(.json) NOT NULL,
                last_message_at \(.timestamp),
                created_at \(.timestamp) NOT NULL,
                updated_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id),
                CONSTRAINT conversations_contact_fkey FOREIGN KEY (organization_id, contact_id)
                    REFERENCES contacts (organization_id, id),
                CONSTRAINT conversations_channel_fkey FOREIGN KEY (organization_id, channel_id)
                    REFERENCES channels (organization_id, id),
                CONSTRAINT conversations_status_check CHECK (status IN ('active', 'closed', 'archived')),
                CONSTRAINT conversations_handled_by_check CHECK (handled_by IN ('agent', 'human')),
                CONSTRAINT conversations_reply_state_check
                    CHECK (reply_state IN ('idle', 'queued', 'answering', 'retrying', 'failed'))
            )
            """,
            """
            CREATE UNIQUE INDEX conversations_organization_id_channel_id_contact_id_key
            ON conversations (organization_id, channel_id, contact_id) WHERE exclusive AND status = 'active'
            """,
            """
            CREATE UNIQUE INDEX conversations_organization_id_channel_id_external_id_key
            ON conversations (organization_id, channel_id, external_id) WHERE external_id IS NOT NULL
            """,
            "CREATE INDEX conversations_created_at_idx ON conversations (organization_id, created_at, id)",
            "CREATE INDEX conversations_status_idx ON conversations (organization_id, status, created_at, id)",
            "CREATE INDEX conversations_handled_by_idx ON conversations (organization_id, handled_by, created_at, id)",
            "CREATE INDEX conversations_channel_idx ON conversations (organization_id, channel_id, created_at, id)",
            "CREATE INDEX conversations_contact_idx ON conversations (organization_id, contact_id, created_at, id)",
            """
            CREATE TABLE messages (
                organization_id \(.uuid) NOT NULL,
                id \(.uuid) NOT NULL,
                conversation_id \(.uuid) NOT NULL,
                direction \(.text) NOT NULL,
                role \(.text) NOT NULL,
                content \(.text) NOT NULL,
                external_id \(.text),
                metadata \(.json) NOT NULL,
                created_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id),
                CONSTRAINT messages_conversation_fkey FOREIGN KEY (organization_id, conversation_id)
                    REFERENCES conversations (organization_id, id),
                CONSTRAINT messages_direction_check CHECK (direction IN ('inbound', 'outbound')),
                CONSTRAINT messages_role_check CHECK (role IN ('user', 'assistant', 'system'))
            )
            """,
            "CREATE INDEX messages_created_at_idx ON messages (organization_id, conversation_id, created_at, id)",
            """
            CREATE UNIQUE INDEX messages_organization_id_conversation_id_external_id_key
            ON messages (organization_id, conversation_id, external_id) WHERE external_id IS NOT NULL
            """,
        ] + FullText.index("messages", column: "content") + [
            """
            CREATE TABLE conversation_events (
                organization_id \(.uuid) NOT NULL,
                conversation_id \(.uuid) NOT NULL,
                sequence BIGINT NOT NULL,
                type \(.text) NOT NULL,
                message_id \(.uuid),
                data \(.json) NOT NULL,
                created_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, conversation_id, sequence),
                CONSTRAINT conversation_events_conversation_fkey FOREIGN KEY (organization_id, conversation_id)
                    REFERENCES conversations (organization_id, id) ON DELETE CASCADE
            )
            """,
            "CREATE INDEX conversation_events_created_at_idx ON conversation_events (created_at)",
        ]
            + RowSecurity.tenant("channels") + RowSecurity.tenant("contacts") + RowSecurity.tenant("conversations")
            + RowSecurity.tenant("messages") + RowSecurity.tenant("conversation_events", delete: ["maintenance"])
    }

    // MARK: Agents and knowledge

    private static var agents: [SQL] {
        [
            """
            CREATE TABLE ai_agents (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                name \(.text) NOT NULL,
                instructions \(.text) NOT NULL,
                model \(.text) NOT NULL DEFAULT 'gpt-4',
                settings \(.json) NOT NULL,
                is_active BOOLEAN NOT NULL,
                created_at \(.timestamp) NOT NULL,
                updated_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id),
                CONSTRAINT ai_agents_name_check CHECK (length(name) BETWEEN 1 AND 120)
            )
            """,
            "CREATE INDEX ai_agents_created_at_idx ON ai_agents (organization_id, created_at, id)",
        ] + RowSecurity.tenant("ai_agents")
    }

    private static var knowledge: [SQL] {
        [
            """
            CREATE TABLE knowledge_sources (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                name \(.text) NOT NULL,
                type \(.text) NOT NULL,
                location \(.text),
                status \(.text) NOT NULL,
                error_message \(.text),
                chunk_count BIGINT NOT NULL DEFAULT 0,
                training_id \(.uuid),
                metadata \(.json) NOT NULL,
                created_at \(.timestamp) NOT NULL,
                updated_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id),
                CONSTRAINT knowledge_sources_type_check CHECK (type IN ('url', 'file', 'text')),
                CONSTRAINT knowledge_sources_status_check CHECK (status IN ('pending', 'processing', 'ready', 'failed')),
                CONSTRAINT knowledge_sources_name_check CHECK (length(name) BETWEEN 1 AND 200)
            )
            """,
            "CREATE INDEX knowledge_sources_created_at_idx ON knowledge_sources (organization_id, created_at, id)",
            """
            CREATE TABLE knowledge_documents (
                organization_id \(.uuid) NOT NULL,
                knowledge_source_id \(.uuid) NOT NULL,
                format \(.text) NOT NULL,
                content \(.text) NOT NULL,
                created_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, knowledge_source_id),
                CONSTRAINT knowledge_documents_source_fkey FOREIGN KEY (organization_id, knowledge_source_id)
                    REFERENCES knowledge_sources (organization_id, id) ON DELETE CASCADE
            )
            """,
            """
            CREATE TABLE document_chunks (
                organization_id \(.uuid) NOT NULL,
                id \(.uuid) NOT NULL,
                knowledge_source_id \(.uuid) NOT NULL,
                training_id \(.uuid) NOT NULL,
                ordinal BIGINT NOT NULL,
                content \(.text) NOT NULL,
                embedding_vector \(.vector(1536)),
                embedding_model \(.text),
                metadata \(.json) NOT NULL,
                created_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id),
                CONSTRAINT document_chunks_source_fkey FOREIGN KEY (organization_id, knowledge_source_id)
                    REFERENCES knowledge_sources (organization_id, id) ON DELETE CASCADE
            )
            """,
            """
            CREATE UNIQUE INDEX document_chunks_organization_id_training_id_ordinal_key
            ON document_chunks (organization_id, training_id, ordinal)
            """,
            "CREATE INDEX document_chunks_source_idx ON document_chunks (organization_id, knowledge_source_id)",
            // Vectors are searched in memory. Out of line they leave the rows narrow for the ranking by words.
            RowSecurity.postgres("ALTER TABLE document_chunks ALTER COLUMN embedding_vector SET STORAGE EXTERNAL"),
        ] + FullText.index("document_chunks", column: "content")
            + RowSecurity.tenant("knowledge_sources") + RowSecurity.tenant("knowledge_documents")
            + RowSecurity.tenant("document_chunks")
    }

    // MARK: Workflows

    private static var workflows: [SQL] {
        [
            """
            CREATE TABLE workflows (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                name \(.text) NOT NULL,
                description \(.text),
                definition \(.json) NOT NULL,
                triggers \(.json) NOT NULL,
                is_active BOOLEAN NOT NULL,
                created_at \(.timestamp) NOT NULL,
                updated_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id)
            )
            """,
            "CREATE INDEX workflows_created_at_idx ON workflows (organization_id, created_at, id)",
            """
            CREATE TABLE workflow_runs (
                organization_id \(.uuid) NOT NULL,
                id \(.uuid) NOT NULL,
                workflow_id \(.uuid) NOT NULL,
                status \(.text) NOT NULL,
                input_data \(.json),
                output_data \(.json),
                error_message \(.text),
                started_at \(.timestamp) NOT NULL,
                completed_at \(.timestamp),
                PRIMARY KEY (organization_id, id),
                CONSTRAINT workflow_runs_workflow_fkey FOREIGN KEY (organization_id, workflow_id)
                    REFERENCES workflows (organization_id, id) ON DELETE CASCADE,
                CONSTRAINT workflow_runs_status_check CHECK (status IN ('running', 'completed', 'failed'))
            )
            """,
            "CREATE INDEX workflow_runs_started_at_idx ON workflow_runs (organization_id, workflow_id, started_at, id)",
        ] + RowSecurity.tenant("workflows") + RowSecurity.tenant("workflow_runs")
    }

    // MARK: Billing

    private static var billingCatalogue: [SQL] {
        [
            """
            CREATE TABLE plans (
                id \(.text) NOT NULL PRIMARY KEY,
                product_type \(.text) NOT NULL,
                tier \(.text) NOT NULL,
                billing_period \(.text) NOT NULL,
                currency \(.text) NOT NULL DEFAULT 'EUR',
                price \(.money) NOT NULL,
                is_active BOOLEAN NOT NULL,
                limits \(.json) NOT NULL,
                created_at \(.timestamp) NOT NULL,
                updated_at \(.timestamp) NOT NULL,
                CONSTRAINT plans_product_type_check CHECK (product_type IN ('chatbot', 'voice', 'bundle')),
                CONSTRAINT plans_tier_check CHECK (tier IN ('standard', 'pro', 'enterprise')),
                CONSTRAINT plans_billing_period_check CHECK (billing_period IN ('monthly', 'yearly'))
            )
            """
        ] + RowSecurity.catalogue("plans")
    }

    private static var billing: [SQL] {
        [
            """
            CREATE TABLE subscriptions (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                plan_id \(.text) NOT NULL REFERENCES plans (id),
                provider \(.text) NOT NULL,
                external_subscription_id \(.text),
                status \(.text) NOT NULL,
                current_period_start \(.timestamp) NOT NULL,
                current_period_end \(.timestamp) NOT NULL,
                cancel_at_period_end BOOLEAN NOT NULL,
                created_at \(.timestamp) NOT NULL,
                updated_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id),
                CONSTRAINT subscriptions_organization_id_key UNIQUE (organization_id),
                CONSTRAINT subscriptions_provider_external_subscription_id_key UNIQUE (provider, external_subscription_id),
                CONSTRAINT subscriptions_provider_check CHECK (provider IN ('stripe', 'paddle')),
                CONSTRAINT subscriptions_status_check CHECK (status IN ('trialing', 'active', 'past_due', 'cancelled'))
            )
            """,
            "CREATE INDEX subscriptions_plan_id_idx ON subscriptions (plan_id)",
            """
            CREATE TABLE usage (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                period_start \(.timestamp) NOT NULL,
                period_end \(.timestamp) NOT NULL,
                metrics \(.json) NOT NULL,
                created_at \(.timestamp) NOT NULL,
                updated_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id),
                CONSTRAINT usage_organization_id_period_start_key UNIQUE (organization_id, period_start)
            )
            """,
            """
            CREATE TABLE usage_entries (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                period_start \(.timestamp) NOT NULL,
                metric \(.text) NOT NULL,
                quantity BIGINT NOT NULL,
                created_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id),
                CONSTRAINT usage_entries_metric_check
                    CHECK (metric IN ('conversations_count', 'voice_calls_count', 'ai_tokens')),
                CONSTRAINT usage_entries_quantity_check CHECK (quantity >= 0)
            )
            """,
            "CREATE INDEX usage_entries_period_idx ON usage_entries (organization_id, period_start)",
        ] + RowSecurity.tenant("subscriptions") + RowSecurity.tenant("usage")
            + RowSecurity.tenant("usage_entries", select: ["billing"])
    }

    // MARK: Voice

    private static var voice: [SQL] {
        [
            """
            CREATE TABLE call_sessions (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                contact_id \(.uuid),
                external_call_id \(.text),
                direction \(.text) NOT NULL,
                status \(.text) NOT NULL,
                duration_seconds BIGINT,
                recording_url \(.text),
                metadata \(.json) NOT NULL,
                started_at \(.timestamp) NOT NULL,
                ended_at \(.timestamp),
                PRIMARY KEY (organization_id, id),
                CONSTRAINT call_sessions_contact_fkey FOREIGN KEY (organization_id, contact_id)
                    REFERENCES contacts (organization_id, id),
                CONSTRAINT call_sessions_direction_check CHECK (direction IN ('inbound', 'outbound')),
                CONSTRAINT call_sessions_status_check
                    CHECK (status IN ('initiated', 'ringing', 'in-progress', 'completed', 'failed'))
            )
            """,
            """
            CREATE UNIQUE INDEX call_sessions_organization_id_external_call_id_key
            ON call_sessions (organization_id, external_call_id) WHERE external_call_id IS NOT NULL
            """,
            "CREATE INDEX call_sessions_contact_idx ON call_sessions (organization_id, contact_id)",
            "CREATE INDEX call_sessions_started_at_idx ON call_sessions (organization_id, started_at, id)",
            """
            CREATE TABLE call_turns (
                organization_id \(.uuid) NOT NULL,
                id \(.uuid) NOT NULL,
                call_session_id \(.uuid) NOT NULL,
                speaker \(.text) NOT NULL,
                text \(.text) NOT NULL,
                audio_url \(.text),
                duration_seconds \(.double),
                created_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id),
                CONSTRAINT call_turns_call_session_fkey FOREIGN KEY (organization_id, call_session_id)
                    REFERENCES call_sessions (organization_id, id) ON DELETE CASCADE,
                CONSTRAINT call_turns_speaker_check CHECK (speaker IN ('user', 'agent'))
            )
            """,
            "CREATE INDEX call_turns_created_at_idx ON call_turns (organization_id, call_session_id, created_at, id)",
            """
            CREATE TABLE call_transcripts (
                organization_id \(.uuid) NOT NULL,
                id \(.uuid) NOT NULL,
                call_session_id \(.uuid) NOT NULL,
                full_text \(.text) NOT NULL,
                language \(.text),
                confidence_score \(.decimal),
                created_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id),
                CONSTRAINT call_transcripts_organization_id_call_session_id_key UNIQUE (organization_id, call_session_id),
                CONSTRAINT call_transcripts_call_session_fkey FOREIGN KEY (organization_id, call_session_id)
                    REFERENCES call_sessions (organization_id, id) ON DELETE CASCADE
            )
            """,
        ] + RowSecurity.tenant("call_sessions") + RowSecurity.tenant("call_turns")
            + RowSecurity.tenant("call_transcripts")
    }

    // MARK: Webhooks and audit

    private static var webhooks: [SQL] {
        [
            """
            CREATE TABLE webhook_subscriptions (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                url \(.text) NOT NULL,
                events \(.textArray) NOT NULL,
                secret \(.bytes) NOT NULL,
                is_active BOOLEAN NOT NULL,
                created_at \(.timestamp) NOT NULL,
                updated_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id)
            )
            """,
            "CREATE INDEX webhook_subscriptions_created_at_idx ON webhook_subscriptions (organization_id, created_at, id)",
        ] + RowSecurity.tenant("webhook_subscriptions")
    }

    private static var audit: [SQL] {
        [
            """
            CREATE TABLE audit_logs (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                id \(.uuid) NOT NULL,
                user_id \(.uuid),
                actor_kind \(.text) NOT NULL,
                actor_id \(.text),
                action \(.text) NOT NULL,
                resource_type \(.text) NOT NULL,
                resource_id \(.text) NOT NULL,
                changes \(.json),
                ip_address \(.inet),
                user_agent \(.text),
                request_id \(.text),
                created_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id)
            )
            """,
            "CREATE INDEX audit_logs_created_at_idx ON audit_logs (organization_id, created_at, id)",
            """
            CREATE INDEX audit_logs_resource_idx
            ON audit_logs (organization_id, resource_type, resource_id, created_at, id)
            """,
        ] + RowSecurity.tenant("audit_logs", insert: ["feed"])
    }

    // MARK: Jobs, events, web

    private static var jobs: [SQL] {
        [
            """
            CREATE TABLE jobs (
                organization_id \(.uuid) NOT NULL,
                id \(.uuid) NOT NULL,
                lane \(.text) NOT NULL,
                kind \(.text) NOT NULL,
                payload \(.json) NOT NULL,
                state \(.text) NOT NULL,
                run_at \(.timestamp) NOT NULL,
                attempt BIGINT NOT NULL,
                max_attempts BIGINT NOT NULL,
                token \(.uuid),
                lease_expires_at \(.timestamp),
                deadline_at \(.timestamp),
                unique_key \(.text),
                last_error \(.text),
                created_at \(.timestamp) NOT NULL,
                updated_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, id),
                CONSTRAINT jobs_state_check CHECK (state IN ('ready', 'running', 'quarantined')),
                CONSTRAINT jobs_lease_check CHECK ((state = 'running') = (token IS NOT NULL)),
                CONSTRAINT jobs_lease_expires_at_check CHECK ((state = 'running') = (lease_expires_at IS NOT NULL))
            )
            """,
            "CREATE INDEX jobs_ready_idx ON jobs (lane, organization_id, run_at, id) WHERE state = 'ready'",
            "CREATE INDEX jobs_run_at_idx ON jobs (lane, run_at) WHERE state = 'ready'",
            "CREATE INDEX jobs_lease_idx ON jobs (lease_expires_at) WHERE state = 'running'",
            "CREATE INDEX jobs_quarantined_idx ON jobs (organization_id, updated_at, id) WHERE state = 'quarantined'",
            "CREATE INDEX jobs_quarantined_at_idx ON jobs (updated_at) WHERE state = 'quarantined'",
            "CREATE INDEX jobs_quarantined_lane_idx ON jobs (lane, updated_at) WHERE state = 'quarantined'",
            """
            CREATE UNIQUE INDEX jobs_organization_id_kind_unique_key_key ON jobs (organization_id, kind, unique_key)
            WHERE unique_key IS NOT NULL AND state <> 'quarantined'
            """,
            """
            CREATE TABLE job_schedules (
                name \(.text) NOT NULL PRIMARY KEY,
                next_run_at \(.timestamp) NOT NULL,
                last_run_at \(.timestamp)
            )
            """,
            RowSecurity.postgres(
                "ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)"
            ),
        ] + RowSecurity.tenant("jobs", all: ["queue"], insert: ["feed"])
            + RowSecurity.system("job_schedules", purpose: "queue")
    }

    private static var events: [SQL] {
        [
            """
            CREATE TABLE events (
                position \(.serialKey),
                transaction_number BIGINT NOT NULL,
                organization_id \(.uuid) NOT NULL,
                id \(.uuid) NOT NULL,
                type \(.text) NOT NULL,
                resource \(.text) NOT NULL,
                subject_id \(.text) NOT NULL,
                actor_kind \(.text) NOT NULL,
                actor_id \(.text),
                data \(.json) NOT NULL,
                changes \(.json),
                request_id \(.text),
                ip_address \(.inet),
                user_agent \(.text),
                created_at \(.timestamp) NOT NULL
            )
            """,
            "CREATE INDEX events_order_idx ON events (transaction_number, position)",
            "CREATE INDEX events_organization_idx ON events (organization_id, transaction_number, position)",
            "CREATE INDEX events_created_at_idx ON events (created_at)",
            """
            CREATE TABLE event_consumers (
                name \(.text) NOT NULL PRIMARY KEY,
                transaction_number BIGINT NOT NULL,
                position BIGINT NOT NULL,
                updated_at \(.timestamp) NOT NULL
            )
            """,
        ] + RowSecurity.tenant("events", select: ["feed"], insert: ["authentication"], delete: ["maintenance"])
            + RowSecurity.system("event_consumers", purpose: "feed")
    }

    private static var web: [SQL] {
        [
            """
            CREATE TABLE idempotency_keys (
                organization_id \(.uuid) NOT NULL REFERENCES organizations (id),
                principal \(.text) NOT NULL,
                key \(.text) NOT NULL,
                token \(.text) NOT NULL,
                request_hash \(.text) NOT NULL,
                state \(.text) NOT NULL,
                response_status BIGINT,
                response_headers \(.json),
                response_body \(.bytes),
                created_at \(.timestamp) NOT NULL,
                lease_expires_at \(.timestamp) NOT NULL,
                expires_at \(.timestamp) NOT NULL,
                PRIMARY KEY (organization_id, principal, key),
                CONSTRAINT idempotency_keys_state_check CHECK (state IN ('claimed', 'applied', 'done'))
            )
            """,
            "CREATE INDEX idempotency_keys_expires_at_idx ON idempotency_keys (expires_at)",
        ] + RowSecurity.tenant("idempotency_keys", delete: ["maintenance"])
    }
}
