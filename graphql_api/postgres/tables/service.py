"""The service's own tables: roles, logins and tokens, idempotency keys, and what recorders record."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from graphql_api.postgres.tables.base import NOW, SERVICE_SCHEMA, Timestamp, Uuid, metadata
from graphql_api.postgres.tables.platform import (
    users,
)

# Other programs may delete a user: our rows about them are deleted with them.
user_roles = Table(
    "user_roles",
    metadata,
    Column("user_id", Uuid, ForeignKey(users.c.id, ondelete="CASCADE"), primary_key=True),
    Column("role", Text, CheckConstraint("role IN ('operator', 'admin')", name="role"), primary_key=True),
    Column("granted_at", Timestamp, nullable=False, server_default=NOW),
    schema=SERVICE_SCHEMA,
)

# A row is a login that has not ended: logging out deletes it. The table's name is token_families.
logins = Table(
    "token_families",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("user_id", Uuid, ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False),
    # SHA-256 of the password_hash it was made with: a new password ends it.
    Column("password_digest", LargeBinary, nullable=False),
    Column("created_at", Timestamp, nullable=False, server_default=NOW),
    Column("expires_at", Timestamp, nullable=False),
    Index("token_families_user_id_idx", "user_id"),
    Index("token_families_expires_at_idx", "expires_at"),
    schema=SERVICE_SCHEMA,
)

# Used tokens stay as long as their login, so that a second use is noticed.
refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("family", Uuid, ForeignKey(logins.c.id, ondelete="CASCADE"), key="login_id", nullable=False),
    Column("created_at", Timestamp, nullable=False, server_default=NOW),
    Column("used_at", Timestamp),
    Index("refresh_tokens_family_idx", "login_id"),
    schema=SERVICE_SCHEMA,
)

service_tokens = Table(
    "service_tokens",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("user_id", Uuid, ForeignKey(users.c.id, ondelete="CASCADE")),
    Column("created_at", Timestamp, nullable=False, server_default=NOW),
    Column("expires_at", Timestamp),
    Column("revoked_at", Timestamp),
    Column("last_used_at", Timestamp),
    Index("service_tokens_user_id_idx", "user_id"),
    schema=SERVICE_SCHEMA,
)

# One row is a request that must not be carried out twice. `viewer` is a user's id or a service token's
# digest; `effects` counts the transactions of the attempt that were committed, the last one on the connection
# of `backend`, a process of the PostgreSQL that was `server_started` then.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("viewer", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request", LargeBinary, nullable=False),
    Column("attempt", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    Column("effects", BigInteger, nullable=False, server_default=text("0")),
    Column("answer", LargeBinary),
    Column("leased_until", Timestamp, nullable=False),
    Column("expires_at", Timestamp, nullable=False),
    Column("backend", Integer),
    Column("server_started", Timestamp),
    Index("idempotency_keys_expires_at_idx", "expires_at"),
    schema=SERVICE_SCHEMA,
)

# How far a recorder has read its feed, written in the transaction in which it records.
recorders = Table(
    "recorders",
    metadata,
    Column("name", Text, primary_key=True),
    Column("cursor", Text, nullable=False),
    Column("state", JSONB, nullable=False),
    schema=SERVICE_SCHEMA,
)

# Which log lines name an account, or a session or trade of it. There are no foreign keys: they would make
# TRUNCATE of system_logs fail, and lock its rows whenever one is inserted here. `at` is the line's timestamp,
# -infinity if it has none.
account_logs = Table(
    "account_logs",
    metadata,
    Column("account_id", Uuid, primary_key=True),
    Column("at", Timestamp, primary_key=True),
    Column("id", Uuid, primary_key=True),
    schema=SERVICE_SCHEMA,
)

# Lines that name rows that aren't there yet: the trade that they name may not be committed.
unattributed_logs = Table(
    "unattributed_logs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("noted_at", Timestamp, nullable=False, server_default=NOW),
    Column("retry_at", Timestamp, nullable=False, server_default=NOW),
    Index("unattributed_logs_retry_at_idx", "retry_at"),
    schema=SERVICE_SCHEMA,
)

# Risk events. `limits_…` are the four limits as JSON, null if there is no row of risk_settings; if another
# program has changed limits, the author is unknown.
risk_events = Table(
    "risk_events",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("number", BigInteger, Identity(), nullable=False),
    Column("account_id", Uuid, nullable=False),
    Column("at", Timestamp, nullable=False, server_default=text("clock_timestamp()")),
    Column("kind", Text, nullable=False),
    Column("risk_limit", Text),
    Column("value", Numeric),
    Column("allowed", Numeric),
    Column("since", Timestamp),
    Column("trades", ARRAY(Uuid)),
    Column("limits_before", JSONB),
    Column("limits_after", JSONB),
    Column("author", Text),
    Column("author_id", Uuid),
    Index("risk_events_page_idx", "account_id", "at", "id"),
    Index("risk_events_mutation_idx", "account_id", "number", postgresql_where=text("author <> 'PROGRAM'")),
    schema=SERVICE_SCHEMA,
)

# The limit states of accounts at the last poll of the recorder of risk events: the limits in force, since
# when each exceeded one is exceeded, and the number of the last event of a mutation that it saw.
risk_standings = Table(
    "risk_standings",
    metadata,
    Column("account_id", Uuid, primary_key=True),
    Column("limits", JSONB),
    Column("exceeded", JSONB, nullable=False),
    Column("mutation", BigInteger),
    schema=SERVICE_SCHEMA,
)
