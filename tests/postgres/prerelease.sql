CREATE SCHEMA api_auth;
CREATE SCHEMA log_feed;
CREATE FUNCTION log_feed.remember() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE gone xid8;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        SELECT feed_xid INTO gone FROM public.system_logs
        WHERE feed_xid <> pg_current_xact_id() ORDER BY feed_xid DESC LIMIT 1;
    ELSE
        SELECT feed_xid INTO gone FROM deleted
        WHERE feed_xid <> pg_current_xact_id() ORDER BY feed_xid DESC LIMIT 1;
    END IF;
    INSERT INTO log_feed.deletions SELECT gone
    WHERE gone IS NOT NULL AND NOT EXISTS (SELECT FROM log_feed.deletions WHERE newest >= gone);
    RETURN NULL;
END $$;
CREATE FUNCTION log_feed.wake() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF pg_try_advisory_xact_lock(7813585362) THEN
        PERFORM pg_notify('log_feed', '');
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION public.uuid_generate_v4() RETURNS uuid
    LANGUAGE sql PARALLEL SAFE
    AS $$SELECT pg_catalog.gen_random_uuid()$$;
CREATE TABLE api_auth.idempotency_keys (
    viewer text NOT NULL,
    key text NOT NULL,
    request bytea NOT NULL,
    attempt uuid DEFAULT gen_random_uuid() NOT NULL,
    effects bigint DEFAULT 0 NOT NULL,
    answer bytea,
    leased_until timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL
);
CREATE TABLE api_auth.refresh_tokens (
    digest bytea NOT NULL,
    family uuid NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    used_at timestamp with time zone
);
CREATE TABLE api_auth.service_tokens (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    digest bytea NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    user_id uuid,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    last_used_at timestamp with time zone
);
CREATE TABLE api_auth.token_families (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    password_digest bytea NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    expires_at timestamp with time zone NOT NULL
);
CREATE TABLE api_auth.user_roles (
    user_id uuid NOT NULL,
    role text NOT NULL,
    granted_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT user_roles_role_check CHECK ((role = ANY (ARRAY['operator'::text, 'admin'::text])))
);
CREATE TABLE log_feed.deletions (
    newest xid8 NOT NULL
);
CREATE UNLOGGED TABLE log_feed.incarnation (
    single boolean DEFAULT true NOT NULL,
    id bigint NOT NULL,
    CONSTRAINT incarnation_single_check CHECK (single)
);
CREATE TABLE log_feed.incarnations (
    id bigint NOT NULL,
    number bigint NOT NULL,
    system_identifier bigint NOT NULL,
    timeline text NOT NULL,
    database oid NOT NULL,
    began pg_lsn NOT NULL,
    began_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);
ALTER TABLE log_feed.incarnations ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME log_feed.incarnations_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.tradelocker_accounts (
    id uuid DEFAULT public.uuid_generate_v4() NOT NULL,
    user_id uuid,
    account_number character varying(100) NOT NULL,
    server character varying(100) NOT NULL,
    api_key character varying(255),
    is_active boolean DEFAULT true,
    last_sync timestamp with time zone
);
CREATE TABLE public.trading_sessions (
    id uuid DEFAULT public.uuid_generate_v4() NOT NULL,
    account_id uuid,
    started_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP,
    ended_at timestamp with time zone,
    initial_balance numeric(20,8),
    final_balance numeric(20,8),
    pnl numeric(20,8),
    trades_count integer DEFAULT 0
);
CREATE VIEW public.account_performance AS
 SELECT ta.account_number,
    ts.started_at,
    ts.ended_at,
    ts.initial_balance,
    ts.final_balance,
    ts.pnl,
    ts.trades_count
   FROM (public.tradelocker_accounts ta
     JOIN public.trading_sessions ts ON ((ta.id = ts.account_id)));
CREATE TABLE public.ai_strategies (
    id uuid DEFAULT public.uuid_generate_v4() NOT NULL,
    name character varying(100) NOT NULL,
    description text,
    parameters jsonb,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp with time zone,
    performance_score numeric(5,4),
    is_active boolean DEFAULT true
);
CREATE TABLE public.strategy_performance (
    id uuid DEFAULT public.uuid_generate_v4() NOT NULL,
    strategy_id uuid,
    "timestamp" timestamp with time zone DEFAULT CURRENT_TIMESTAMP,
    win_rate numeric(5,4),
    profit_factor numeric(10,4),
    sharpe_ratio numeric(10,4),
    trades_count integer,
    period_start timestamp with time zone,
    period_end timestamp with time zone
);
CREATE VIEW public.active_strategies_performance AS
 SELECT s.id,
    s.name,
    s.performance_score,
    sp.win_rate,
    sp.profit_factor,
    sp.sharpe_ratio,
    sp.trades_count
   FROM (public.ai_strategies s
     JOIN public.strategy_performance sp ON ((s.id = sp.strategy_id)))
  WHERE (s.is_active = true);
CREATE TABLE public.graphql_api_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.risk_settings (
    id uuid DEFAULT public.uuid_generate_v4() NOT NULL,
    account_id uuid,
    max_daily_loss numeric(20,8),
    max_position_size numeric(20,8),
    max_open_positions integer,
    risk_per_trade numeric(5,4),
    updated_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE public.system_logs (
    id uuid DEFAULT public.uuid_generate_v4() NOT NULL,
    "timestamp" timestamp with time zone DEFAULT CURRENT_TIMESTAMP,
    level character varying(20) NOT NULL,
    component character varying(50) NOT NULL,
    message text NOT NULL,
    details jsonb,
    feed_xid xid8 DEFAULT pg_current_xact_id() NOT NULL
);
CREATE TABLE public.trades (
    id uuid DEFAULT public.uuid_generate_v4() NOT NULL,
    session_id uuid,
    symbol character varying(20) NOT NULL,
    direction character varying(10) NOT NULL,
    entry_price numeric(20,8) NOT NULL,
    exit_price numeric(20,8),
    size numeric(20,8) NOT NULL,
    entry_time timestamp with time zone NOT NULL,
    exit_time timestamp with time zone,
    pnl numeric(20,8),
    status character varying(20) NOT NULL,
    strategy_id uuid,
    ai_confidence numeric(5,4)
);
CREATE TABLE public.users (
    id uuid DEFAULT public.uuid_generate_v4() NOT NULL,
    email character varying(255) NOT NULL,
    password_hash character varying(255) NOT NULL,
    created_at timestamp with time zone DEFAULT CURRENT_TIMESTAMP,
    last_login timestamp with time zone,
    is_active boolean DEFAULT true,
    subscription_status character varying(50),
    subscription_expires timestamp with time zone
);
INSERT INTO api_auth.idempotency_keys VALUES ('00000000-0000-4000-8000-000000000001', 'key', '\x04', '00000000-0000-4000-8000-000000000009', 1, '\x05', '2026-11-20 09:00:00+00', '2027-11-20 09:00:00+00');
INSERT INTO api_auth.refresh_tokens VALUES ('\x02', '00000000-0000-4000-8000-000000000007', '2026-11-20 09:00:00+00', NULL);
INSERT INTO api_auth.service_tokens VALUES ('00000000-0000-4000-8000-000000000008', '\x03', 'a bot', '{logs:read}', NULL, '2026-11-20 09:00:00+00', NULL, NULL, NULL);
INSERT INTO api_auth.token_families VALUES ('00000000-0000-4000-8000-000000000007', '00000000-0000-4000-8000-000000000001', '\x01', '2026-11-20 09:00:00+00', '2027-11-20 09:00:00+00');
INSERT INTO api_auth.user_roles VALUES ('00000000-0000-4000-8000-000000000001', 'operator', '2026-11-20 09:00:00+00');
INSERT INTO log_feed.deletions VALUES ('754');
INSERT INTO public.graphql_api_version VALUES ('0010');
INSERT INTO public.system_logs VALUES ('00000000-0000-4000-8000-000000000005', '2026-11-20 09:01:00+00', 'INFO', 'bot', 'opened', NULL, '754');
INSERT INTO public.tradelocker_accounts VALUES ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', '1001', 'demo', NULL, true, NULL);
INSERT INTO public.trades VALUES ('00000000-0000-4000-8000-000000000004', '00000000-0000-4000-8000-000000000003', 'EURUSD', 'buy', 1.10000000, NULL, 0.10000000, '2026-11-20 09:01:00+00', NULL, NULL, 'open', NULL, NULL);
INSERT INTO public.trading_sessions VALUES ('00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000002', '2026-11-20 09:00:00+00', NULL, 1000.00000000, NULL, NULL, 0);
INSERT INTO public.users VALUES ('00000000-0000-4000-8000-000000000001', 'ada@example.com', '$2b$04$AAAAAAAAAAAAAAAAAAAAAOxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', '2026-11-28 09:26:04.803947+00', NULL, true, NULL, NULL);
SELECT pg_catalog.setval('log_feed.incarnations_number_seq', 1, false);
ALTER TABLE ONLY api_auth.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (viewer, key);
ALTER TABLE ONLY api_auth.refresh_tokens
    ADD CONSTRAINT refresh_tokens_pkey PRIMARY KEY (digest);
ALTER TABLE ONLY api_auth.service_tokens
    ADD CONSTRAINT service_tokens_digest_key UNIQUE (digest);
ALTER TABLE ONLY api_auth.service_tokens
    ADD CONSTRAINT service_tokens_pkey PRIMARY KEY (id);
ALTER TABLE ONLY api_auth.token_families
    ADD CONSTRAINT token_families_pkey PRIMARY KEY (id);
ALTER TABLE ONLY api_auth.user_roles
    ADD CONSTRAINT user_roles_pkey PRIMARY KEY (user_id, role);
ALTER TABLE ONLY log_feed.incarnation
    ADD CONSTRAINT incarnation_pkey PRIMARY KEY (single);
ALTER TABLE ONLY log_feed.incarnations
    ADD CONSTRAINT incarnations_number_key UNIQUE (number);
ALTER TABLE ONLY log_feed.incarnations
    ADD CONSTRAINT incarnations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.ai_strategies
    ADD CONSTRAINT ai_strategies_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.graphql_api_version
    ADD CONSTRAINT graphql_api_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.risk_settings
    ADD CONSTRAINT risk_settings_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.strategy_performance
    ADD CONSTRAINT strategy_performance_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.system_logs
    ADD CONSTRAINT system_logs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tradelocker_accounts
    ADD CONSTRAINT tradelocker_accounts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tradelocker_accounts
    ADD CONSTRAINT tradelocker_accounts_user_id_account_number_key UNIQUE (user_id, account_number);
ALTER TABLE ONLY public.trades
    ADD CONSTRAINT trades_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.trading_sessions
    ADD CONSTRAINT trading_sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_email_key UNIQUE (email);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
CREATE INDEX idempotency_keys_expires_at_idx ON api_auth.idempotency_keys USING btree (expires_at);
CREATE INDEX refresh_tokens_family_idx ON api_auth.refresh_tokens USING btree (family);
CREATE INDEX service_tokens_user_id_idx ON api_auth.service_tokens USING btree (user_id);
CREATE INDEX token_families_expires_at_idx ON api_auth.token_families USING btree (expires_at);
CREATE INDEX token_families_user_id_idx ON api_auth.token_families USING btree (user_id);
CREATE INDEX deletions_newest_idx ON log_feed.deletions USING btree (newest);
CREATE INDEX idx_risk_settings_current ON public.risk_settings USING btree (account_id, COALESCE(updated_at, '-infinity'::timestamp with time zone), id);
CREATE INDEX idx_sessions_account_page ON public.trading_sessions USING btree (account_id, COALESCE(started_at, '-infinity'::timestamp with time zone), id);
CREATE INDEX idx_strategy_performance_page ON public.strategy_performance USING btree (strategy_id, COALESCE("timestamp", '-infinity'::timestamp with time zone), id);
CREATE INDEX idx_strategy_performance_strategy ON public.strategy_performance USING btree (strategy_id);
CREATE INDEX idx_system_logs_feed ON public.system_logs USING btree (feed_xid, id);
CREATE INDEX idx_system_logs_level ON public.system_logs USING btree (level);
CREATE INDEX idx_system_logs_page ON public.system_logs USING btree (COALESCE("timestamp", '-infinity'::timestamp with time zone), id);
CREATE INDEX idx_system_logs_timestamp ON public.system_logs USING btree ("timestamp");
CREATE INDEX idx_trades_page ON public.trades USING btree (entry_time, id);
CREATE INDEX idx_trades_page_ai_confidence ON public.trades USING btree (COALESCE(NULLIF(ai_confidence, 'NaN'::numeric), '-Infinity'::numeric), id);
CREATE INDEX idx_trades_page_exit_time ON public.trades USING btree (COALESCE(exit_time, '-infinity'::timestamp with time zone), id);
CREATE INDEX idx_trades_page_pnl ON public.trades USING btree (COALESCE(NULLIF(pnl, 'NaN'::numeric), '-Infinity'::numeric), id);
CREATE INDEX idx_trades_page_size ON public.trades USING btree (COALESCE(NULLIF(size, 'NaN'::numeric), '-Infinity'::numeric), id);
CREATE INDEX idx_trades_page_symbol ON public.trades USING btree (symbol, id);
CREATE INDEX idx_trades_session ON public.trades USING btree (session_id);
CREATE INDEX idx_trades_session_page ON public.trades USING btree (session_id, entry_time, id);
CREATE INDEX idx_trades_session_page_ai_confidence ON public.trades USING btree (session_id, COALESCE(NULLIF(ai_confidence, 'NaN'::numeric), '-Infinity'::numeric), id);
CREATE INDEX idx_trades_session_page_exit_time ON public.trades USING btree (session_id, COALESCE(exit_time, '-infinity'::timestamp with time zone), id);
CREATE INDEX idx_trades_session_page_pnl ON public.trades USING btree (session_id, COALESCE(NULLIF(pnl, 'NaN'::numeric), '-Infinity'::numeric), id);
CREATE INDEX idx_trades_session_page_size ON public.trades USING btree (session_id, COALESCE(NULLIF(size, 'NaN'::numeric), '-Infinity'::numeric), id);
CREATE INDEX idx_trades_session_page_symbol ON public.trades USING btree (session_id, symbol, id);
CREATE INDEX idx_trades_status_page_exit_time ON public.trades USING btree ((
CASE
    WHEN (status IS NOT NULL) THEN
    CASE lower((btrim((status)::text) COLLATE "C"))
        WHEN 'pending'::text THEN 'PENDING'::text
        WHEN 'new'::text THEN 'PENDING'::text
        WHEN 'unplaced'::text THEN 'PENDING'::text
        WHEN 'open'::text THEN 'OPEN'::text
        WHEN 'active'::text THEN 'OPEN'::text
        WHEN 'closed'::text THEN 'CLOSED'::text
        WHEN 'cancelled'::text THEN 'CANCELLED'::text
        WHEN 'canceled'::text THEN 'CANCELLED'::text
        WHEN 'removed'::text THEN 'CANCELLED'::text
        WHEN 'rejected'::text THEN 'REJECTED'::text
        WHEN 'refused'::text THEN 'REJECTED'::text
        WHEN 'filled'::text THEN
        CASE
            WHEN (exit_time IS NULL) THEN 'OPEN'::text
            ELSE 'CLOSED'::text
        END
        ELSE 'OTHER'::text
    END
    ELSE NULL::text
END), COALESCE(exit_time, '-infinity'::timestamp with time zone), id);
CREATE INDEX idx_trades_status_page_pnl ON public.trades USING btree ((
CASE
    WHEN (status IS NOT NULL) THEN
    CASE lower((btrim((status)::text) COLLATE "C"))
        WHEN 'pending'::text THEN 'PENDING'::text
        WHEN 'new'::text THEN 'PENDING'::text
        WHEN 'unplaced'::text THEN 'PENDING'::text
        WHEN 'open'::text THEN 'OPEN'::text
        WHEN 'active'::text THEN 'OPEN'::text
        WHEN 'closed'::text THEN 'CLOSED'::text
        WHEN 'cancelled'::text THEN 'CANCELLED'::text
        WHEN 'canceled'::text THEN 'CANCELLED'::text
        WHEN 'removed'::text THEN 'CANCELLED'::text
        WHEN 'rejected'::text THEN 'REJECTED'::text
        WHEN 'refused'::text THEN 'REJECTED'::text
        WHEN 'filled'::text THEN
        CASE
            WHEN (exit_time IS NULL) THEN 'OPEN'::text
            ELSE 'CLOSED'::text
        END
        ELSE 'OTHER'::text
    END
    ELSE NULL::text
END), COALESCE(NULLIF(pnl, 'NaN'::numeric), '-Infinity'::numeric), id);
CREATE INDEX idx_trades_strategy ON public.trades USING btree (strategy_id);
CREATE INDEX idx_trades_strategy_page ON public.trades USING btree (strategy_id, entry_time, id);
CREATE INDEX idx_trades_strategy_page_ai_confidence ON public.trades USING btree (strategy_id, COALESCE(NULLIF(ai_confidence, 'NaN'::numeric), '-Infinity'::numeric), id);
CREATE INDEX idx_trades_strategy_page_exit_time ON public.trades USING btree (strategy_id, COALESCE(exit_time, '-infinity'::timestamp with time zone), id);
CREATE INDEX idx_trades_strategy_page_pnl ON public.trades USING btree (strategy_id, COALESCE(NULLIF(pnl, 'NaN'::numeric), '-Infinity'::numeric), id);
CREATE INDEX idx_trades_strategy_page_size ON public.trades USING btree (strategy_id, COALESCE(NULLIF(size, 'NaN'::numeric), '-Infinity'::numeric), id);
CREATE INDEX idx_trades_strategy_page_symbol ON public.trades USING btree (strategy_id, symbol, id);
CREATE INDEX idx_users_email_lower ON public.users USING btree (lower((email)::text));
CREATE STATISTICS public.stats_trades_status ON (CASE WHEN status IS NOT NULL THEN CASE lower(btrim(status::text) COLLATE "C") WHEN 'pending'::text THEN 'PENDING'::text WHEN 'new'::text THEN 'PENDING'::text WHEN 'unplaced'::text THEN 'PENDING'::text WHEN 'open'::text THEN 'OPEN'::text WHEN 'active'::text THEN 'OPEN'::text WHEN 'closed'::text THEN 'CLOSED'::text WHEN 'cancelled'::text THEN 'CANCELLED'::text WHEN 'canceled'::text THEN 'CANCELLED'::text WHEN 'removed'::text THEN 'CANCELLED'::text WHEN 'rejected'::text THEN 'REJECTED'::text WHEN 'refused'::text THEN 'REJECTED'::text WHEN 'filled'::text THEN CASE WHEN exit_time IS NULL THEN 'OPEN'::text ELSE 'CLOSED'::text END ELSE 'OTHER'::text END ELSE NULL::text END) FROM public.trades;
CREATE TRIGGER log_feed_deleted AFTER DELETE ON public.system_logs REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION log_feed.remember();
CREATE TRIGGER log_feed_truncated BEFORE TRUNCATE ON public.system_logs FOR EACH STATEMENT EXECUTE FUNCTION log_feed.remember();
CREATE TRIGGER log_feed_wake AFTER INSERT ON public.system_logs FOR EACH STATEMENT EXECUTE FUNCTION log_feed.wake();
ALTER TABLE ONLY api_auth.refresh_tokens
    ADD CONSTRAINT refresh_tokens_family_fkey FOREIGN KEY (family) REFERENCES api_auth.token_families(id) ON DELETE CASCADE;
ALTER TABLE ONLY api_auth.service_tokens
    ADD CONSTRAINT service_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;
ALTER TABLE ONLY api_auth.token_families
    ADD CONSTRAINT token_families_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;
ALTER TABLE ONLY api_auth.user_roles
    ADD CONSTRAINT user_roles_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.risk_settings
    ADD CONSTRAINT risk_settings_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.tradelocker_accounts(id);
ALTER TABLE ONLY public.strategy_performance
    ADD CONSTRAINT strategy_performance_strategy_id_fkey FOREIGN KEY (strategy_id) REFERENCES public.ai_strategies(id);
ALTER TABLE ONLY public.tradelocker_accounts
    ADD CONSTRAINT tradelocker_accounts_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.trades
    ADD CONSTRAINT trades_session_id_fkey FOREIGN KEY (session_id) REFERENCES public.trading_sessions(id);
ALTER TABLE ONLY public.trading_sessions
    ADD CONSTRAINT trading_sessions_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.tradelocker_accounts(id);
