"""An index of changes of limits, with which the recorder finds the last one of an account."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

LOCKS = "graphql_api.risk_events: writes wait for moments"


def upgrade() -> None:
    op.execute("""
        CREATE INDEX risk_events_change_idx ON graphql_api.risk_events (account_id, number)
            WHERE kind = 'LIMITS_CHANGED'
    """)


def downgrade() -> None:
    op.execute("DROP INDEX graphql_api.risk_events_change_idx")
