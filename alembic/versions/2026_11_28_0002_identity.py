"""Roles, logins and tokens.

Other programs may delete users. Deleting a user also deletes the user's roles and tokens.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LOCKS = "users: writes wait for moments"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE graphql_api.user_roles (
            user_id UUID NOT NULL REFERENCES users(id) ON DELETE CASCADE,
            role TEXT NOT NULL CONSTRAINT user_roles_role_check CHECK (role IN ('operator', 'admin')),
            granted_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
            PRIMARY KEY (user_id, role)
        )
    """)
    op.execute("""
        CREATE TABLE graphql_api.token_families (
            id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
            user_id UUID NOT NULL REFERENCES users(id) ON DELETE CASCADE,
            password_digest BYTEA NOT NULL,
            created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
            expires_at TIMESTAMP WITH TIME ZONE NOT NULL
        )
    """)
    op.execute("CREATE INDEX token_families_user_id_idx ON graphql_api.token_families (user_id)")
    op.execute("CREATE INDEX token_families_expires_at_idx ON graphql_api.token_families (expires_at)")
    op.execute("""
        CREATE TABLE graphql_api.refresh_tokens (
            digest BYTEA PRIMARY KEY,
            family UUID NOT NULL REFERENCES graphql_api.token_families(id) ON DELETE CASCADE,
            created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
            used_at TIMESTAMP WITH TIME ZONE
        )
    """)
    op.execute("CREATE INDEX refresh_tokens_family_idx ON graphql_api.refresh_tokens (family)")
    op.execute("""
        CREATE TABLE graphql_api.service_tokens (
            id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
            digest BYTEA NOT NULL UNIQUE,
            name TEXT NOT NULL,
            scopes TEXT[] NOT NULL,
            user_id UUID REFERENCES users(id) ON DELETE CASCADE,
            created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT CURRENT_TIMESTAMP,
            expires_at TIMESTAMP WITH TIME ZONE,
            revoked_at TIMESTAMP WITH TIME ZONE,
            last_used_at TIMESTAMP WITH TIME ZONE
        )
    """)
    op.execute("CREATE INDEX service_tokens_user_id_idx ON graphql_api.service_tokens (user_id)")


def downgrade() -> None:
    op.execute("DROP TABLE graphql_api.service_tokens")
    op.execute("DROP TABLE graphql_api.refresh_tokens")
    op.execute("DROP TABLE graphql_api.token_families")
    op.execute("DROP TABLE graphql_api.user_roles")
