"""Every table and view this service reads or writes, on one page.

The eight tables, their constraints and five of the indexes are given: other programs write them too,
and no column may change. What we added says so.
"""

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id: ordered, never reused within a cluster's life."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """The type's name in DDL."""
        return "xid8"


ischema_names["xid8"] = Xid8  # so that reflection knows it too


# The names PostgreSQL itself gives, so that the given schema and ours read alike.
metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)
views = MetaData()

_UUID = UUID(as_uuid=False)
_Timestamp = DateTime(timezone=True)
_now = text("CURRENT_TIMESTAMP")


def _id() -> Column[str]:
    return Column("id", _UUID, primary_key=True, server_default=text("uuid_generate_v4()"))


users = Table(
    "users",
    metadata,
    _id(),
    Column("email", String(255), nullable=False, unique=True),
    Column("password_hash", String(255), nullable=False),
    Column("created_at", _Timestamp, server_default=_now),
    Column("last_login", _Timestamp),
    Column("is_active", Boolean, server_default=text("true")),
    Column("subscription_status", String(50)),
    Column("subscription_expires", _Timestamp),
)

accounts = Table(
    "tradelocker_accounts",
    metadata,
    _id(),
    Column("user_id", _UUID, ForeignKey(users.c.id)),
    Column("account_number", String(100), nullable=False),
    Column("server", String(100), nullable=False),
    Column("api_key", String(255)),
    Column("is_active", Boolean, server_default=text("true")),
    Column("last_sync", _Timestamp),
    UniqueConstraint("user_id", "account_number"),
)

sessions = Table(
    "trading_sessions",
    metadata,
    _id(),
    Column("account_id", _UUID, ForeignKey(accounts.c.id)),
    Column("started_at", _Timestamp, server_default=_now),
    Column("ended_at", _Timestamp),
    Column("initial_balance", Numeric(20, 8)),
    Column("final_balance", Numeric(20, 8)),
    Column("pnl", Numeric(20, 8)),
    Column("trades_count", Integer, server_default=text("0")),
)

trades = Table(
    "trades",
    metadata,
    _id(),
    Column("session_id", _UUID, ForeignKey(sessions.c.id)),
    Column("symbol", String(20), nullable=False),
    Column("direction", String(10), nullable=False),
    Column("entry_price", Numeric(20, 8), nullable=False),
    Column("exit_price", Numeric(20, 8)),
    Column("size", Numeric(20, 8), nullable=False),
    Column("entry_time", _Timestamp, nullable=False),
    Column("exit_time", _Timestamp),
    Column("pnl", Numeric(20, 8)),
    Column("status", String(20), nullable=False),
    Column("strategy_id", _UUID),  # no foreign key: the strategy may be gone
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
    Column("created_at", _Timestamp, server_default=_now),
    Column("updated_at", _Timestamp),
    Column("performance_score", Numeric(5, 4)),
    Column("is_active", Boolean, server_default=text("true")),
)

strategy_performance = Table(
    "strategy_performance",
    metadata,
    _id(),
    Column("strategy_id", _UUID, ForeignKey(strategies.c.id)),
    Column("timestamp", _Timestamp, server_default=_now),
    Column("win_rate", Numeric(5, 4)),
    Column("profit_factor", Numeric(10, 4)),
    Column("sharpe_ratio", Numeric(10, 4)),
    Column("trades_count", Integer),
    Column("period_start", _Timestamp),
    Column("period_end", _Timestamp),
    Index("idx_strategy_performance_strategy", "strategy_id"),
)

risk_settings = Table(
    "risk_settings",
    metadata,
    _id(),
    Column("account_id", _UUID, ForeignKey(accounts.c.id)),
    Column("max_daily_loss", Numeric(20, 8)),
    Column("max_position_size", Numeric(20, 8)),
    Column("max_open_positions", Integer),
    Column("risk_per_trade", Numeric(5, 4)),
    Column("updated_at", _Timestamp, server_default=_now),
)

system_logs = Table(
    "system_logs",
    metadata,
    _id(),
    Column("timestamp", _Timestamp, server_default=_now),
    Column("level", String(20), nullable=False),
    Column("component", String(50), nullable=False),
    Column("message", Text, nullable=False),
    Column("details", JSONB),
    # Ours: the transaction that wrote the row, by which the log feed orders and resumes.
    Column("feed_xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Index("idx_system_logs_timestamp", "timestamp"),
    Index("idx_system_logs_level", "level"),
    Index("idx_system_logs_feed", "feed_xid", "id"),
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


def sort_key(column: Column[Any]) -> ColumnElement[Any]:
    """A column as an order sees it: never null, so that (key, id) compares as one row.

    Null sorts as the smallest value, and so does a stored NaN, which readers see as null.
    """
    match column.type:
        case Numeric():
            finite = func.nullif(column, literal_column("'NaN'::numeric"))
            return func.coalesce(finite, literal_column("'-Infinity'::numeric"))
        case DateTime() if column.nullable:
            return func.coalesce(column, literal_column("'-infinity'::timestamp with time zone"))
        case Integer() if column.nullable:
            return func.coalesce(column, literal_column("'-2147483648'::integer"))
        case _ if column.nullable:
            return func.coalesce(column, literal_column("''"))
        case _:
            return column


# Ours: one index for each order that pages of children are read in, usable in both directions.
Index("idx_sessions_account_page", sessions.c.account_id, sort_key(sessions.c.started_at), sessions.c.id)
Index("idx_trades_session_page", trades.c.session_id, trades.c.entry_time, trades.c.id)
Index("idx_trades_strategy_page", trades.c.strategy_id, trades.c.entry_time, trades.c.id)
Index("idx_trades_page", trades.c.entry_time, trades.c.id)
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
