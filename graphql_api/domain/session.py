"""Sessions, runs of the bot on an account: their type, filters, orders and root fields."""

from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from graphql_api.domain.durations import elapsed, elapsed_seconds
from graphql_api.domain.policy import ACCOUNTS, SESSIONS
from graphql_api.domain.statistics.trade_stats import TradeStats, stats_of
from graphql_api.domain.trade import TRADE_LIST, TradeConnection
from graphql_api.postgres import tables
from graphql_api.relational.enums import OrderDirection, value
from graphql_api.relational.filters import DateTimeFilter, DecimalFilter, compare_filter, is_null_filter
from graphql_api.relational.node import Node
from graphql_api.relational.pagination import SortOrder
from graphql_api.relational.permissions import reads_graph
from graphql_api.relational.relation import (
    Connection,
    ListSpec,
    column,
    computed,
    many,
    one,
    root_many,
    root_one,
)
from graphql_api.relational.scalars import Duration

if TYPE_CHECKING:
    from graphql_api.domain.account import Account

_sessions = tables.sessions.c


@strawberry.type(description="A run of the bot on an account.")
class Session(Node, rows_of=SESSIONS):
    """A row of trading_sessions."""

    started_at: datetime | None = column("When it started.")
    ended_at: datetime | None = column("When it ended; null while it runs.")
    is_running: bool = computed("Whether it has no end yet.", lambda end: end is None, columns=("ended_at",))
    duration: Duration | None = computed(
        "From start to end; null while it runs.", elapsed, columns=("started_at", "ended_at")
    )
    duration_seconds: float | None = computed(
        "`duration` in seconds, exact to the microsecond.",
        elapsed_seconds,
        columns=("started_at", "ended_at"),
    )
    initial_balance: Decimal | None = column("The account's balance at the start, in its currency.")
    final_balance: Decimal | None = column("The account's balance at the end.")
    pnl: Decimal | None = column("Profit or loss, as the bot stored it.")
    trades_count: int | None = column("How many trades, as the bot stored it.")
    account: Annotated["Account", strawberry.lazy("graphql_api.domain.account")] | None = one(
        "The account it ran on.", ACCOUNTS, key="account_id"
    )
    trades: TradeConnection = many(
        "Its trades, the newest first.", TRADE_LIST, parent=SESSIONS, parent_key=tables.trades.c.session_id
    )
    stats: TradeStats = stats_of(
        "Statistics computed from the session's trades, as opposed to the values that the bot stored.",
        parent=SESSIONS,
        parent_key=tables.trades.c.session_id,
        has_range=False,
    )


@strawberry.input(description="Conditions on sessions; all that are given must hold.")
class SessionFilter:
    account_id: strawberry.ID | None = compare_filter("Of this account.", _sessions.account_id)
    is_running: bool | None = is_null_filter("Whether it has no end yet.", _sessions.ended_at)
    started_at: DateTimeFilter | None = compare_filter("By start.", _sessions.started_at)
    ended_at: DateTimeFilter | None = compare_filter("By end.", _sessions.ended_at)
    pnl: DecimalFilter | None = compare_filter("By stored profit or loss.", tables.finite(_sessions.pnl))


@strawberry.enum(description="What sessions can be sorted by.")
class SessionOrderField(Enum):
    STARTED_AT = value("STARTED_AT", "When they started.")
    ENDED_AT = value("ENDED_AT", "When they ended.")
    PNL = value("PNL", "Stored profit or loss.")
    TRADES_COUNT = value("TRADES_COUNT", "Stored number of trades.")


@strawberry.input(description="How to sort sessions.")
class SessionOrder:
    field: SessionOrderField = strawberry.field(description="What to sort by.")
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.DESC, description="Which end comes first."
    )


SESSION_LIST = ListSpec(
    SESSIONS,
    default_order=SortOrder(_sessions.started_at),
    filter_input=SessionFilter,
    order_input=SessionOrder,
    order_columns={
        SessionOrderField.STARTED_AT: _sessions.started_at,
        SessionOrderField.ENDED_AT: _sessions.ended_at,
        SessionOrderField.PNL: _sessions.pnl,
        SessionOrderField.TRADES_COUNT: _sessions.trades_count,
    },
)

SessionConnection = Connection[Session]


@strawberry.type
class Query:
    session: Session | None = root_one(
        "The session with this id; null if there is none that the viewer may see.",
        SESSIONS,
        check=reads_graph,
    )
    sessions: SessionConnection = root_many(
        "Sessions of all the viewer's accounts.", SESSION_LIST, check=reads_graph
    )
