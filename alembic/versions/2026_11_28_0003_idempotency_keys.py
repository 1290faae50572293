"""Idempotency keys, under which a mutation is carried out once, with the answers, until they expire."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LOCKS = "nothing: the table is new"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE graphql_api.idempotency_keys (
            viewer TEXT NOT NULL,
            key TEXT NOT NULL,
            request BYTEA NOT NULL,
            attempt UUID NOT NULL DEFAULT gen_random_uuid(),
            effects BIGINT NOT NULL DEFAULT 0,
            answer BYTEA,
            leased_until TIMESTAMP WITH TIME ZONE NOT NULL,
            expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
            PRIMARY KEY (viewer, key)
        )
    """)
    op.execute("CREATE INDEX idempotency_keys_expires_at_idx ON graphql_api.idempotency_keys (expires_at)")


def downgrade() -> None:
    op.execute("DROP TABLE graphql_api.idempotency_keys")
