"""Performance: how strategies did over time, and the two views that report on it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from sqlalchemy import BigInteger, bindparam, select

from graphql_api.domain.policy import ACCOUNTS, SESSIONS, STRATEGIES, STRATEGY_PERFORMANCE
from graphql_api.postgres import tables
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.relational.child_relation import ROOT
from graphql_api.relational.comparisons import DateTimeFilter
from graphql_api.relational.connection import Connection
from graphql_api.relational.context import Reader, Row
from graphql_api.relational.filters import compares
from graphql_api.relational.node import Node
from graphql_api.relational.page import Order
from graphql_api.relational.permissions import reads_graph
from graphql_api.relational.relation import Listing, column, one, root_rows

if TYPE_CHECKING:
    from graphql_api.domain.account import Account
    from graphql_api.domain.session import Session
    from graphql_api.domain.strategy import Strategy

MAX_VIEW_ROWS = 5000

_performance = tables.strategy_performance.c
_first = bindparam("first", type_=BigInteger)


@strawberry.type(description="How a strategy did in one period, over all who use it.")
class StrategyPerformance(Node):
    """A row of strategy_performance."""

    timestamp: datetime | None = column("When it was measured.")
    win_rate: Decimal | None = column("Wins over closed trades, from 0 to 1.")
    profit_factor: Decimal | None = column("Gross profit over gross loss.")
    sharpe_ratio: Decimal | None = column("Mean return over its standard deviation.")
    trades_count: int | None = column("How many trades it counts.")
    period_start: datetime | None = column("The first moment it covers.")
    period_end: datetime | None = column("The last moment it covers.")
    strategy: Annotated["Strategy", strawberry.lazy("graphql_api.domain.strategy")] | None = one(
        "The strategy.", STRATEGIES, key="strategy_id"
    )


@strawberry.input(description="Which performance records.")
class StrategyPerformanceFilter:
    """Conditions on performance records; all that are given must hold."""

    timestamp: DateTimeFilter | None = compares("By when it was measured.", _performance.timestamp)


PERFORMANCE_LIST = Listing(
    STRATEGY_PERFORMANCE, default=Order(_performance.timestamp), filter=StrategyPerformanceFilter
)

StrategyPerformanceConnection = Connection[StrategyPerformance]


@strawberry.type(description="A row of the view active_strategies_performance.")
class ActiveStrategyPerformance:
    """One performance record of an active strategy."""

    id: strawberry.ID = column("The strategy's id: one strategy has a row for each of its records.")
    name: str = column("The strategy's name.")
    performance_score: Decimal | None = column("The strategy's score.")
    win_rate: Decimal | None = column("Wins over closed trades, from 0 to 1.")
    profit_factor: Decimal | None = column("Gross profit over gross loss.")
    sharpe_ratio: Decimal | None = column("Mean return over its standard deviation.")
    trades_count: int | None = column("How many trades the record counts.")
    strategy: Annotated["Strategy", strawberry.lazy("graphql_api.domain.strategy")] | None = one(
        "The strategy.", STRATEGIES, key="id"
    )


@strawberry.type(description="A row of the view account_performance, with the ids that the view leaves out.")
class AccountPerformance:
    """One session and its account."""

    account_number: str = column("The broker's number, unique for its user only.")
    started_at: datetime | None = column("When the session started.")
    ended_at: datetime | None = column("When it ended; null while it runs.")
    initial_balance: Decimal | None = column("The balance at its start.")
    final_balance: Decimal | None = column("The balance at its end.")
    pnl: Decimal | None = column("Profit or loss, as stored.")
    trades_count: int | None = column("How many trades, as stored.")
    account: Annotated["Account", strawberry.lazy("graphql_api.domain.account")] | None = one(
        "The account.", ACCOUNTS, key="account_id"
    )
    session: Annotated["Session", strawberry.lazy("graphql_api.domain.session")] | None = one(
        "The session.", SESSIONS, key="session_id"
    )


async def active_strategies(db: Reader, _keys: Sequence[Any], first: int) -> Mapping[str, list[Row]]:
    """The first rows of the view active_strategies_performance."""
    return {ROOT: list(await db.fetch(_active_strategies(), first=first))}


async def account_sessions(db: Reader, _keys: Sequence[Any], first: int) -> Mapping[str, list[Row]]:
    """The first rows of the view account_performance, for the tenant."""
    return {ROOT: list(await db.fetch(_account_sessions(db.tenant is not None), first=first))}


@lru_cache
def _active_strategies() -> Statement:
    view = tables.active_strategies_performance
    return compile_statement(select(view).order_by(view.c.name, view.c.id).limit(_first))


@lru_cache
def _account_sessions(scoped: bool) -> Statement:  # noqa: FBT001
    # The view names accounts by number alone, which two tenants may share: so its own join, with the ids.
    accounts, sessions = tables.accounts, tables.sessions
    columns = [
        accounts.c.account_number,
        *(sessions.c[part.name] for part in tables.account_performance.c if part.name in sessions.c),
        accounts.c.id.label("account_id"),
        sessions.c.id.label("session_id"),
    ]
    query = select(*columns).where(accounts.c.id.is_not(None))  # the view has no session without an account
    query = query.order_by(accounts.c.account_number, sessions.c.started_at, sessions.c.id).limit(_first)
    return compile_statement(SESSIONS.only_tenants(query, accounts, scoped=scoped))


@strawberry.type
class Query:
    """The views."""

    active_strategies_performance: list[ActiveStrategyPerformance] = root_rows(
        "Performance records of active strategies, by the strategy's name. It has no pages: for more rows,"
        " ask strategies for their performance.",
        active_strategies,
        most=MAX_VIEW_ROWS,
        check=reads_graph,
    )
    account_performance: list[AccountPerformance] = root_rows(
        "Sessions of the viewer's accounts, by account number. It has no pages: for more rows, ask accounts"
        " for their sessions.",
        account_sessions,
        most=MAX_VIEW_ROWS,
        check=reads_graph,
    )
