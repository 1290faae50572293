"""The platform's tables and views. Other programs write them, too, so no column may change."""

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from graphql_api.postgres.tables.base import NOW, Timestamp, Uuid, metadata, views


def _id() -> Column[str]:
    return Column("id", Uuid, primary_key=True, server_default=text("uuid_generate_v4()"))


users = Table(
    "users",
    metadata,
    _id(),
    Column("email", String(255), nullable=False, unique=True),
    Column("password_hash", String(255), nullable=False),
    Column("created_at", Timestamp, server_default=NOW),
    Column("last_login", Timestamp),
    Column("is_active", Boolean, server_default=text("true")),
    Column("subscription_status", String(50)),
    Column("subscription_expires", Timestamp),
)

accounts = Table(
    "tradelocker_accounts",
    metadata,
    _id(),
    Column("user_id", Uuid, ForeignKey(users.c.id)),
    Column("account_number", String(100), nullable=False),
    Column("server", String(100), nullable=False),
    Column("api_key", String(255)),
    Column("is_active", Boolean, server_default=text("true")),
    Column("last_sync", Timestamp),
    UniqueConstraint("user_id", "account_number"),
)

sessions = Table(
    "trading_sessions",
    metadata,
    _id(),
    Column("account_id", Uuid, ForeignKey(accounts.c.id)),
    Column("started_at", Timestamp, server_default=NOW),
    Column("ended_at", Timestamp),
    Column("initial_balance", Numeric(20, 8)),
    Column("final_balance", Numeric(20, 8)),
    Column("pnl", Numeric(20, 8)),
    Column("trades_count", Integer, server_default=text("0")),
)

trades = Table(
    "trades",
    metadata,
    _id(),
    Column("session_id", Uuid, ForeignKey(sessions.c.id)),
    Column("symbol", String(20), nullable=False),
    Column("direction", String(10), nullable=False),
    Column("entry_price", Numeric(20, 8), nullable=False),
    Column("exit_price", Numeric(20, 8)),
    Column("size", Numeric(20, 8), nullable=False),
    Column("entry_time", Timestamp, nullable=False),
    Column("exit_time", Timestamp),
    Column("pnl", Numeric(20, 8)),
    Column("status", String(20), nullable=False),
    Column("strategy_id", Uuid),  # no foreign key: the strategy may be gone
    Column("ai_confidence", Numeric(5, 4)),
    Index("idx_trades_session", "session_id"),
    Index("idx_trades_strategy", "strategy_id"),
)

strategies = Table(
    "ai_strategies",
    metadata,
    _id(),
    Column("name", String(100), nullable=False),
    Column("description", Text),
    Column("parameters", JSONB),
    Column("created_at", Timestamp, server_default=NOW),
    Column("updated_at", Timestamp),
    Column("performance_score", Numeric(5, 4)),
    Column("is_active", Boolean, server_default=text("true")),
)

strategy_performance = Table(
    "strategy_performance",
    metadata,
    _id(),
    Column("strategy_id", Uuid, ForeignKey(strategies.c.id)),
    Column("timestamp", Timestamp, server_default=NOW),
    Column("win_rate", Numeric(5, 4)),
    Column("profit_factor", Numeric(10, 4)),
    Column("sharpe_ratio", Numeric(10, 4)),
    Column("trades_count", Integer),
    Column("period_start", Timestamp),
    Column("period_end", Timestamp),
    Index("idx_strategy_performance_strategy", "strategy_id"),
)

risk_settings = Table(
    "risk_settings",
    metadata,
    _id(),
    Column("account_id", Uuid, ForeignKey(accounts.c.id)),
    Column("max_daily_loss", Numeric(20, 8)),
    Column("max_position_size", Numeric(20, 8)),
    Column("max_open_positions", Integer),
    Column("risk_per_trade", Numeric(5, 4)),
    Column("updated_at", Timestamp, server_default=NOW),
)

system_logs = Table(
    "system_logs",
    metadata,
    _id(),
    Column("timestamp", Timestamp, server_default=NOW),
    Column("level", String(20), nullable=False),
    Column("component", String(50), nullable=False),
    Column("message", Text, nullable=False),
    Column("details", JSONB),
    Index("idx_system_logs_timestamp", "timestamp"),
    Index("idx_system_logs_level", "level"),
)

active_strategies_performance = Table(
    "active_strategies_performance",
    views,
    *(Column(name, strategies.c[name].type) for name in ("id", "name", "performance_score")),
    *(
        Column(name, strategy_performance.c[name].type)
        for name in ("win_rate", "profit_factor", "sharpe_ratio", "trades_count")
    ),
)

account_performance = Table(
    "account_performance",
    views,
    Column("account_number", String(100)),
    *(
        Column(name, sessions.c[name].type)
        for name in ("started_at", "ended_at", "initial_balance", "final_balance", "pnl", "trades_count")
    ),
)
