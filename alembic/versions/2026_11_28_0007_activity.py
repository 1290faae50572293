"""Triggers on trades, sessions, accounts and risk settings, which record changed rows for accountActivity.

A feed is a schema: `activity` has the tables of `log_feed`, and its entries name rows of four tables.
Triggers write them, one for each row and transaction however often it changes, and read nothing that a plain
insert or update doesn't have at hand. Where a row is now is looked up when an entry is read; an entry says
which session, account and user a row has left, by being deleted or moved.

The setting `activity.transaction` says what the present transaction has recorded, so that few entries have to
be compared with others: `empty`, nothing; `recorded`, rows that need no second entry when they change again;
`departed`, rows that were deleted or moved, so that entries are merged. Merging is always correct, so it is
what a connection begins with, also after its settings were reset during a transaction.

The rows below a moved row move with it. If these can't be known, because another transaction is writing more
of them or taking some away, because there are very many, or because a table was truncated, all cursors end:
`activity.reset()`.

Notifications use the log feed's channel, and the setting that turns those off.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

LOCKS = "trades, trading_sessions, risk_settings, tradelocker_accounts: reads and writes wait for moments"

# The id of an entry orders it within its transaction. A trade's entry has the trade's id; other entries' ids
# are computed from the kind and the row's id, since programs may give one id to rows of two tables.
ENTRIES = """
CREATE TABLE activity.entries (
    xid XID8 NOT NULL,
    id UUID NOT NULL,
    kind TEXT NOT NULL,
    change TEXT NOT NULL,
    row_id UUID,
    session_id UUID,
    account_id UUID,
    user_id UUID,
    PRIMARY KEY (xid, id)
)
"""

# The other tables have the same columns as the log feed's.
DECLARED_TABLES = {
    "activity.entries": ENTRIES,
    **{
        f"activity.{table}": f"CREATE TABLE activity.{table} (LIKE log_feed.{table} INCLUDING ALL)"
        for table in ("watermarks", "horizon", "incarnations", "interruptions", "resets")
    },
    "activity.incarnation": (
        "CREATE UNLOGGED TABLE activity.incarnation (LIKE log_feed.incarnation INCLUDING ALL)"
    ),
}

NOTE_INTERRUPTION = """
CREATE OR REPLACE FUNCTION activity.note_interruption() RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM activity.incarnation)
            AND NOT EXISTS (SELECT FROM activity.interruptions WHERE incarnation IS NULL) THEN
        INSERT INTO activity.interruptions VALUES (pg_current_wal_insert_lsn(), pg_current_snapshot());
    END IF;
END $$
"""

RESET = """
CREATE OR REPLACE FUNCTION activity.reset() RETURNS void LANGUAGE sql
    SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO activity.resets (xid) VALUES (pg_current_xact_id()) ON CONFLICT DO NOTHING
$$
"""

# A transaction that inserts a row below one of these locks it until the end. So once this function has locked
# them, all rows below can be read. It waits for less time than PostgreSQL's deadlock_timeout.
LOCK_ROWS = """
CREATE OR REPLACE FUNCTION activity.lock_rows(rows regclass, ids uuid[]) RETURNS boolean LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms' AS $$
BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT FROM %s WHERE id = ANY ($1) ORDER BY id FOR UPDATE', rows) USING ids;
    RETURN true;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN false;
END $$
"""

# A trade's entry says which account the trade has left, by way of its session. So that this is still true
# when the transaction commits, trades leave a session and sessions move by turns: each takes this lock until
# it ends, shared or exclusive. All sessions share 256 locks, which is the most that a deletion of many trades
# takes of the server's lock table.
#
# A transaction that reads an older snapshot sees no move that was committed meanwhile. There, a row lock
# fails if the session was changed; it is undone at once, since others update sessions all the time.
LOCK_MOVES = """
CREATE OR REPLACE FUNCTION activity.lock_moves(sessions regclass, ids uuid[], exclusive boolean)
    RETURNS boolean LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms' AS $$
DECLARE
    numbers int[] := ARRAY(
        SELECT DISTINCT uuid_hash(id) & 255 AS number FROM unnest(ids) AS id ORDER BY number);
BEGIN
    IF exclusive THEN
        PERFORM pg_advisory_xact_lock(781358537, number) FROM unnest(numbers) AS number;
        RETURN true;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(781358537, number) FROM unnest(numbers) AS number;
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        BEGIN
            EXECUTE format('SELECT FROM %s WHERE id = ANY ($1) FOR SHARE SKIP LOCKED', sessions) USING ids;
            RAISE SQLSTATE 'UNDO0';
        EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
            NULL;
        END;
    END IF;
    RETURN true;
EXCEPTION WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
    RETURN false;
END $$
"""

# An entry also says whose account a row has left. If the account gets another owner before the transaction
# commits, the reset that this causes is followed by another one. A transaction that reads an older snapshot,
# and had written nothing by then, isn't waited for; there, a row lock fails if the owner was changed. It is
# of the kind that foreign keys take, since programs update other columns of accounts all the time.
SEES_OWNERS = """
CREATE OR REPLACE FUNCTION activity.sees_owners(in_schema name, sessions uuid[], accounts uuid[])
    RETURNS boolean LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        EXECUTE format($query$
            SELECT FROM %1$I.tradelocker_accounts
            WHERE id = ANY ($2 || ARRAY(SELECT account_id FROM %1$I.trading_sessions WHERE id = ANY ($1)))
            FOR KEY SHARE SKIP LOCKED$query$, in_schema)
        USING sessions, accounts;
        RAISE SQLSTATE 'UNDO0';
    END IF;
    RETURN true;
EXCEPTION
    WHEN SQLSTATE 'UNDO0' THEN
        RETURN true;
    WHEN serialization_failure THEN
        RETURN false;
END $$
"""

NOTIFY = """
CREATE OR REPLACE FUNCTION activity.notify_readers() RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    notified text := current_setting('log_feed.notify', true);
    moment text := (date_part('epoch', clock_timestamp()) * 100)::bigint;
BEGIN
    IF notified IS DISTINCT FROM moment AND notified IS DISTINCT FROM 'off'
            AND pg_try_advisory_xact_lock(7813585362) THEN
        PERFORM set_config('log_feed.notify', moment, false), pg_notify('log_feed', '');
    END IF;
END $$
"""

# Others know a row as it was before the transaction. So if it moves twice, the first parent that it left is
# kept.
_MERGE = """ON CONFLICT (xid, id) DO UPDATE SET
    change = CASE WHEN entry.change IN ('ADDED', 'NONE')
                  THEN CASE excluded.change WHEN 'REMOVED' THEN 'NONE' ELSE 'ADDED' END
                  ELSE CASE excluded.change WHEN 'REMOVED' THEN 'REMOVED' ELSE 'CHANGED' END END,
    session_id = coalesce(entry.session_id, excluded.session_id),
    account_id = coalesce(entry.account_id, excluded.account_id),
    user_id = coalesce(entry.user_id, excluded.user_id)
    WHERE entry.change IN ('REMOVED', 'NONE') OR excluded.change = 'REMOVED'
       OR coalesce(excluded.session_id, excluded.account_id, excluded.user_id) IS NOT NULL"""

_ADDED = """INSERT INTO activity.entries AS entry (xid, id, kind, change, row_id)
            SELECT pg_current_xact_id(), {entry_id}, '{kind}', 'ADDED', {row_id} FROM added AS row"""

# A moved row is left to the statement that merges. The join is FULL so that PostgreSQL can't plan it as a
# nested loop, which a plan that was made for one row would use for all numbers of rows.
_CHANGED = """INSERT INTO activity.entries (xid, id, kind, change, row_id)
            SELECT pg_current_xact_id(), {entry_id}, '{kind}', 'CHANGED', {row_id}
            FROM added AS row FULL JOIN removed AS before ON before.id = row.id
            WHERE CASE WHEN before.id IS NULL OR row.id IS NULL
                            OR before.{parent} IS DISTINCT FROM row.{parent}
                       THEN set_config('activity.transaction', 'departed', true) IS NULL  -- false
                       ELSE before *<> row END"""

# Whether a notification is due: otherwise the function that sends it isn't called.
_IS_DUE = """current_setting('log_feed.notify', true) IS DISTINCT FROM
                    (date_part('epoch', clock_timestamp()) * 100)::bigint::text"""

_RECORD = """
CREATE OR REPLACE FUNCTION activity.record_{table}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    progress text := current_setting('activity.transaction', true);
    is_recorded boolean;
    moved uuid[];
    below bigint;
BEGIN
    IF TG_OP = 'TRUNCATE' OR (
            current_setting('check_function_bodies') = 'off' AND current_setting('row_security') = 'off') THEN
        PERFORM activity.reset();
        RETURN NULL;
    END IF;
    IF coalesce(progress, '') = '' THEN  -- a session's first change, or one after its settings were reset
        PERFORM activity.note_interruption(),
            set_config('activity.transaction', 'empty', false),
            set_config('activity.transaction', 'departed', true);
        progress := 'departed';
    END IF;
    -- Most transactions add or change rows by one statement. With ON CONFLICT an entry would be two records
    -- of the WAL instead of one.
    IF progress = 'empty' AND TG_OP <> 'DELETE' THEN
        IF TG_OP = 'UPDATE' THEN
            {changed};
        ELSE
            {added};
        END IF;
        IF current_setting('activity.transaction') = 'empty' THEN
            IF FOUND AND set_config('activity.transaction', 'recorded', true) = 'recorded' AND {is_due} THEN
                PERFORM activity.notify_readers();
            END IF;
            RETURN NULL;
        END IF;
        progress := 'departed';
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF progress = 'recorded' THEN
            {added}
            ON CONFLICT DO NOTHING;
        ELSE
            {added}
            {merge};
        END IF;
        is_recorded := FOUND;
    ELSIF TG_OP = 'UPDATE' THEN
        IF progress = 'recorded' THEN
            {changed}
            ON CONFLICT DO NOTHING;
            is_recorded := FOUND;
            progress := current_setting('activity.transaction');
        END IF;
        IF progress = 'departed' THEN
            WITH changes AS MATERIALIZED (
                SELECT coalesce(before.id, after.id) AS id,
                       CASE WHEN before.id IS NULL THEN 'ADDED' WHEN after.id IS NULL THEN 'REMOVED'
                            ELSE 'CHANGED' END AS change,
                       before.id IS NOT NULL AND before.{parent} IS DISTINCT FROM after.{parent} AS is_moved
                FROM removed AS before FULL JOIN added AS after ON before.id = after.id
                WHERE (before *<> after) IS NOT FALSE
            ), recorded AS (
                INSERT INTO activity.entries AS entry (xid, id, kind, change, row_id)
                SELECT pg_current_xact_id(), {entry_id}, '{kind}', change, {row_id} FROM changes AS row
                {merge}
            )
            SELECT count(*) > 0, array_agg(id) FILTER (WHERE is_moved) INTO is_recorded, moved FROM changes;
        END IF;
    ELSE
        SELECT count(*) > 0, array_agg(id) INTO is_recorded, moved FROM removed;
        PERFORM set_config('activity.transaction', 'departed', true);
    END IF;
    IF moved IS NOT NULL THEN
        {lock}
        EXECUTE format($query$
            INSERT INTO activity.entries AS entry
                (xid, id, kind, change, row_id, session_id, account_id, user_id)
            SELECT pg_current_xact_id(), {entry_id}, '{kind}', $2, {row_id}, {left}
            FROM removed AS row {ancestors} WHERE row.id = ANY ($1)
            {merge}$query$, TG_TABLE_SCHEMA)
        USING moved, CASE TG_OP WHEN 'DELETE' THEN 'REMOVED' ELSE 'CHANGED' END;
        {move}
    END IF;
    IF is_recorded AND {is_due} THEN
        PERFORM activity.notify_readers();
    END IF;
    RETURN NULL;
END $$
"""

_LOCK_TRADES = """
        IF NOT (SELECT activity.lock_moves(format('%I.trading_sessions', TG_TABLE_SCHEMA), ids, false)
                       AND activity.sees_owners(TG_TABLE_SCHEMA, ids, '{}')
                FROM (SELECT array_agg(DISTINCT session_id) AS ids FROM removed) AS sessions) THEN
            PERFORM activity.reset();
            RETURN NULL;
        END IF;"""

_SEE_OWNERS = """
        IF NOT activity.sees_owners(
                TG_TABLE_SCHEMA, '{}', (SELECT array_agg(DISTINCT account_id) FROM removed)) THEN
            PERFORM activity.reset();
            RETURN NULL;
        END IF;"""

_LOCK_SESSIONS = """
        IF TG_OP = 'UPDATE' AND NOT (activity.lock_rows(TG_RELID, moved)
                                     AND activity.lock_moves(TG_RELID, moved, true)) THEN
            PERFORM activity.reset();
            RETURN NULL;
        END IF;"""

# The trades of a session move with it. If a program without foreign keys deletes the session, its trades
# belong to nobody.
_MOVE_SESSIONS = """
        EXECUTE format($query$
            INSERT INTO activity.entries AS entry (xid, id, kind, change, session_id, account_id, user_id)
            SELECT pg_current_xact_id(), trade.id, 'TRADE', 'CHANGED',
                   trade.session_id, row.account_id, account.user_id
            FROM removed AS row JOIN %1$I.trades AS trade ON trade.session_id = row.id
            LEFT JOIN %1$I.tradelocker_accounts AS account ON account.id = row.account_id
            WHERE row.id = ANY ($1) LIMIT 10001
            {merge}$query$, TG_TABLE_SCHEMA)
        USING moved;
        GET DIAGNOSTICS below = ROW_COUNT;
        IF below > 10000 THEN
            PERFORM activity.reset();
        END IF;"""

# All rows of an account that is given to another user move with it, also those of the service's own tables.
_MOVE_ACCOUNTS = """
        IF TG_OP = 'UPDATE' THEN
            is_recorded := NOT activity.lock_rows(TG_RELID, moved);
            IF NOT is_recorded THEN
                EXECUTE format($query$
                    SELECT EXISTS (SELECT FROM %1$I.trading_sessions WHERE account_id = ANY ($1))
                        OR EXISTS (SELECT FROM %1$I.risk_settings WHERE account_id = ANY ($1))
                        OR EXISTS (SELECT FROM graphql_api.risk_events WHERE account_id = ANY ($1))
                        OR EXISTS (SELECT FROM graphql_api.account_logs WHERE account_id = ANY ($1))
                    $query$, TG_TABLE_SCHEMA)
                INTO is_recorded USING moved;
            END IF;
            IF is_recorded THEN
                PERFORM activity.reset();
            END IF;
            is_recorded := true;
        END IF;"""

_ACCOUNT = "LEFT JOIN %1$I.tradelocker_accounts AS account ON account.id = {}.account_id"


def _recording(
    table: str, kind: str, parent: str, left: str, ancestors: str = "", lock: str = "", move: str = ""
) -> str:
    own = kind == "TRADE"
    names = {
        "table": table,
        "kind": kind,
        "parent": parent,
        "entry_id": "row.id" if own else f"md5('{kind}' || row.id)::uuid",
        "row_id": "NULL::uuid" if own else "row.id",
    }
    return _RECORD.format(
        **names,
        added=_ADDED.format(**names),
        changed=_CHANGED.format(**names),
        is_due=_IS_DUE,
        merge=_MERGE,
        left=left,
        ancestors=ancestors,
        lock=lock.strip(),
        move=move.replace("{merge}", _MERGE).strip(),
    )


# Logical replication fires row triggers alone, and only those that are enabled for replicas. The parents that
# a row has left are looked up in the same way.
REPLICATE = f"""
CREATE OR REPLACE FUNCTION activity.record_replicated_row() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kind text := TG_ARGV[0];
    before_id uuid := CASE WHEN TG_OP <> 'INSERT' THEN (to_jsonb(OLD) ->> 'id')::uuid END;
    after_id uuid := CASE WHEN TG_OP <> 'DELETE' THEN (to_jsonb(NEW) ->> 'id')::uuid END;
    former uuid := CASE WHEN TG_OP <> 'INSERT' THEN (to_jsonb(OLD) ->> TG_ARGV[1])::uuid END;
    present uuid := CASE WHEN TG_OP <> 'DELETE' THEN (to_jsonb(NEW) ->> TG_ARGV[1])::uuid END;
    session uuid;
    account uuid;
    owner uuid;
    schema name;
BEGIN
    IF EXISTS (SELECT FROM pg_subscription_rel WHERE srsubstate = 'd') AND EXISTS (
            SELECT FROM pg_stat_get_subscription(NULL) AS worker
            JOIN pg_subscription_rel ON (srsubid, srrelid) = (worker.subid, worker.relid)
            WHERE worker.pid = pg_backend_pid() AND srsubstate = 'd') THEN
        PERFORM activity.reset();
        RETURN NULL;
    ELSIF TG_OP = 'UPDATE' AND OLD *= NEW THEN
        RETURN NULL;
    END IF;
    IF current_setting('activity.looked', true) IS DISTINCT FROM 'on' THEN
        PERFORM activity.note_interruption(), set_config('activity.looked', 'on', false);
    END IF;
    -- What the same transaction writes otherwise has to merge with this.
    IF current_setting('activity.transaction', true) IS DISTINCT FROM 'departed' THEN
        PERFORM set_config('activity.transaction', 'departed', true);
    END IF;
    IF former IS NOT NULL AND (former IS DISTINCT FROM present OR before_id IS DISTINCT FROM after_id) THEN
        IF TG_OP = 'UPDATE' AND kind IN ('SESSION', 'ACCOUNT') THEN
            PERFORM activity.reset();
            RETURN NULL;
        END IF;
        session := CASE kind WHEN 'TRADE' THEN former END;
        account := CASE kind WHEN 'TRADE' THEN NULL WHEN 'ACCOUNT' THEN before_id ELSE former END;
        owner := CASE kind WHEN 'ACCOUNT' THEN former END;
        -- A partition, whose trigger this is then, may be in another schema than the tables.
        SELECT nspname INTO schema FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE pg_class.oid = coalesce(pg_partition_root(TG_RELID), TG_RELID);
        IF session IS NOT NULL THEN
            IF NOT activity.lock_moves(
                    format('%I.trading_sessions', schema), ARRAY[session], false) THEN
                PERFORM activity.reset();
                RETURN NULL;
            END IF;
            EXECUTE format('SELECT account_id FROM %I.trading_sessions WHERE id = $1', schema)
            INTO account USING session;
        END IF;
        IF owner IS NULL THEN
            IF NOT activity.sees_owners(schema, '{{}}', ARRAY[account]) THEN
                PERFORM activity.reset();
                RETURN NULL;
            END IF;
            EXECUTE format('SELECT user_id FROM %I.tradelocker_accounts WHERE id = $1', schema)
            INTO owner USING account;
        END IF;
    END IF;
    INSERT INTO activity.entries AS entry (xid, id, kind, change, row_id, session_id, account_id, user_id)
    SELECT pg_current_xact_id(), CASE kind WHEN 'TRADE' THEN row.id ELSE md5(kind || row.id)::uuid END, kind,
           row.change, CASE WHEN kind <> 'TRADE' THEN row.id END, row.session_id, row.account_id, row.user_id
    FROM (
        SELECT before_id, CASE WHEN after_id = before_id THEN 'CHANGED' ELSE 'REMOVED' END,
               session, account, owner
        WHERE before_id IS NOT NULL
        UNION ALL
        SELECT after_id, 'ADDED', NULL, NULL, NULL WHERE after_id IS DISTINCT FROM before_id
                                                     AND after_id IS NOT NULL
    ) AS row (id, change, session_id, account_id, user_id)
    {_MERGE};
    RETURN NULL;
END $$
"""  # noqa: S608 - our own text

DECLARED_FUNCTIONS = {
    "activity.note_interruption": NOTE_INTERRUPTION,
    "activity.reset": RESET,
    "activity.lock_rows": LOCK_ROWS,
    "activity.lock_moves": LOCK_MOVES,
    "activity.sees_owners": SEES_OWNERS,
    "activity.notify_readers": NOTIFY,
    "activity.record_trades": _recording(
        "trades",
        "TRADE",
        "session_id",
        "row.session_id, session.account_id, account.user_id",
        "LEFT JOIN %1$I.trading_sessions AS session ON session.id = row.session_id "
        + _ACCOUNT.format("session"),
        _LOCK_TRADES,
    ),
    "activity.record_trading_sessions": _recording(
        "trading_sessions",
        "SESSION",
        "account_id",
        "NULL::uuid, row.account_id, account.user_id",
        _ACCOUNT.format("row"),
        _LOCK_SESSIONS + _SEE_OWNERS,
        _MOVE_SESSIONS,
    ),
    "activity.record_risk_settings": _recording(
        "risk_settings",
        "RISK_SETTINGS",
        "account_id",
        "NULL::uuid, row.account_id, account.user_id",
        _ACCOUNT.format("row"),
        _SEE_OWNERS,
    ),
    "activity.record_tradelocker_accounts": _recording(
        "tradelocker_accounts",
        "ACCOUNT",
        "user_id",
        "NULL::uuid, row.id, row.user_id",
        move=_MOVE_ACCOUNTS,
    ),
    "activity.record_replicated_row": REPLICATE,
}

_KINDS = {
    "trades": ("TRADE", "session_id"),
    "trading_sessions": ("SESSION", "account_id"),
    "risk_settings": ("RISK_SETTINGS", "account_id"),
    "tradelocker_accounts": ("ACCOUNT", "user_id"),
}
_ROWS = {
    "insert": "REFERENCING NEW TABLE AS added ",
    "update": "REFERENCING OLD TABLE AS removed NEW TABLE AS added ",
    "delete": "REFERENCING OLD TABLE AS removed ",
    "truncate": "",
}

# Triggers by table and name, each with its mode and its definition.
DECLARED_TRIGGERS = (
    {
        (table, f"activity_{event}"): (
            "ORIGIN",
            (
                f"AFTER {event.upper()} ON {table} {rows}FOR EACH STATEMENT"
                f" EXECUTE FUNCTION activity.record_{table}()"
            ),
        )
        for table in _KINDS
        for event, rows in _ROWS.items()
    }
    | {
        (table, "activity_replica"): (
            "REPLICA",
            (
                f"AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW"
                " WHEN (current_setting('session_replication_role') = 'replica')"
                f" EXECUTE FUNCTION activity.record_replicated_row('{kind}', '{parent}')"
            ),
        )
        for table, (kind, parent) in _KINDS.items()
    }
    # This condition is evaluated for every change: a longer one would cost the bot more.
    | {
        (table, "activity_own"): (
            "ALWAYS",
            (
                f"BEFORE INSERT{'' if table == 'activity.entries' else ' OR UPDATE OR DELETE'} ON {table}"
                " FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION log_feed.refuse_row()"
            ),
        )
        for table in DECLARED_TABLES
    }
)

# This value changes when a trigger is dropped, disabled or enabled, since rows may have changed without
# entries; it is null while one is missing or disabled.
TRIGGER_VERSION = f"""
CREATE OR REPLACE VIEW activity.trigger_version AS
    SELECT md5(string_agg(oid || '.' || xmin, ' ' ORDER BY oid)) AS version FROM pg_trigger
    WHERE tgrelid IN ({", ".join(f"'{table}'::regclass" for table in _KINDS)}) AND tgname LIKE 'activity\\_%'
    HAVING count(*) FILTER (WHERE tgname <> 'activity_replica' AND tgenabled IN ('O', 'A'))
               = {len(_KINDS) * len(_ROWS)}
       AND (count(*) FILTER (WHERE tgname = 'activity_replica' AND tgenabled IN ('R', 'A')) = {len(_KINDS)}
            OR NOT EXISTS (SELECT FROM pg_subscription_rel))
"""  # noqa: S608 - our own text
# A pending one is due if its transaction has recorded that a row has left an account: it may not have been
# there any more.
DUE_RESETS = """
CREATE OR REPLACE VIEW activity.due_resets AS
    SELECT xid, is_pending FROM activity.resets AS reset
    WHERE NOT is_pending OR EXISTS (
        SELECT FROM activity.entries AS entry
        WHERE entry.xid = reset.xid AND coalesce(session_id, account_id, user_id) IS NOT NULL)
"""
CURRENT_INCARNATION = """
CREATE OR REPLACE VIEW activity.current_incarnation AS
    SELECT id, system_identifier, timeline, database
    FROM activity.incarnation JOIN activity.incarnations USING (id)
    WHERE trigger_version = (SELECT version FROM activity.trigger_version)
      AND NOT EXISTS (SELECT FROM activity.due_resets)
"""
DECLARED_VIEWS = {
    "activity.trigger_version": TRIGGER_VERSION,
    "activity.due_resets": DUE_RESETS,
    "activity.current_incarnation": CURRENT_INCARNATION,
}


def upgrade() -> None:
    op.execute("CREATE SCHEMA activity")
    for statement in (*DECLARED_TABLES.values(), *DECLARED_FUNCTIONS.values()):
        op.execute(statement)
    for (table, name), (fires, definition) in DECLARED_TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {definition}")
        if fires != "ORIGIN":
            op.execute(f"ALTER TABLE {table} ENABLE {fires} TRIGGER {name}")
    for statement in DECLARED_VIEWS.values():
        op.execute(statement)


def downgrade() -> None:
    for view in reversed(DECLARED_VIEWS):
        op.execute(f"DROP VIEW {view}")
    for table, name in DECLARED_TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON {table}")
    for function in DECLARED_FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    for table in DECLARED_TABLES:
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP SCHEMA activity")
