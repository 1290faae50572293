"""TradeStats: the statistics of some trades as GraphQL types, and the fields that return them."""

from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from sqlalchemy import Column
from strawberry.types.arguments import StrawberryArgument

from graphql_api.domain.durations import seconds
from graphql_api.domain.policy import STRATEGIES, TRADES
from graphql_api.domain.statistics.aggregates import (
    best_trade,
    by_status,
    by_strategy,
    by_symbol,
    exposure,
    totals,
    worst_trade,
)
from graphql_api.domain.statistics.equity import MAX_POINTS, CurveRequest, drawdown, equity_curve
from graphql_api.domain.statistics.trade_set import StatsSource, TimeRange, TradeSet
from graphql_api.domain.time_buckets import Interval
from graphql_api.execution.fields import FromLoader, FromParent, declared
from graphql_api.relational.context import BatchLoad, Context
from graphql_api.relational.entity import Entity
from graphql_api.relational.errors import BadInputError
from graphql_api.relational.relation import PageResult, RelationReader, argument, column, one
from graphql_api.relational.scalars import Duration

if TYPE_CHECKING:
    from graphql_api.domain.strategy import Strategy
    from graphql_api.domain.trade import Trade, TradeStatus


MakeRequest = Callable[[TradeSet, Mapping[str, Any]], Hashable]
"""Returns the request that a batch gets, given a set of trades and a field's arguments.

Raises BadInputError.
"""


def _all_of(trades: TradeSet, _: Mapping[str, Any]) -> TradeSet:
    return trades


def statistic(
    description: str,
    batch: BatchLoad,
    *,
    convert: Callable[[Any], Any] | None = None,
    make_request: MakeRequest = _all_of,
    arguments: list[StrawberryArgument] | None = None,
) -> Any:
    """Declares a field of TradeStats: what `batch` returns for the parent, after `convert`.

    Fields of one batch and request share its rows: their statement runs once, and only if one is selected.
    """

    def prepare(context: Context, given: Mapping[str, Any]) -> Any:
        trades, loader = None, None

        def load(source: StatsSource) -> Any:
            nonlocal trades, loader
            if loader is None or source.trades is not trades:  # parents of one list share one set
                trades, loader = source.trades, context.loaders.get(batch, make_request(source.trades, given))
            return loader.load(source.parent)

        return load

    return declared(description, FromLoader(prepare, convert=convert), arguments=arguments)


def total(name: str, description: str, convert: Callable[[Any], Any] | None = None) -> Any:
    """Declares a field that is a column of `aggregates.totals`; `convert` is called with what is not null."""

    def read(row: Any) -> Any:
        value = row[name]
        return value if value is None or convert is None else convert(value)

    return statistic(description, totals, convert=read)


MAX_GROUPS = 100


@strawberry.type(description="How many trades have a status.")
class StatusCount:
    """A row of `aggregates.by_status`."""

    status: Annotated["TradeStatus", strawberry.lazy("graphql_api.domain.trade")] = column("The status.")
    count: int = column("How many trades have it.")


@strawberry.type(description="Closed trades of one symbol.")
class SymbolStats:
    """A row of `aggregates.by_symbol`."""

    symbol: str = column("The instrument, as it is stored.")
    trades_count: int = column("How many trades closed.")
    net_pnl: Decimal = column("Their profits less their losses.")
    win_rate: Decimal | None = column("How many of them won, from 0 to 1.")


@strawberry.type(description="Closed trades of one strategy, or of none.")
class StrategyStats:
    """A row of `aggregates.by_strategy`."""

    strategy_id: strawberry.ID | None = column("The strategy's id as stored; null for trades without one.")
    strategy: Annotated["Strategy", strawberry.lazy("graphql_api.domain.strategy")] | None = one(
        "The strategy; null if it is gone.", STRATEGIES, key="strategy_id"
    )
    trades_count: int = column("How many trades closed.")
    net_pnl: Decimal = column("Their profits less their losses.")
    win_rate: Decimal | None = column("How many of them won, from 0 to 1.")


@strawberry.type(description="What is open in one symbol.")
class SymbolExposure:
    """A row of `aggregates.exposure`."""

    symbol: str = column("The instrument, as it is stored.")
    open_trades: int = column("How many trades are open, whatever their direction.")
    buy_size: Decimal = column("The sum of the sizes of the open trades that bought.")
    sell_size: Decimal = column("The sum of the sizes of the open trades that sold.")
    net_size: Decimal = column("`buySize` less `sellSize`.")
    entry_notional: Decimal = column(
        "The sum of size times entry price over all open trades, in both directions."
    )


@strawberry.type(
    description=(
        "The results up to the end of an hour, day, week or month. There is no point for a span without a"
        " result. If a curve has more than `maxPoints` points, each point that is kept includes those left"
        " out before it."
    )
)
class EquityPoint:
    """A row of `equity.equity_curve`."""

    time: datetime = column("When the span begins, in the time zone asked for.")
    net_pnl: Decimal = column("The sum of the results since the previous point.")
    cumulative_pnl: Decimal = column("The sum of all results up to the end of the span.")
    equity: Decimal | None = column(
        "The starting balance plus `cumulativePnl`; null where the starting balance is unknown."
    )
    drawdown: Decimal = column("The deepest drawdown since the point before, 0 or more.")
    trades_count: int = column("How many results there were since the point before.")


def _group_request(trades: TradeSet, arguments: Mapping[str, Any]) -> tuple[TradeSet, int]:
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
        "Statistics of a set of trades: only of closed ones, unless a field says otherwise. Sums are"
        " exact, in the currencies of the accounts, and aren't converted; quotients have 8 digits after"
        " the point, rounded with halves away from zero. A closed trade whose pnl is null or NaN is"
        " counted, but left out of all sums and averages."
    )
)
class TradeStats:
    """Resolved from a `StatsSource`."""

    trades_count: int = total("trades_count", "How many trades closed.")
    count_by_status: list[StatusCount] = statistic(
        "How many trades have each status, the most frequent first. Trades that aren't closed are included.",
        by_status,
    )
    wins: int = total("wins", "How many trades closed with a pnl above 0.")
    losses: int = total("losses", "How many trades closed with a pnl below 0.")
    breakeven: int = total("breakeven", "How many trades closed with a pnl of 0.")
    win_rate: Decimal | None = total("win_rate", "`wins` / `tradesCount`, from 0 to 1; null if none closed.")
    net_pnl: Decimal = total("net_pnl", "The sum of all pnl: `grossProfit` less `grossLoss`.")
    gross_profit: Decimal = total("gross_profit", "The sum of the pnl of the wins.")
    gross_loss: Decimal = total(
        "gross_loss", "The sum of the pnl of the losses, without its sign: 0 or more."
    )
    profit_factor: Decimal | None = total(
        "profit_factor", "`grossProfit` / `grossLoss`; null if nothing was lost."
    )
    expectancy: Decimal | None = total(
        "expectancy", "`netPnl` / (`tradesCount` less `excludedTrades`): the average result of a trade."
    )
    average_win: Decimal | None = total("average_win", "`grossProfit` / `wins`; null without wins.")
    average_loss: Decimal | None = total(
        "average_loss", "`grossLoss` / `losses`, 0 or more; null without losses."
    )
    best_trade: Annotated["Trade", strawberry.lazy("graphql_api.domain.trade")] | None = statistic(
        "The closed trade with the highest pnl; if several have it, the one with the greatest id.", best_trade
    )
    worst_trade: Annotated["Trade", strawberry.lazy("graphql_api.domain.trade")] | None = statistic(
        "The closed trade with the lowest pnl; if several have it, the one with the smallest id.", worst_trade
    )
    volume: Decimal = total("volume", "The sum of the sizes, in the broker's units.")
    average_duration: Duration | None = total(
        "average_duration",
        "The average time from entry to exit, to the microsecond, of the trades that have both.",
        lambda text: Duration(int(text)),
    )
    average_duration_seconds: float | None = total(
        "average_duration", "`averageDuration` in seconds.", lambda text: seconds(int(text))
    )
    max_drawdown: Decimal = statistic(
        "How far the running sum of results fell below its previous peak at most, 0 or more. Results are"
        " in the order of their exits, and the sum begins at 0, so that a first loss is a drawdown.",
        drawdown,
        convert=lambda row: row["max_drawdown"],
    )
    max_drawdown_pct: Decimal | None = statistic(
        "The largest drawdown in percent (12.5 is an eighth) of the equity at the peak before it, which is"
        " the starting balance plus the running sum at the peak. Null if the starting balance is unknown."
        " The starting balance of an account is the initial balance of the session of its first result;"
        " that of several accounts is the sum. It is unknown unless each of these balances is stored and"
        " above 0.",
        drawdown,
        convert=lambda row: row["max_drawdown_pct"],
    )
    excluded_trades: int = total(
        "excluded_trades",
        (
            "How many of the closed trades have null or NaN as their pnl: they are left out of sums and"
            " averages."
        ),
    )
    by_symbol: list[SymbolStats] = statistic(
        "By symbol: first those with the most closed trades, and equal ones in the order of their names.",
        by_symbol,
        make_request=_group_request,
        arguments=[_FIRST],
    )
    by_strategy: list[StrategyStats] = statistic(
        "By strategy: first those with the most closed trades, and equal ones in the order of their ids."
        " Trades without a strategy are one group.",
        by_strategy,
        make_request=_group_request,
        arguments=[_FIRST],
    )
    exposure: list[SymbolExposure] = statistic(
        "The open trades by symbol. A size or price that is NaN adds nothing.", exposure
    )
    equity_curve: list[EquityPoint] = statistic(
        "The running sum of the results, in the order of their exits, by hour, day, week or month.",
        equity_curve,
        make_request=_curve_request,
        arguments=[
            argument("interval", Interval, "How long a span each point covers.", default=Interval.DAY),
            argument(
                "timezone",
                str,
                "The IANA name of the time zone of the hours, days, weeks (from Monday) and months.",
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


def stats_of(description: str, *, parent: Entity, parent_key: Column[Any], has_range: bool = True) -> Any:
    """Declares the statistics of the trades below a row of `parent`, whose id is in `parent_key`.

    It takes a range of time, unless `has_range` is False.
    """
    trades = TradeSet(RelationReader(TRADES, parent, parent_key))

    def prepare(_: Context, arguments: Mapping[str, Any]) -> Any:
        within = trades.within(arguments.get("range"))
        return lambda row: StatsSource(within, row["id"])

    range_ = argument(
        "range",
        TimeRange,
        (
            "Only trades that closed in this range. A trade without a stored exit time is in the range of its"
            " entry time."
        ),
    )
    return declared(description, FromLoader(prepare), arguments=[range_] if has_range else [])


def stats_of_list(description: str) -> Any:
    """Declares the statistics of all rows of a connection's list under its filter, not only of the page."""

    def source(page: PageResult) -> StatsSource:
        return StatsSource(TradeSet(page.relation, page.request.filter), page.parent)

    return declared(description, FromParent(source))
