"""The indexes and planner statistics that the service adds to the documented tables.

`graphql-api migrate` builds them concurrently (`postgres.indexes`). Each costs the bot CPU and WAL for every
row that it writes, and an index of a column that changes when a trade is closed prevents HOT updates, too.
`docs/decisions/0011` says what each is for, with measured costs.
"""

from typing import Final

from sqlalchemy import Column, Index, func
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
from graphql_api.postgres.tables.service import account_logs, risk_events
from graphql_api.postgres.vocabularies import trade_status_sql

_status = Grouping(
    trade_status_sql(trades.c.status, trades.c.exit_time)
)  # CREATE STATISTICS requires parentheses

# One index for each order of the rows below a parent, which serves both directions.
ADDED_INDEXES: Final = (
    Index("idx_sessions_account_page", sessions.c.account_id, sort_key(sessions.c.started_at), sessions.c.id),
    Index("idx_trades_session_page", trades.c.session_id, trades.c.entry_time, trades.c.id),
    Index("idx_trades_strategy_page", trades.c.strategy_id, trades.c.entry_time, trades.c.id),
    Index("idx_trades_page", trades.c.entry_time, trades.c.id),
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

_OPERATORS_ORDERS = ("exit_time", "pnl", "size", "symbol", "ai_confidence")

OPERATOR_INDEXES: Final = tuple(
    Index(f"idx_trades_operators_{name}", sort_key(trades.c[name]), trades.c.id) for name in _OPERATORS_ORDERS
)
"""For operators' sort orders over all tenants' trades; built by `graphql-api migrate --operator-indexes`."""

RETIRED_INDEXES: Final = (
    *(f"idx_trades_page_{name}" for name in _OPERATORS_ORDERS),
    *(f"idx_trades_session_page_{name}" for name in _OPERATORS_ORDERS),
    *(f"idx_trades_strategy_page_{name}" for name in _OPERATORS_ORDERS),
    *(f"idx_trades_{kind}_{name}" for kind in ("by_status", "status_page") for name in ("exit_time", "pnl")),
)
"""Names of indexes that former versions built, which `migrate` drops."""

ADDED_STATISTICS: Final = {"stats_trades_status": (trades, _status.element)}
"""Expressions that filters compare: without statistics the planner guesses how many rows match."""


def _columns(index: Index) -> tuple[str, ...]:
    return tuple(map(str, index.expressions))


def _keys(order: Column[object], within: Column[object] | None) -> tuple[str, ...]:
    """Returns the expressions of an order's index, as texts; a query's columns count as its table's."""
    first = () if within is None else (_of_table(within),)
    return tuple(map(str, (*first, sort_key(_of_table(order)), _of_table(order).table.c.id)))


def _of_table(column: Column[object]) -> Column[object]:
    (base,) = column.base_columns
    assert isinstance(base, Column)  # noqa: S101 - narrows
    return base


_ORDERS: Final = frozenset(
    (
        *map(_columns, ADDED_INDEXES),
        *map(_columns, risk_events.indexes),
        tuple(map(str, account_logs.primary_key.columns)),
    )
)
_OPERATORS: Final = {_columns(index): str(index.name) for index in OPERATOR_INDEXES}


def is_indexed(order: Column[object], within: Column[object] | None = None) -> bool:
    """Whether every migrated database has the rows of one value of `within`, or all rows, in this order."""
    return _keys(order, within) in _ORDERS


def operator_index(order: Column[object]) -> str | None:
    """Returns the name of the operators' index that has all rows in this order."""
    return _OPERATORS.get(_keys(order, None))
