"""Strategies, by which the bot trades: their type, filters, orders and root fields.

They have no owner: every viewer sees them.
"""

from datetime import datetime
from decimal import Decimal
from enum import Enum

import strawberry

from graphql_api.domain.performance import (
    PERFORMANCE_LIST,
    StrategyPerformance,
    StrategyPerformanceConnection,
)
from graphql_api.domain.policy import STRATEGIES, STRATEGY_PERFORMANCE
from graphql_api.domain.statistics.trade_stats import TradeStats, stats_of
from graphql_api.domain.trade import TRADE_LIST, TradeConnection
from graphql_api.postgres import tables
from graphql_api.relational.enums import OrderDirection, value
from graphql_api.relational.filters import DecimalFilter, StringFilter, compare_filter
from graphql_api.relational.node import Node
from graphql_api.relational.pagination import SortOrder
from graphql_api.relational.permissions import reads_graph
from graphql_api.relational.relation import (
    Connection,
    LatestRelated,
    ListSpec,
    RelationReader,
    column,
    many,
    one,
    root_many,
    root_one,
)
from graphql_api.relational.scalars import JSON

_strategies = tables.strategies.c

latest_performance = LatestRelated(
    RelationReader(STRATEGY_PERFORMANCE, STRATEGIES, tables.strategy_performance.c.strategy_id),
    SortOrder(tables.strategy_performance.c.timestamp),
)


@strawberry.type(description="A way of trading, shared by all users.")
class Strategy(Node, rows_of=STRATEGIES):
    """A row of ai_strategies."""

    name: str = column("Its name.")
    description: str | None = column("What it does.")
    parameters: JSON | None = column("Its settings; values under secret-looking keys are redacted.")
    created_at: datetime | None = column("When it was made.")
    updated_at: datetime | None = column("When it was last changed.")
    performance_score: Decimal | None = column("Its score, as the platform rates it.")
    is_active: bool | None = column("Whether it is in use.")
    latest_performance: StrategyPerformance | None = one(
        "Its newest performance record.", latest_performance, key="id"
    )
    performance: StrategyPerformanceConnection = many(
        "Its performance records, the newest first.",
        PERFORMANCE_LIST,
        parent=STRATEGIES,
        parent_key=tables.strategy_performance.c.strategy_id,
    )
    trades: TradeConnection = many(
        "The viewer's own trades by it, the newest first. All users' for an operator: then a limited number"
        " is looked at for the lists of all strategies together, as for Query.trades.",
        TRADE_LIST,
        parent=STRATEGIES,
        parent_key=tables.trades.c.strategy_id,
    )
    stats: TradeStats = stats_of(
        "Statistics of the viewer's own trades by it.",
        parent=STRATEGIES,
        parent_key=tables.trades.c.strategy_id,
    )


@strawberry.input(description="Conditions on strategies; all that are given must hold.")
class StrategyFilter:
    name: StringFilter | None = compare_filter("By name.", _strategies.name)
    is_active: bool | None = compare_filter("Whether it is in use.", _strategies.is_active)
    performance_score: DecimalFilter | None = compare_filter(
        "By score.", tables.finite(_strategies.performance_score)
    )


@strawberry.enum(description="What strategies can be sorted by.")
class StrategyOrderField(Enum):
    NAME = value("NAME", "Their name.")
    CREATED_AT = value("CREATED_AT", "When they were made.")
    UPDATED_AT = value("UPDATED_AT", "When they were last changed.")
    PERFORMANCE_SCORE = value("PERFORMANCE_SCORE", "Their score.")


@strawberry.input(description="How to sort strategies.")
class StrategyOrder:
    field: StrategyOrderField = strawberry.field(description="What to sort by.")
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.DESC, description="Which end comes first."
    )


STRATEGY_LIST = ListSpec(
    STRATEGIES,
    default_order=SortOrder(_strategies.name, descending=False),
    filter_input=StrategyFilter,
    order_input=StrategyOrder,
    order_columns={
        StrategyOrderField.NAME: _strategies.name,
        StrategyOrderField.CREATED_AT: _strategies.created_at,
        StrategyOrderField.UPDATED_AT: _strategies.updated_at,
        StrategyOrderField.PERFORMANCE_SCORE: _strategies.performance_score,
    },
)

StrategyConnection = Connection[Strategy]


@strawberry.type
class Query:
    strategy: Strategy | None = root_one(
        "The strategy with this id; null if there is none that the viewer may see.",
        STRATEGIES,
        check=reads_graph,
    )
    strategies: StrategyConnection = root_many("All strategies.", STRATEGY_LIST, check=reads_graph)
