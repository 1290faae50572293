"""What the log feed needs: which transaction wrote each log line, and the lineage of the database.

The documented table stays as it is. A trigger records each new line in log_feed.entries, with the id of its
transaction, by which the feed orders and resumes. It runs with the owner's rights: a program that writes log
lines needs none in our schema.

The trigger also notifies, as a hint: readers fetch by themselves while lines come. Every NOTIFY takes one
lock of the whole cluster at commit, so a session notifies once in a hundredth of a second, and of the
transactions that write at the same time only the one that gets the advisory lock does. PostgreSQL refuses
PREPARE TRANSACTION after a NOTIFY: programs that use it SET log_feed.notify = off.

The lines of a restored dump are history and are not recorded. pg_dump's scripts are recognised by two
settings that nothing else turns off together; then all cursors end, since rows may have come from anywhere.

log_feed.incarnation is unlogged on purpose: a crash, a promotion and a restore all empty it.
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

# Which transactions had all ended at some times: what is trimmed by age goes by it.
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

# Changes when the trigger is dropped, disabled or enabled: lines may have been written without entries.
TRIGGER_VERSION = """
CREATE VIEW log_feed.trigger_version AS
    SELECT oid || '.' || xmin AS version FROM pg_trigger
    WHERE tgrelid = 'system_logs'::regclass AND tgname = 'log_feed_insert' AND tgenabled IN ('O', 'A')
"""

RECORD = """
CREATE FUNCTION log_feed.record_lines() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    notified text;
    moment text;
BEGIN
    IF current_setting('check_function_bodies') = 'off' AND current_setting('row_security') = 'off' THEN
        DELETE FROM log_feed.incarnation;
        DELETE FROM log_feed.incarnations;
        RETURN NULL;
    END IF;
    INSERT INTO log_feed.entries SELECT pg_current_xact_id(), id FROM added;
    notified := current_setting('log_feed.notify', true);
    moment := (date_part('epoch', clock_timestamp()) * 100)::bigint;
    IF notified IS DISTINCT FROM moment AND notified IS DISTINCT FROM 'off'
            AND pg_try_advisory_xact_lock(7813585362) THEN
        PERFORM set_config('log_feed.notify', moment, false), pg_notify('log_feed', '');
    END IF;
    RETURN NULL;
END $$
"""

# A line that its own transaction has written was never there for anybody else. Other lines that are deleted
# keep their entries: readers that come to them see that lines are missing.
FORGET = """
CREATE FUNCTION log_feed.forget_own_lines() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
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

# Logical replication fires row triggers alone, and only those that are enabled for replicas.
REPLICATE = """
CREATE FUNCTION log_feed.record_replicated_line() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO log_feed.entries VALUES (pg_current_xact_id(), NEW.id);
    ELSE
        DELETE FROM log_feed.entries WHERE xid = pg_current_xact_id() AND id = OLD.id;
    END IF;
    RETURN NULL;
END $$
"""

TRIGGERS = {
    "insert": "AFTER INSERT ON system_logs REFERENCING NEW TABLE AS added"
    " FOR EACH STATEMENT EXECUTE FUNCTION log_feed.record_lines()",
    "delete": "AFTER DELETE ON system_logs FOR EACH STATEMENT EXECUTE FUNCTION log_feed.forget_own_lines()",
    "truncate": "AFTER TRUNCATE ON system_logs"
    " FOR EACH STATEMENT EXECUTE FUNCTION log_feed.forget_own_lines()",
    # The condition holds where `ENABLE TRIGGER ALL` has enabled it for everybody.
    "replica": "AFTER INSERT OR DELETE ON system_logs FOR EACH ROW"
    " WHEN (current_setting('session_replication_role') = 'replica')"
    " EXECUTE FUNCTION log_feed.record_replicated_line()",
}


def upgrade() -> None:
    op.execute("CREATE SCHEMA log_feed")
    for statement in (ENTRIES, WATERMARKS, HORIZON, INCARNATIONS, INCARNATION):
        op.execute(statement)
    for statement in (RECORD, FORGET, REPLICATE):
        op.execute(statement)
    for name, trigger in TRIGGERS.items():
        op.execute(f"CREATE TRIGGER log_feed_{name} {trigger}")
    op.execute("ALTER TABLE system_logs ENABLE REPLICA TRIGGER log_feed_replica")
    op.execute(TRIGGER_VERSION)


def downgrade() -> None:
    for name in TRIGGERS:
        op.execute(f"DROP TRIGGER log_feed_{name} ON system_logs")
    op.execute("DROP VIEW log_feed.trigger_version")
    for function in ("record_lines", "forget_own_lines", "record_replicated_line"):
        op.execute(f"DROP FUNCTION log_feed.{function}()")
    for table in ("entries", "watermarks", "horizon", "incarnation", "incarnations"):
        op.execute(f"DROP TABLE log_feed.{table}")
    op.execute("DROP SCHEMA log_feed")
