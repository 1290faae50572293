"""What the log feed adds to system_logs: the writing transaction's id, by which it orders and resumes.

pg_current_xact_id() is stable, so PostgreSQL evaluates it once for the rows that stand and rewrites
nothing: they all carry the migration's own id, which puts them before whatever comes next.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE system_logs ADD COLUMN feed_xid xid8 NOT NULL DEFAULT pg_current_xact_id()")
    op.execute("CREATE INDEX idx_system_logs_feed ON system_logs (feed_xid, id)")


def downgrade() -> None:
    op.execute("DROP INDEX idx_system_logs_feed")
    op.execute("ALTER TABLE system_logs DROP COLUMN feed_xid")
