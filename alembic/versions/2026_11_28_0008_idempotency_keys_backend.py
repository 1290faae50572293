"""Adds to idempotency keys the connection that wrote them last: once it has ended, an answer is lost.

Processes of the former version go on meanwhile, and store keys without it.
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
