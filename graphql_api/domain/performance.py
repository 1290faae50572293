"""Performance records of strategies: their type and filters, and the view of the active strategies."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from sqlalchemy import BigInteger, bindparam, select

from graphql_api.domain.policy import STRATEGIES, STRATEGY_PERFORMANCE
from graphql_api.postgres import tables
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.postgres.tables import sort_key
from graphql_api.relational.context import Row, ViewerDatabase
from graphql_api.relational.filters import DateTimeFilter, compare_filter
from graphql_api.relational.node import Node
from graphql_api.relational.page_query import ROOT
from graphql_api.relational.pagination import SortOrder
from graphql_api.relational.permissions import reads_graph
from graphql_api.relational.relation import Connection, ListSpec, column, one, root_rows

if TYPE_CHECKING:
    from graphql_api.domain.strategy import Strategy

MAX_ROWS = 5000

_performance = tables.strategy_performance.c
_first = bindparam("first", type_=BigInteger)


@strawberry.type(description="How a strategy did in one period, over all who use it.")
class StrategyPerformance(Node, rows_of=STRATEGY_PERFORMANCE):
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


@strawberry.input(description="Conditions on performance records; all that are given must hold.")
class StrategyPerformanceFilter:
    timestamp: DateTimeFilter | None = compare_filter("By when it was measured.", _performance.timestamp)


PERFORMANCE_LIST = ListSpec(
    STRATEGY_PERFORMANCE,
    default_order=SortOrder(_performance.timestamp),
    filter_input=StrategyPerformanceFilter,
)

StrategyPerformanceConnection = Connection[StrategyPerformance]


@strawberry.type(
    description=(
        "A row of the view active_strategies_performance: one performance record of an active strategy, with"
        " the ids and times that the view leaves out."
    )
)
class ActiveStrategyPerformance:
    """A row of `active_strategies`."""

    id: strawberry.ID = column("The record's own id: `node` finds it as a StrategyPerformance.")
    strategy_id: strawberry.ID = column("The strategy's id: one strategy has a row for each of its records.")
    name: str = column("The strategy's name.")
    performance_score: Decimal | None = column("The strategy's score.")
    timestamp: datetime | None = column("When the record was measured.")
    win_rate: Decimal | None = column("Wins over closed trades, from 0 to 1.")
    profit_factor: Decimal | None = column("Gross profit over gross loss.")
    sharpe_ratio: Decimal | None = column("Mean return over its standard deviation.")
    trades_count: int | None = column("How many trades the record counts.")
    period_start: datetime | None = column("The first moment it covers.")
    period_end: datetime | None = column("The last moment it covers.")
    strategy: Annotated["Strategy", strawberry.lazy("graphql_api.domain.strategy")] | None = one(
        "The strategy.", STRATEGIES, key="strategy_id"
    )


async def active_strategies(db: ViewerDatabase, _keys: Sequence[Any], first: int) -> Mapping[str, list[Row]]:
    """Returns the first rows of the view active_strategies_performance, for ROOT."""
    return {ROOT: list(await db.fetch(_active_strategies(), first=first))}


@lru_cache
def _active_strategies() -> Statement:
    # The view's only id is the strategy's, which its records share: so a join of our own, with their ids.
    strategies, records = tables.strategies, tables.strategy_performance
    query = (
        select(records, strategies.c.name, strategies.c.performance_score)
        .select_from(strategies.join(records, strategies.c.id == records.c.strategy_id))
        .where(strategies.c.is_active)
        .order_by(
            strategies.c.name, strategies.c.id, sort_key(records.c.timestamp).desc(), records.c.id.desc()
        )
        .limit(_first)
    )
    return compile_statement(query)


@strawberry.type
class Query:
    active_strategies_performance: list[ActiveStrategyPerformance] = root_rows(
        "Performance records of active strategies, by the strategy's name, the newest first. It has no pages:"
        " for more rows, ask strategies for their performance.",
        active_strategies,
        max_rows=MAX_ROWS,
        check=reads_graph,
    )
