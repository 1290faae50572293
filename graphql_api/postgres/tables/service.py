"""What is ours: the indexes that pages of children are read by, and who may do what (schema api_auth)."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.elements import Grouping

from graphql_api.postgres.tables.base import NOW, Timestamp, Uuid, metadata, sort_key
from graphql_api.postgres.tables.platform import (
    risk_settings,
    sessions,
    strategy_performance,
    system_logs,
    trades,
    users,
)
from graphql_api.postgres.vocabularies import trade_status_sql

# One index for each order that pages of children are read in, usable in both directions.
Index("idx_sessions_account_page", sessions.c.account_id, sort_key(sessions.c.started_at), sessions.c.id)
Index("idx_trades_session_page", trades.c.session_id, trades.c.entry_time, trades.c.id)
Index("idx_trades_strategy_page", trades.c.strategy_id, trades.c.entry_time, trades.c.id)
Index("idx_trades_page", trades.c.entry_time, trades.c.id)
for _name in ("exit_time", "pnl", "size", "symbol", "ai_confidence"):
    _key = sort_key(trades.c[_name])
    Index(f"idx_trades_page_{_name}", _key, trades.c.id)
    Index(f"idx_trades_session_page_{_name}", trades.c.session_id, _key, trades.c.id)
    Index(f"idx_trades_strategy_page_{_name}", trades.c.strategy_id, _key, trades.c.id)
_status = Grouping(trade_status_sql(trades.c.status, trades.c.exit_time))  # an index wants parentheses
for _name in ("exit_time", "pnl"):
    Index(f"idx_trades_status_page_{_name}", _status, sort_key(trades.c[_name]), trades.c.id)
Index(
    "idx_strategy_performance_page",
    strategy_performance.c.strategy_id,
    sort_key(strategy_performance.c.timestamp),
    strategy_performance.c.id,
)
Index(
    "idx_risk_settings_current",
    risk_settings.c.account_id,
    sort_key(risk_settings.c.updated_at),
    risk_settings.c.id,
)
Index("idx_system_logs_page", sort_key(system_logs.c.timestamp), system_logs.c.id)

Index("idx_users_email_lower", func.lower(users.c.email))

# Other programs may delete a user: what we know of them goes along, and never stands in the way.
user_roles = Table(
    "user_roles",
    metadata,
    Column("user_id", Uuid, ForeignKey(users.c.id, ondelete="CASCADE"), primary_key=True),
    Column("role", Text, CheckConstraint("role IN ('operator', 'admin')", name="role"), primary_key=True),
    Column("granted_at", Timestamp, nullable=False, server_default=NOW),
    schema="api_auth",
)

# One row is one login that lives: its end is the row's.
token_families = Table(
    "token_families",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("user_id", Uuid, ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False),
    # SHA-256 of the password_hash it began with: a new password ends it.
    Column("password_digest", LargeBinary, nullable=False),
    Column("created_at", Timestamp, nullable=False, server_default=NOW),
    Column("expires_at", Timestamp, nullable=False),
    Index("token_families_user_id_idx", "user_id"),
    Index("token_families_expires_at_idx", "expires_at"),
    schema="api_auth",
)

# Used tokens stay as long as their family, so that a second use is noticed.
refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("family", Uuid, ForeignKey(token_families.c.id, ondelete="CASCADE"), nullable=False),
    Column("created_at", Timestamp, nullable=False, server_default=NOW),
    Column("used_at", Timestamp),
    Index("refresh_tokens_family_idx", "family"),
    schema="api_auth",
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
    schema="api_auth",
)

# One row is a request that must not be carried out twice. `viewer` is a user's id or a service token's
# digest; `effects` counts the transactions of the attempt that were committed.
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
    Index("idempotency_keys_expires_at_idx", "expires_at"),
    schema="api_auth",
)
