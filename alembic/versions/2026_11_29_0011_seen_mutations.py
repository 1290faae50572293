"""The last mutation of limits that the recorder of risk events has seen, for each account.

When a process takes over, it compares limits with those after later mutations, which record their own
changes. The order of events doesn't say which these are: a mutation may commit while a poll is under way.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

LOCKS = "graphql_api.risk_events, graphql_api.risk_standings: writes wait for moments"


def upgrade() -> None:
    op.execute("DROP INDEX graphql_api.risk_events_change_idx")
    op.execute("""
        CREATE INDEX risk_events_mutation_idx ON graphql_api.risk_events (account_id, number)
            WHERE author <> 'PROGRAM'
    """)
    op.execute("ALTER TABLE graphql_api.risk_standings ADD COLUMN mutation BIGINT")
    op.execute("""
        UPDATE graphql_api.risk_standings AS standing SET mutation = (
            SELECT max(number) FROM graphql_api.risk_events AS event
            WHERE event.account_id = standing.account_id AND author <> 'PROGRAM')
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE graphql_api.risk_standings DROP COLUMN mutation")
    op.execute("DROP INDEX graphql_api.risk_events_mutation_idx")
    op.execute("""
        CREATE INDEX risk_events_change_idx ON graphql_api.risk_events (account_id, number)
            WHERE kind = 'LIMITS_CHANGED'
    """)
