"""Triggers on system_logs, which record the transaction of each new log line, and the log feed's tables.

The documented table stays as it is. A trigger records each new line in log_feed.entries, with the id of its
transaction, by which the feed orders and resumes. It runs with the owner's rights: a program that writes log
lines needs none in our schema.

The trigger also notifies, as a hint: readers fetch by themselves while lines come. Every NOTIFY takes one
lock of the whole cluster at commit, so a session notifies once in a hundredth of a second, and of the
transactions that write at the same time only the one that gets the advisory lock does. PostgreSQL refuses
PREPARE TRANSACTION after a NOTIFY: programs that use it SET log_feed.notify = off.

The lines of a restored dump are history and are not recorded. pg_dump's scripts are recognised by two
settings that nothing else turns off together; then all cursors end (log_feed.reset), since rows may have come
from anywhere.

log_feed.incarnation is unlogged on purpose: a crash, a promotion and a restore all empty it.

Our tables are about this server's own transactions. So they refuse rows that a dump or replication brings to
them, and the first copy of a subscription is treated as a restored dump is.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LOCKS = "system_logs: reads and writes wait for moments"

ENTRIES = """
CREATE TABLE log_feed.entries (
    xid XID8 NOT NULL,
    id UUID NOT NULL,
    PRIMARY KEY (xid, id)
)
"""

# At each time, a transaction before which all had ended. Trimming by age uses these.
WATERMARKS = """
CREATE TABLE log_feed.watermarks (
    xid XID8 PRIMARY KEY,
    noted_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP
)
"""

# The newest transaction of which entries have been trimmed.
HORIZON = """
CREATE TABLE log_feed.horizon (
    single BOOLEAN PRIMARY KEY DEFAULT true CHECK (single),
    xid XID8 NOT NULL
)
"""

INCARNATIONS = """
CREATE TABLE log_feed.incarnations (
    id BIGINT PRIMARY KEY,
    number BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY,
    system_identifier BIGINT NOT NULL,
    timeline TEXT NOT NULL,
    database OID NOT NULL,
    trigger_version TEXT NOT NULL,
    began PG_LSN NOT NULL,
    began_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
    UNIQUE (number)
)
"""

INCARNATION = """
CREATE UNLOGGED TABLE log_feed.incarnation (
    single BOOLEAN PRIMARY KEY DEFAULT true CHECK (single),
    id BIGINT NOT NULL
)
"""

# The ends of incarnations. After a crash, a restore or the start of a copy, the first line or reader records
# how far this server had come, and which transactions had not ended: another server may have continued from
# there in another way.
INTERRUPTIONS = """
CREATE TABLE log_feed.interruptions (
    lsn PG_LSN NOT NULL,
    snapshot PG_SNAPSHOT NOT NULL,
    incarnation BIGINT
)
"""

# Transactions that have changed rows without entries: all cursors end when such a transaction has committed.
# A transaction that is pending was in progress at a reset, and may record what the reset makes untrue.
RESETS = """
CREATE TABLE log_feed.resets (
    xid XID8 NOT NULL,
    is_pending BOOLEAN NOT NULL DEFAULT false,
    PRIMARY KEY (xid, is_pending)
)
"""

# This value changes when a trigger is dropped, disabled or enabled, since lines may have been written without
# entries; it is null while one is missing or disabled. The second trigger counts only if another transaction
# has made it than the first one.
TRIGGER_VERSION = """
CREATE OR REPLACE VIEW log_feed.trigger_version AS
    SELECT recorder.oid || '.' || recorder.xmin
               || coalesce(' ' || nullif(replica.xmin::text, recorder.xmin::text), '') AS version
    FROM pg_trigger AS recorder
    LEFT JOIN pg_trigger AS replica
        ON replica.tgrelid = recorder.tgrelid AND replica.tgname = 'log_feed_replica'
    WHERE recorder.tgrelid = 'system_logs'::regclass AND recorder.tgname = 'log_feed_insert'
      AND recorder.tgenabled IN ('O', 'A')
      AND (replica.tgenabled IN ('R', 'A') OR NOT EXISTS (SELECT FROM pg_subscription_rel))
"""

# The resets that end cursors now.
DUE_RESETS = """
CREATE OR REPLACE VIEW log_feed.due_resets AS
    SELECT xid, is_pending FROM log_feed.resets WHERE NOT is_pending
"""

# The incarnation whose cursors are valid: none while a trigger is missing, or a reset is due.
CURRENT_INCARNATION = """
CREATE OR REPLACE VIEW log_feed.current_incarnation AS
    SELECT id, system_identifier, timeline, database
    FROM log_feed.incarnation JOIN log_feed.incarnations USING (id)
    WHERE trigger_version = (SELECT version FROM log_feed.trigger_version)
      AND NOT EXISTS (SELECT FROM log_feed.due_resets)
"""

# An insert waits for no other transaction, and works alike at all isolation levels.
RESET = """
CREATE OR REPLACE FUNCTION log_feed.reset() RETURNS void LANGUAGE sql
    SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO log_feed.resets (xid) VALUES (pg_current_xact_id()) ON CONFLICT DO NOTHING
$$
"""

NOTE_INTERRUPTION = """
CREATE OR REPLACE FUNCTION log_feed.note_interruption() RETURNS void LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM log_feed.incarnation)
            AND NOT EXISTS (SELECT FROM log_feed.interruptions WHERE incarnation IS NULL) THEN
        INSERT INTO log_feed.interruptions VALUES (pg_current_wal_insert_lsn(), pg_current_snapshot());
    END IF;
END $$
"""

RECORD = """
CREATE OR REPLACE FUNCTION log_feed.record_lines() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    notified text;
    moment text;
BEGIN
    IF current_setting('check_function_bodies') = 'off' AND current_setting('row_security') = 'off' THEN
        PERFORM log_feed.reset();
        RETURN NULL;
    END IF;
    notified := nullif(current_setting('log_feed.notify', true), '');
    -- A session outlives no interruption: it looks for one until it has notified.
    IF coalesce(notified, 'off') = 'off' THEN
        PERFORM log_feed.note_interruption();
    END IF;
    INSERT INTO log_feed.entries SELECT pg_current_xact_id(), id FROM added;
    moment := (date_part('epoch', clock_timestamp()) * 100)::bigint;
    IF notified IS DISTINCT FROM moment AND notified IS DISTINCT FROM 'off'
            AND pg_try_advisory_xact_lock(7813585362) THEN
        PERFORM set_config('log_feed.notify', moment, false), pg_notify('log_feed', '');
    END IF;
    RETURN NULL;
END $$
"""

# A transaction that deletes a line which it has written itself deletes the entry too, since nobody else could
# see the line. Other deleted lines keep their entries, by which readers notice that lines are missing.
FORGET = """
CREATE OR REPLACE FUNCTION log_feed.forget_own_lines() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM log_feed.entries WHERE xid = pg_current_xact_id_if_assigned()) THEN
        EXECUTE format(
            'DELETE FROM log_feed.entries e WHERE xid = pg_current_xact_id()'
            ' AND NOT EXISTS (SELECT FROM %I.%I log WHERE log.id = e.id)', TG_TABLE_SCHEMA, TG_TABLE_NAME);
    END IF;
    RETURN NULL;
END $$
"""

# Logical replication fires row triggers alone, and only those that are enabled for replicas. The rows that a
# new subscription copies first are history: they were there before it.
REPLICATE = """
CREATE OR REPLACE FUNCTION log_feed.record_replicated_line() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' AND EXISTS (SELECT FROM pg_subscription_rel WHERE srsubstate = 'd') AND EXISTS (
            SELECT FROM pg_stat_get_subscription(NULL) AS worker
            JOIN pg_subscription_rel ON (srsubid, srrelid) = (worker.subid, worker.relid)
            WHERE worker.pid = pg_backend_pid() AND srsubstate = 'd') THEN
        PERFORM log_feed.reset();
    ELSIF TG_OP = 'INSERT' THEN
        IF coalesce(current_setting('log_feed.looked', true), '') = '' THEN
            PERFORM log_feed.note_interruption(), set_config('log_feed.looked', 'on', false);
        END IF;
        INSERT INTO log_feed.entries VALUES (pg_current_xact_id(), NEW.id);
    ELSE
        DELETE FROM log_feed.entries WHERE xid = pg_current_xact_id() AND id = OLD.id;
    END IF;
    RETURN NULL;
END $$
"""

# Only our triggers and the service write to our tables. Rows from anywhere else come from a dump that is
# restored, or by replication from a server that has tables of the same name; this function refuses them.
REFUSE = """
CREATE OR REPLACE FUNCTION log_feed.refuse_row() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('session_replication_role') = 'replica'
            OR (current_setting('check_function_bodies') = 'off'
                AND current_setting('row_security') = 'off') THEN
        RETURN NULL;
    ELSIF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$
"""

DECLARED_TABLES = {
    "log_feed.entries": ENTRIES,
    "log_feed.watermarks": WATERMARKS,
    "log_feed.horizon": HORIZON,
    "log_feed.incarnations": INCARNATIONS,
    "log_feed.incarnation": INCARNATION,
    "log_feed.interruptions": INTERRUPTIONS,
    "log_feed.resets": RESETS,
}
DECLARED_FUNCTIONS = {
    "log_feed.reset": RESET,
    "log_feed.note_interruption": NOTE_INTERRUPTION,
    "log_feed.record_lines": RECORD,
    "log_feed.forget_own_lines": FORGET,
    "log_feed.record_replicated_line": REPLICATE,
    "log_feed.refuse_row": REFUSE,
}
DECLARED_VIEWS = {
    "log_feed.trigger_version": TRIGGER_VERSION,
    "log_feed.due_resets": DUE_RESETS,
    "log_feed.current_incarnation": CURRENT_INCARNATION,
}

# Triggers by table and name, each with its mode and its definition.
DECLARED_TRIGGERS = {
    ("system_logs", "log_feed_insert"): (
        "ORIGIN",
        (
            "AFTER INSERT ON system_logs REFERENCING NEW TABLE AS added"
            " FOR EACH STATEMENT EXECUTE FUNCTION log_feed.record_lines()"
        ),
    ),
    ("system_logs", "log_feed_delete"): (
        "ORIGIN",
        "AFTER DELETE ON system_logs FOR EACH STATEMENT EXECUTE FUNCTION log_feed.forget_own_lines()",
    ),
    ("system_logs", "log_feed_truncate"): (
        "ORIGIN",
        "AFTER TRUNCATE ON system_logs FOR EACH STATEMENT EXECUTE FUNCTION log_feed.forget_own_lines()",
    ),
    # The condition keeps it from firing for others, after `ENABLE TRIGGER ALL` has enabled it for everybody.
    ("system_logs", "log_feed_replica"): (
        "REPLICA",
        (
            "AFTER INSERT OR DELETE ON system_logs FOR EACH ROW"
            " WHEN (current_setting('session_replication_role') = 'replica')"
            " EXECUTE FUNCTION log_feed.record_replicated_line()"
        ),
    ),
    # This condition is evaluated for every line that is logged: a longer one would cost the bot more.
    **{
        (table, "log_feed_own"): (
            "ALWAYS",
            (
                f"BEFORE INSERT{'' if table == 'log_feed.entries' else ' OR UPDATE OR DELETE'} ON {table}"
                " FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION log_feed.refuse_row()"
            ),
        )
        for table in DECLARED_TABLES
    },
}


def upgrade() -> None:
    op.execute("CREATE SCHEMA log_feed")
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
        op.execute(f"DROP FUNCTION {function}()")
    for table in DECLARED_TABLES:
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP SCHEMA log_feed")
