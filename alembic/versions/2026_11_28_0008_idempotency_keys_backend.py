"""Adds to each idempotency key the connection that wrote it last.

Once that connection has ended, an answer that isn't stored by then never will be. Processes of the former
version keep running meanwhile, and store keys without it.
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


def downgrade() -> None:
    op.execute("ALTER TABLE graphql_api.idempotency_keys DROP COLUMN backend, DROP COLUMN server_started")
