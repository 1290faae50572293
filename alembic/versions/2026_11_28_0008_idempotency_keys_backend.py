"""Which connection wrote an idempotency key last: that it has ended tells that an answer is lost.

Keys under which nothing was changed are no longer stored. Those that there are would be in use until they
expire.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

LOCKS = "idempotency_keys: reads and writes wait for moments"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE graphql_api.idempotency_keys
            ADD COLUMN backend INTEGER,
            ADD COLUMN server_started TIMESTAMP WITH TIME ZONE
    """)
    op.execute("DELETE FROM graphql_api.idempotency_keys WHERE effects = 0 AND answer IS NULL")


def downgrade() -> None:
    op.execute("ALTER TABLE graphql_api.idempotency_keys DROP COLUMN backend, DROP COLUMN server_started")
