"""The indexes and planner statistics that the service adds to the documented tables.

`graphql-api migrate` builds them concurrently (`postgres.indexes`). Each costs the bot CPU and WAL for every
row that it writes; what each is for and costs is measured in `docs/decisions/0011`.
"""

from typing import Final

from sqlalchemy import Index, func
from sqlalchemy.sql.elements import Grouping

from graphql_api.postgres.tables.base import sort_key
from graphql_api.postgres.tables.platform import (
    risk_settings,
    sessions,
    strategy_performance,
    system_logs,
    trades,
    users,
)
from graphql_api.postgres.vocabularies import trade_status_sql

# Whoever changes the words of a trade's status gives the indexes of `_status` new names, and retires the old.
_status = Grouping(trade_status_sql(trades.c.status, trades.c.exit_time))  # an index wants parentheses

# One index for each order that pages of children are read in, usable in both directions.
ADDED_INDEXES: Final = (
    Index("idx_sessions_account_page", sessions.c.account_id, sort_key(sessions.c.started_at), sessions.c.id),
    Index("idx_trades_session_page", trades.c.session_id, trades.c.entry_time, trades.c.id),
    Index("idx_trades_strategy_page", trades.c.strategy_id, trades.c.entry_time, trades.c.id),
    Index("idx_trades_page", trades.c.entry_time, trades.c.id),
    *(
        index
        for name in ("exit_time", "pnl", "size", "symbol", "ai_confidence")
        for index in (
            Index(f"idx_trades_page_{name}", sort_key(trades.c[name]), trades.c.id),
            Index(
                f"idx_trades_session_page_{name}", trades.c.session_id, sort_key(trades.c[name]), trades.c.id
            ),
            Index(
                f"idx_trades_strategy_page_{name}",
                trades.c.strategy_id,
                sort_key(trades.c[name]),
                trades.c.id,
            ),
        )
    ),
    *(
        Index(f"idx_trades_by_status_{name}", _status, sort_key(trades.c[name]), trades.c.id)
        for name in ("exit_time", "pnl")
    ),
    Index(
        "idx_strategy_performance_page",
        strategy_performance.c.strategy_id,
        sort_key(strategy_performance.c.timestamp),
        strategy_performance.c.id,
    ),
    Index(
        "idx_risk_settings_current",
        risk_settings.c.account_id,
        sort_key(risk_settings.c.updated_at),
        risk_settings.c.id,
    ),
    Index("idx_system_logs_page", sort_key(system_logs.c.timestamp), system_logs.c.id),
    Index("idx_users_email_lower", func.lower(users.c.email)),
)

OPERATOR_INDEXES: Final[tuple[Index, ...]] = ()
"""For operators' orders over everybody's trades; built by `graphql-api migrate --operator-indexes`."""

RETIRED_INDEXES: Final = ("idx_trades_status_page_exit_time", "idx_trades_status_page_pnl")
"""Names of indexes that former versions built, which `migrate` drops."""

ADDED_STATISTICS: Final = {"stats_trades_status": (trades, _status.element)}
"""Expressions that filters compare, of which the planner would otherwise guess how many rows fit."""
