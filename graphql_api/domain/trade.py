"""Trades, which a session bought and sold: their type, filters, orders and root fields."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import strawberry

from graphql_api.domain.durations import elapsed, elapsed_seconds
from graphql_api.domain.policy import SESSIONS, STRATEGIES, TRADES
from graphql_api.domain.statistics.trade_stats import TradeStats, stats_of_list
from graphql_api.postgres import tables
from graphql_api.postgres.vocabularies import TRADE_DIRECTIONS, trade_status, trade_status_sql
from graphql_api.relational.enums import OrderDirection, from_vocabulary, value
from graphql_api.relational.filters import (
    DateTimeFilter,
    DecimalFilter,
    StringFilter,
    combine_filter,
    compare_filter,
    is_not_null_filter,
)
from graphql_api.relational.node import Node
from graphql_api.relational.page_query import MAX_COUNTED, MAX_EXAMINED
from graphql_api.relational.pagination import SortOrder
from graphql_api.relational.permissions import reads_graph
from graphql_api.relational.relation import Connection, ListSpec, column, computed, one, root_many, root_one
from graphql_api.relational.scalars import Duration

if TYPE_CHECKING:
    from graphql_api.domain.session import Session
    from graphql_api.domain.strategy import Strategy

_trades = tables.trades.c


@strawberry.enum(description="Which way a trade went. The column is free text: see `directionRaw`.")
class TradeDirection(Enum):
    """The column's meaning, by `postgres.vocabularies.TRADE_DIRECTIONS`."""

    BUY = value("BUY", "Stored as buy, long, BOT or another word for it.")
    SELL = value("SELL", "Stored as sell, short, SLD or another word for it.")
    OTHER = value("OTHER", "Stored as anything else.")


@strawberry.enum(
    description=(
        "How far a trade has come. The column is free text: see `statusRaw`. The words that brokers and"
        " exchanges publish are known, whatever their case, spaces, underscores and hyphens."
    )
)
class TradeStatus(Enum):
    """The column's meaning, by `postgres.vocabularies.trade_status`."""

    PENDING = value(
        "PENDING",
        "Ordered, not yet filled: stored as pending, new, accepted, submitted, canceling or the like.",
    )
    OPEN = value(
        "OPEN",
        "In the market: stored as open or active, or as filled, wholly or in part, without an exit time.",
    )
    CLOSED = value(
        "CLOSED", "Out of the market: stored as closed, or as filled, wholly or in part, with an exit time."
    )
    CANCELLED = value(
        "CANCELLED", "Ended without a fill: stored as cancelled, canceled, removed, expired or the like."
    )
    REJECTED = value("REJECTED", "Turned down: stored as rejected, refused, failed, inactive or denied.")
    OTHER = value("OTHER", "Stored as anything else.")


@lru_cache(maxsize=256)
def _status(text: str, has_exit: bool) -> TradeStatus:  # noqa: FBT001 - part of the cache's key
    return TradeStatus(trade_status(text, has_exit=has_exit))


def _statuses(texts: Sequence[str], exit_times: Sequence[str | None]) -> list[TradeStatus]:
    """Returns the status of many trades, of which most are stored as one of a few texts."""
    different = set(texts)
    with_exit, without = ({text: _status(text, has) for text in different} for has in (True, False))
    return [
        (without if exit_time is None else with_exit)[text]
        for text, exit_time in zip(texts, exit_times, strict=True)
    ]


@strawberry.type(description="One position, from its entry to its exit.")
class Trade(Node, rows_of=TRADES):
    """A row of trades."""

    symbol: str = column("The instrument, as the broker names it.")
    direction: TradeDirection = column(
        "Which way.", convert=from_vocabulary(TradeDirection, TRADE_DIRECTIONS)
    )
    direction_raw: str = column("The direction as it is stored.", name="direction")
    entry_price: Decimal | None = column("The price at entry; null where NaN is stored.")
    exit_price: Decimal | None = column("The price at exit.")
    size: Decimal | None = column("The size, in lots or units of the broker; null if NaN is stored.")
    entry_time: datetime = column("When it was entered.")
    exit_time: datetime | None = column("When it was left; null while it is open.")
    duration: Duration | None = computed(
        "From entry to exit; null while it is open.", elapsed, columns=("entry_time", "exit_time")
    )
    duration_seconds: float | None = computed(
        "`duration` in seconds, exact to the microsecond.",
        elapsed_seconds,
        columns=("entry_time", "exit_time"),
    )
    pnl: Decimal | None = column(
        "The profit or loss in the account's currency, as stored; null if nothing or NaN is stored."
    )
    status: TradeStatus = computed(
        "How far it has come.",
        lambda text, exit_time: _status(text, exit_time is not None),
        columns=("status", "exit_time"),
        compute_all=_statuses,
    )
    status_raw: str = column("The status as it is stored.", name="status")
    ai_confidence: Decimal | None = column("How sure the model was, from 0 to 1.")
    strategy_id: strawberry.ID | None = column(
        "The id of the strategy, as stored. The strategy may have been deleted."
    )
    strategy: Annotated["Strategy", strawberry.lazy("graphql_api.domain.strategy")] | None = one(
        "The strategy that asked for it; null if it is gone.", STRATEGIES, key="strategy_id"
    )
    session: Annotated["Session", strawberry.lazy("graphql_api.domain.session")] | None = one(
        "The session it belongs to.", SESSIONS, key="session_id"
    )


@strawberry.input(description="Conditions on trades; all that are given must hold.")
class TradeFilter:
    account_id: strawberry.ID | None = compare_filter("Of this account.", tables.sessions.c.account_id)
    session_id: strawberry.ID | None = compare_filter("Of this session.", _trades.session_id)
    strategy_id: strawberry.ID | None = compare_filter("Of this strategy.", _trades.strategy_id)
    has_strategy: bool | None = is_not_null_filter(
        "Whether a strategy is named, gone or not.", _trades.strategy_id
    )
    symbol: StringFilter | None = compare_filter("By instrument.", _trades.symbol)
    direction: list[TradeDirection] | None = compare_filter(
        "In one of these directions.", TRADE_DIRECTIONS.sql(_trades.direction)
    )
    status: list[TradeStatus] | None = compare_filter(
        "In one of these states.", trade_status_sql(_trades.status, _trades.exit_time)
    )
    status_raw: StringFilter | None = compare_filter("By the status as stored.", _trades.status)
    entry_time: DateTimeFilter | None = compare_filter("By entry.", _trades.entry_time)
    exit_time: DateTimeFilter | None = compare_filter("By exit.", _trades.exit_time)
    pnl: DecimalFilter | None = compare_filter("By profit or loss.", tables.finite(_trades.pnl))
    ai_confidence: DecimalFilter | None = compare_filter(
        "By the model's confidence.", tables.finite(_trades.ai_confidence)
    )
    and_: list["TradeFilter"] | None = combine_filter("and", "All of these hold.")
    or_: list["TradeFilter"] | None = combine_filter("or", "At least one of these holds.")
    not_: "TradeFilter | None" = combine_filter("not", "This does not hold.")


@strawberry.enum(description="What trades can be sorted by.")
class TradeOrderField(Enum):
    ENTRY_TIME = value("ENTRY_TIME", "When they were entered.")
    EXIT_TIME = value("EXIT_TIME", "When they were left.")
    PNL = value("PNL", "Profit or loss.")
    SIZE = value("SIZE", "How much.")
    SYMBOL = value("SYMBOL", "The instrument.")
    AI_CONFIDENCE = value("AI_CONFIDENCE", "How sure the model was.")


@strawberry.input(description="How to sort trades.")
class TradeOrder:
    field: TradeOrderField = strawberry.field(description="What to sort by.")
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.DESC, description="Which end comes first."
    )


TRADE_LIST = ListSpec(
    TRADES,
    default_order=SortOrder(_trades.entry_time),
    filter_input=TradeFilter,
    order_input=TradeOrder,
    order_columns={
        TradeOrderField.ENTRY_TIME: _trades.entry_time,
        TradeOrderField.EXIT_TIME: _trades.exit_time,
        TradeOrderField.PNL: _trades.pnl,
        TradeOrderField.SIZE: _trades.size,
        TradeOrderField.SYMBOL: _trades.symbol,
        TradeOrderField.AI_CONFIDENCE: _trades.ai_confidence,
    },
)


@strawberry.type(description="A page of trades, and the way to the next.")
class TradeConnection(Connection[Trade]):
    """A `PageResult` of trades, with the statistics of the whole list."""

    stats: TradeStats = stats_of_list(
        "Statistics of all rows that match the list's filter, not only of the page."
    )


@strawberry.type
class Query:
    trade: Trade | None = root_one(
        "The trade with this id; null if there is none that the viewer may see.", TRADES, check=reads_graph
    )
    trades: TradeConnection = root_many(
        "Trades of all the viewer's accounts; all users' for an operator. Of all users', at most"
        f" {MAX_EXAMINED:,} are looked at for a page and {MAX_COUNTED:,} for totalCount. Where that isn't"
        " enough, for an order that has no index or a filter that few trades fit, it is BAD_USER_INPUT:"
        " an account, a session, a strategy or a range of entryTime in the filter make them fewer.",
        TRADE_LIST,
        check=reads_graph,
    )
