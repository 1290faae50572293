"""Sums, averages, extremes and groups of trades."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, FromClause, Select, bindparam, func, select

from graphql_api.domain.statistics.arithmetic import or_zero, quotient
from graphql_api.domain.statistics.trade_set import (
    CLOSED,
    HAS_RESULT,
    TradeSet,
    aggregate,
    aggregate_lists,
    is_status,
)
from graphql_api.postgres import tables
from graphql_api.relational.context import Row, ViewerDatabase
from graphql_api.relational.pagination import PageRequest, SortOrder

_ZERO = "0.00000000"
_NO_TRADES: dict[str, Any] = {
    **dict.fromkeys(("trades_count", "wins", "losses", "breakeven", "excluded_trades"), 0),
    **dict.fromkeys(("net_pnl", "gross_profit", "gross_loss", "volume"), _ZERO),
    **dict.fromkeys(
        ("win_rate", "profit_factor", "expectancy", "average_win", "average_loss", "average_duration")
    ),
}


async def totals(db: ViewerDatabase, keys: Sequence[str], trades: TradeSet) -> Mapping[str, Row]:
    """Returns one row for each parent, with columns named as the fields of TradeStats."""
    rows = await aggregate(db, _totals, keys, trades)
    return dict.fromkeys(keys, _NO_TRADES) | {row["_parent"]: row for row in rows}


async def by_status(db: ViewerDatabase, keys: Sequence[str], trades: TradeSet) -> Mapping[str, list[Row]]:
    """Returns the number of trades of each status, rows of `status` and `count`, the largest first."""
    return await aggregate_lists(db, _by_status, keys, trades)


def _totals(trades: FromClause) -> Select[Any]:
    parent, pnl, duration = trades.c["_parent"], trades.c.pnl, trades.c.duration
    won, lost, has_result = pnl > 0, pnl < 0, pnl.is_not(None)
    sums = (
        select(
            parent,
            func.count().label("trades_count"),
            func.count().filter(won).label("wins"),
            func.count().filter(lost).label("losses"),
            func.count().filter(pnl == 0).label("breakeven"),
            func.count().filter(pnl.is_(None)).label("excluded_trades"),
            or_zero(func.sum(pnl)).label("net_pnl"),
            or_zero(func.sum(pnl).filter(won)).label("gross_profit"),
            or_zero(-func.sum(pnl).filter(lost)).label("gross_loss"),
            or_zero(func.sum(trades.c.size).filter(has_result)).label("volume"),
            func.sum(duration).filter(has_result).label("total_duration"),
            func.count(duration).filter(has_result).label("durations"),
        )
        .where(is_status(trades.c.status, "CLOSED"))
        .group_by(parent)
        .subquery("sums")
    )
    each = sums.c
    return select(
        *(part for part in each if part.name not in ("total_duration", "durations")),
        quotient(each.wins, each.trades_count).label("win_rate"),
        quotient(each.gross_profit, each.gross_loss).label("profit_factor"),
        quotient(each.net_pnl, each.trades_count - each.excluded_trades).label("expectancy"),
        quotient(each.gross_profit, each.wins).label("average_win"),
        quotient(each.gross_loss, each.losses).label("average_loss"),
        quotient(each.total_duration, each.durations, scale=0).label("average_duration"),
    )


def _by_status(trades: FromClause) -> Select[Any]:
    parent, status, number = trades.c["_parent"], trades.c.status, func.count().label("count")
    query = select(parent, status, number).group_by(parent, status)
    return query.order_by(number.desc(), status)


async def best_trade(db: ViewerDatabase, keys: Sequence[str], trades: TradeSet) -> Mapping[str, Row]:
    """Returns each parent's closed trade with the highest pnl; of equals, the one with the greatest id."""
    return await _first_trade(db, keys, trades, SortOrder(tables.trades.c.pnl))


async def worst_trade(db: ViewerDatabase, keys: Sequence[str], trades: TradeSet) -> Mapping[str, Row]:
    """Returns each parent's closed trade with the lowest pnl; of equals, the one with the smallest id."""
    return await _first_trade(db, keys, trades, SortOrder(tables.trades.c.pnl, descending=False))


async def _first_trade(
    db: ViewerDatabase, keys: Sequence[str], trades: TradeSet, order: SortOrder
) -> Mapping[str, Row]:
    page = PageRequest(order, size=1, filter=trades.filter.narrowed(CLOSED, HAS_RESULT))
    pages = await trades.relation.read_pages(db, keys, page)
    return {key: page.nodes[0] for key, page in pages.items() if page.nodes}


GroupRequest = tuple[TradeSet, int]
"""A set of trades, and how many of its groups to return at most."""


async def by_symbol(
    db: ViewerDatabase, keys: Sequence[str], request: GroupRequest
) -> Mapping[str, list[Row]]:
    """Returns the symbols with the most closed trades: rows with the fields of SymbolStats."""
    trades, first = request
    return await aggregate_lists(db, _by_symbol, keys, trades, first=first)


async def by_strategy(
    db: ViewerDatabase, keys: Sequence[str], request: GroupRequest
) -> Mapping[str, list[Row]]:
    """Returns the strategies with the most closed trades: rows with the fields of StrategyStats.

    Trades without a strategy are a group of their own, whose id is null.
    """
    trades, first = request
    return await aggregate_lists(db, _by_strategy, keys, trades, first=first)


async def exposure(db: ViewerDatabase, keys: Sequence[str], trades: TradeSet) -> Mapping[str, list[Row]]:
    """Returns what is open by symbol: rows with the fields of SymbolExposure."""
    return await aggregate_lists(db, _exposure, keys, trades)


def _by_symbol(trades: FromClause) -> Select[Any]:
    return _largest_groups(trades, trades.c.symbol)


def _by_strategy(trades: FromClause) -> Select[Any]:
    return _largest_groups(trades, trades.c.strategy_id)


def _largest_groups(trades: FromClause, group: ColumnElement[Any]) -> Select[Any]:
    parent, pnl, number = trades.c["_parent"], trades.c.pnl, func.count()
    groups = (
        select(
            parent,
            group,
            number.label("trades_count"),
            or_zero(func.sum(pnl)).label("net_pnl"),
            quotient(func.count().filter(pnl > 0), number).label("win_rate"),
            func.row_number().over(partition_by=parent, order_by=(number.desc(), group)).label("rank"),
        )
        .where(is_status(trades.c.status, "CLOSED"))
        .group_by(parent, group)
        .subquery("groups")
    )
    columns = [part for part in groups.c if part.name != "rank"]
    return (
        select(*columns).where(groups.c.rank <= bindparam("first", type_=BigInteger)).order_by(groups.c.rank)
    )


def _exposure(trades: FromClause) -> Select[Any]:
    parent, symbol, size = trades.c["_parent"], trades.c.symbol, trades.c.size
    sides = (
        select(
            parent,
            symbol,
            func.count().label("open_trades"),
            or_zero(func.sum(size).filter(trades.c.direction == "BUY")).label("buy_size"),
            or_zero(func.sum(size).filter(trades.c.direction == "SELL")).label("sell_size"),
            or_zero(func.sum(size * trades.c.entry_price)).label("entry_notional"),
        )
        .where(is_status(trades.c.status, "OPEN"))
        .group_by(parent, symbol)
        .subquery("sides")
    )
    net_size = (sides.c.buy_size - sides.c.sell_size).label("net_size")
    return select(*sides.c, net_size).order_by(sides.c.symbol)
