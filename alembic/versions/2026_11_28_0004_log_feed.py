"""What the log feed needs besides feed_xid: a wake-up call, and a memory of past lives and of deletions.

The wake-up is a hint. Every NOTIFY takes one lock of the whole cluster at commit, so of the transactions
that write at the same time only the one that gets the advisory lock notifies; readers look again by
themselves while rows come. A transaction that has notified can't be prepared for two-phase commit: where
other programs do that, `ALTER TABLE system_logs DISABLE TRIGGER log_feed_wake` costs nothing but up to half
a second of delay.

log_feed.incarnation is unlogged on purpose: a crash, a promotion and a restore all empty it.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

LOCKS = "system_logs: reads and writes wait for moments"

INCARNATIONS = """
CREATE TABLE log_feed.incarnations (
    id BIGINT PRIMARY KEY,
    number BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY,
    system_identifier BIGINT NOT NULL,
    timeline TEXT NOT NULL,
    database OID NOT NULL,
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

WAKE = """
CREATE FUNCTION log_feed.wake() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_xact_lock(7813585362) THEN
        PERFORM pg_notify('log_feed', '');
    END IF;
    RETURN NULL;
END $$
"""

# With the owner's rights: whoever may delete log rows needs none in our schema. A row that its own
# transaction wrote was never there for anybody. Nothing is updated: deletions never wait for one another.
REMEMBER = """
CREATE FUNCTION log_feed.remember() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
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
END $$
"""


def upgrade() -> None:
    op.execute("ALTER TABLE system_logs ADD COLUMN feed_xid xid8 NOT NULL DEFAULT pg_current_xact_id()")
    op.execute("CREATE INDEX idx_system_logs_feed ON system_logs (feed_xid, id)")
    op.execute("CREATE SCHEMA log_feed")
    op.execute(INCARNATIONS)
    op.execute(INCARNATION)
    op.execute("CREATE TABLE log_feed.deletions (newest XID8 NOT NULL)")
    op.execute("CREATE INDEX deletions_newest_idx ON log_feed.deletions (newest)")
    op.execute(WAKE)
    op.execute(REMEMBER)
    op.execute(
        "CREATE TRIGGER log_feed_wake AFTER INSERT ON system_logs"
        " FOR EACH STATEMENT EXECUTE FUNCTION log_feed.wake()"
    )
    op.execute(
        "CREATE TRIGGER log_feed_deleted AFTER DELETE ON system_logs REFERENCING OLD TABLE AS deleted"
        " FOR EACH STATEMENT EXECUTE FUNCTION log_feed.remember()"
    )
    op.execute(
        "CREATE TRIGGER log_feed_truncated BEFORE TRUNCATE ON system_logs"
        " FOR EACH STATEMENT EXECUTE FUNCTION log_feed.remember()"
    )


def downgrade() -> None:
    for name in ("wake", "deleted", "truncated"):
        op.execute(f"DROP TRIGGER log_feed_{name} ON system_logs")
    op.execute("DROP FUNCTION log_feed.wake()")
    op.execute("DROP FUNCTION log_feed.remember()")
    for name in ("deletions", "incarnation", "incarnations"):
        op.execute(f"DROP TABLE log_feed.{name}")
    op.execute("DROP SCHEMA log_feed")
    op.execute("DROP INDEX idx_system_logs_feed")
    op.execute("ALTER TABLE system_logs DROP COLUMN feed_xid")
