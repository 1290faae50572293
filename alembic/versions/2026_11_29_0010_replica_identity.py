"""Identifies rows of the feeds' interruptions for publications, since a table without a key has nothing else.

Otherwise PostgreSQL refuses to delete from these tables while a publication has all tables, and no feed
begins.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

LOCKS = "log_feed.interruptions, activity.interruptions: the start of a feed waits for moments"


def upgrade() -> None:
    for schema in ("log_feed", "activity"):
        op.execute(f"ALTER TABLE {schema}.interruptions REPLICA IDENTITY FULL")


def downgrade() -> None:
    for schema in ("log_feed", "activity"):
        op.execute(f"ALTER TABLE {schema}.interruptions REPLICA IDENTITY DEFAULT")
