"""`TradeStats` and its parts as GraphQL types, and the fields that serve them."""

from asyncio import Future
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from sqlalchemy import Column
from strawberry.types.arguments import StrawberryArgument

from graphql_api.domain.durations import seconds
from graphql_api.domain.policy import STRATEGIES, TRADES
from graphql_api.domain.statistics.aggregates import by_status, by_strategy, by_symbol, exposure, totals
from graphql_api.domain.statistics.equity import MAX_POINTS, CurveRequest, drawdown, equity_curve
from graphql_api.domain.statistics.trade_set import CLOSED, COUNTED, Scope, TimeRange, TradeSet
from graphql_api.domain.time_buckets import Interval
from graphql_api.execution.fields import FromLoader, FromParent, declared
from graphql_api.postgres import tables
from graphql_api.relational.context import BatchLoad, Context, Row, ViewerDatabase
from graphql_api.relational.entity import Entity
from graphql_api.relational.errors import BadInputError
from graphql_api.relational.pagination import PageRequest, SortOrder
from graphql_api.relational.relation import PageResult, RelationLoader, argument, column, one
from graphql_api.relational.scalars import Duration

if TYPE_CHECKING:
    from graphql_api.domain.strategy import Strategy
    from graphql_api.domain.trade import Trade, TradeStatus


Choose = Callable[[TradeSet, Mapping[str, Any]], Hashable]
"""From the trades and a field's arguments to what its batch is asked for. Raises BadInputError."""


def stats_of(description: str, *, of: Entity, by: Column[Any]) -> Any:
    """A field with the statistics of the trades below a row of `of`, whose id stands in column `by`."""
    trades = TradeSet(RelationLoader(TRADES, of, by))

    def prepare(_: Context, arguments: Mapping[str, Any]) -> Any:
        chosen = trades.within(arguments.get("range"))
        return lambda row: Scope(chosen, row["id"])

    within = argument("range", TimeRange, "Only trades that closed in it; those without an exit, by entry.")
    return declared(description, FromLoader(prepare), arguments=[within])


def stats_of_all(description: str, *, of: Entity, by: Column[Any]) -> Any:
    """The same, of all its trades whenever they were."""
    trades = TradeSet(RelationLoader(TRADES, of, by))
    return declared(description, FromParent(lambda row: Scope(trades, row["id"])))


def stats_of_list(description: str) -> Any:
    """A connection's field with the statistics of its whole list, whatever the page."""

    def scope(part: PageResult) -> Scope:
        return Scope(TradeSet(part.relation, part.page.filter), part.parent)

    return declared(description, FromParent(scope))


def _whole(trades: TradeSet, _: Mapping[str, Any]) -> TradeSet:
    return trades


def measured(
    description: str,
    batch: BatchLoad,
    *,
    pick: Callable[[Any], Any] | None = None,
    choose: Choose = _whole,
    arguments: list[StrawberryArgument] | None = None,
) -> Any:
    """A field of a Scope, read by `batch`; `pick` takes the value out of what that has for the parent."""

    def prepare(context: Context, given: Mapping[str, Any]) -> Any:
        def load(scope: Scope) -> Any:
            loaded = context.loaders.get(batch, choose(scope.trades, given)).load(scope.parent)
            return loaded if pick is None else _then(loaded, pick)

        return load

    return declared(description, FromLoader(prepare), arguments=arguments)


def total(name: str, description: str, read: Callable[[Any], Any] | None = None) -> Any:
    """A field that is a column of `totals`; `read` converts what is not null."""

    def pick(row: Any) -> Any:
        value = row[name]
        return value if value is None or read is None else read(value)

    return measured(description, totals, pick=pick)


def _then(loaded: "Future[Any]", pick: Callable[[Any], Any]) -> "Future[Any]":
    """What `pick` makes of a loaded value: a future of its own, since all fields share the loader's."""
    result: Future[Any] = loaded.get_loop().create_future()

    def settle(done: "Future[Any]") -> None:
        if result.cancelled():
            return
        if done.cancelled():
            result.cancel()
        elif error := done.exception():
            result.set_exception(error)
        else:
            result.set_result(pick(done.result()))

    loaded.add_done_callback(settle)
    return result


MAX_GROUPS = 100


@strawberry.type(description="How many trades have a status.")
class StatusCount:
    """A row of `totals.by_status`."""

    status: Annotated["TradeStatus", strawberry.lazy("graphql_api.domain.trade")] = column("The status.")
    count: int = column("How many trades have it.")


@strawberry.type(description="Closed trades of one symbol.")
class SymbolStats:
    """A row of `breakdown.by_symbol`."""

    symbol: str = column("The instrument, as it is stored.")
    trades_count: int = column("How many trades closed.")
    net_pnl: Decimal = column("Their profits less their losses.")
    win_rate: Decimal | None = column("How many of them won, from 0 to 1.")


@strawberry.type(description="Closed trades of one strategy, or of none.")
class StrategyStats:
    """A row of `breakdown.by_strategy`."""

    strategy_id: strawberry.ID | None = column("The strategy's id as stored; null for trades without one.")
    strategy: Annotated["Strategy", strawberry.lazy("graphql_api.domain.strategy")] | None = one(
        "The strategy; null if it is gone.", STRATEGIES, key="strategy_id"
    )
    trades_count: int = column("How many trades closed.")
    net_pnl: Decimal = column("Their profits less their losses.")
    win_rate: Decimal | None = column("How many of them won, from 0 to 1.")


@strawberry.type(description="What is open in one symbol.")
class SymbolExposure:
    """A row of `breakdown.exposure`."""

    symbol: str = column("The instrument, as it is stored.")
    open_trades: int = column("How many trades are open, whatever their direction.")
    buy_size: Decimal = column("The sizes of those that bought, added up.")
    sell_size: Decimal = column("The sizes of those that sold, added up.")
    net_size: Decimal = column("`buySize` less `sellSize`.")
    entry_notional: Decimal = column(
        "Size times entry price, added up over all of them, whatever their direction."
    )


@strawberry.type(
    description=(
        "Where the results stood at the end of an hour, day, week or month. Spans without a result have no"
        " point. Where a curve has more points than were asked for, each of those it keeps also takes up"
        " those left out before it."
    )
)
class EquityPoint:
    """A row of `curve.curve`."""

    time: datetime = column("When the span begins, in the time zone asked for.")
    net_pnl: Decimal = column("The results since the point before, added up.")
    cumulative_pnl: Decimal = column("All results up to the end of the span, added up.")
    equity: Decimal | None = column(
        "The starting balance plus `cumulativePnl`; null where the starting balance is unknown."
    )
    drawdown: Decimal = column("The deepest drawdown since the point before, 0 or more.")
    trades_count: int = column("How many results there were since the point before.")


async def best_trade(db: ViewerDatabase, keys: Sequence[str], trades: TradeSet) -> Mapping[str, Row]:
    """Each parent's closed trade with the highest pnl; of equals, the one with the greatest id."""
    return await _first(db, keys, trades, SortOrder(tables.trades.c.pnl))


async def worst_trade(db: ViewerDatabase, keys: Sequence[str], trades: TradeSet) -> Mapping[str, Row]:
    """Each parent's closed trade with the lowest pnl; of equals, the one with the smallest id."""
    return await _first(db, keys, trades, SortOrder(tables.trades.c.pnl, descending=False))


async def _first(
    db: ViewerDatabase, keys: Sequence[str], trades: TradeSet, order: SortOrder
) -> Mapping[str, Row]:
    page = PageRequest(order, size=1, filter=trades.filter.narrowed(CLOSED, COUNTED))
    pages = await trades.children.load_pages(db, keys, page)
    return {key: part.nodes[0] for key, part in pages.items() if part.nodes}


def _groups(trades: TradeSet, arguments: Mapping[str, Any]) -> tuple[TradeSet, int]:
    first = arguments["first"]
    first = 20 if first is None else first
    if not 1 <= first <= MAX_GROUPS:
        raise BadInputError("first", f"must be between 1 and {MAX_GROUPS}")
    return trades, first


def _curve_request(trades: TradeSet, arguments: Mapping[str, Any]) -> CurveRequest:
    interval, timezone, most = (arguments[name] for name in ("interval", "timezone", "max_points"))
    return CurveRequest(
        trades,
        interval=interval or Interval.DAY,
        timezone="UTC" if timezone is None else timezone,
        max_points=500 if most is None else most,
    )


_FIRST = argument("first", int, f"How many groups at most, 1 to {MAX_GROUPS}.", default=20)


@strawberry.type(
    description=(
        "Statistics of some trades: closed ones only, unless a field says otherwise. Sums are exact, in the"
        " unit of each account, and not converted between currencies; quotients have 8 digits after the"
        " point, a half rounded away from zero. A closed trade without a pnl, or with NaN, is counted and"
        " left out of every sum and average."
    )
)
class TradeStats:
    """Read from a `trade_set.Scope`."""

    trades_count: int = total("trades_count", "How many trades closed.")
    count_by_status: list[StatusCount] = measured(
        "How many trades have each status, whatever it is: the most frequent first.", by_status
    )
    wins: int = total("wins", "How many trades closed with a pnl above 0.")
    losses: int = total("losses", "How many trades closed with a pnl below 0.")
    breakeven: int = total("breakeven", "How many trades closed with a pnl of 0.")
    win_rate: Decimal | None = total("win_rate", "`wins` / `tradesCount`, from 0 to 1; null if none closed.")
    net_pnl: Decimal = total("net_pnl", "The pnl of all, added up: `grossProfit` less `grossLoss`.")
    gross_profit: Decimal = total("gross_profit", "The pnl of the wins, added up.")
    gross_loss: Decimal = total("gross_loss", "The pnl of the losses, added up, without its sign: 0 or more.")
    profit_factor: Decimal | None = total(
        "profit_factor", "`grossProfit` / `grossLoss`; null where nothing was lost."
    )
    expectancy: Decimal | None = total(
        "expectancy", "`netPnl` / (`tradesCount` less `excludedTrades`): the average result of a trade."
    )
    average_win: Decimal | None = total("average_win", "`grossProfit` / `wins`; null without wins.")
    average_loss: Decimal | None = total(
        "average_loss", "`grossLoss` / `losses`, 0 or more; null without losses."
    )
    best_trade: Annotated["Trade", strawberry.lazy("graphql_api.domain.trade")] | None = measured(
        "The closed trade with the highest pnl; of equals, the one with the greatest id.", best_trade
    )
    worst_trade: Annotated["Trade", strawberry.lazy("graphql_api.domain.trade")] | None = measured(
        "The closed trade with the lowest pnl; of equals, the one with the smallest id.", worst_trade
    )
    volume: Decimal = total("volume", "The sizes added up, as the broker counts them.")
    average_duration: Duration | None = total(
        "average_duration",
        "From entry to exit, on average, to the microsecond; of the trades that have both.",
        lambda text: Duration(int(text)),
    )
    average_duration_seconds: float | None = total(
        "average_duration", "`averageDuration` in seconds.", lambda text: seconds(int(text))
    )
    max_drawdown: Decimal = measured(
        "How far the running sum of results was below its highest at worst, 0 or more. Results are in the"
        " order of their exits, and the sum begins at 0, so that a first loss is a drawdown.",
        drawdown,
        pick=lambda row: row["max_drawdown"],
    )
    max_drawdown_pct: Decimal | None = measured(
        "The worst drawdown in percent (12.5 is an eighth) of the highest equity before it, which is the"
        " starting balance plus the highest running sum. Null where the starting balance is unknown. The"
        " starting balance is, of each account, the initial balance of the session that its first result"
        " belongs to; of several accounts, their sum. It is unknown unless each is stored and above 0.",
        drawdown,
        pick=lambda row: row["max_drawdown_pct"],
    )
    excluded_trades: int = total(
        "excluded_trades", "How many of the closed trades have no pnl, or NaN: left out of sums and averages."
    )
    by_symbol: list[SymbolStats] = measured(
        "By symbol: those with the most closed trades first, equals in the order of their names.",
        by_symbol,
        choose=_groups,
        arguments=[_FIRST],
    )
    by_strategy: list[StrategyStats] = measured(
        "By strategy: those with the most closed trades first, equals in the order of their ids. Trades"
        " without a strategy are one group.",
        by_strategy,
        choose=_groups,
        arguments=[_FIRST],
    )
    exposure: list[SymbolExposure] = measured(
        "What is open now, by symbol. A size or price that is NaN adds nothing.", exposure
    )
    equity_curve: list[EquityPoint] = measured(
        "The results in the order of their exits, summed up by time.",
        equity_curve,
        choose=_curve_request,
        arguments=[
            argument("interval", Interval, "How long a span each point covers.", default=Interval.DAY),
            argument(
                "timezone",
                str,
                "The IANA name of the time zone whose hours, days, weeks (from Monday) and months are meant.",
                default="UTC",
            ),
            argument(
                "max_points",
                int,
                f"How many points at most, 1 to {MAX_POINTS}. A longer curve is cut into windows, of each of"
                " which the last point, the deepest drawdown and the highest sum are kept.",
                default=500,
            ),
        ],
    )
