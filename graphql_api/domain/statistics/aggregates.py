"""Sums, averages and groups of trades."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, FromClause, Select, bindparam, func, select

from graphql_api.domain.statistics.arithmetic import or_zero, quotient
from graphql_api.domain.statistics.trade_set import TradeSet, is_status, read, read_lists
from graphql_api.relational.context import Row, ViewerDatabase

_ZERO = "0.00000000"
_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("trades_count", "wins", "losses", "breakeven", "excluded_trades"), 0),
    **dict.fromkeys(("net_pnl", "gross_profit", "gross_loss", "volume"), _ZERO),
    **dict.fromkeys(
        ("win_rate", "profit_factor", "expectancy", "average_win", "average_loss", "average_duration")
    ),
}


async def totals(db: ViewerDatabase, keys: Sequence[str], trades: TradeSet) -> Mapping[str, Row]:
    """One row for each parent, named as the fields of TradeStats."""
    rows = await read(db, _totals, keys, trades)
    return dict.fromkeys(keys, _NOTHING) | {row["_parent"]: row for row in rows}


async def by_status(db: ViewerDatabase, keys: Sequence[str], trades: TradeSet) -> Mapping[str, list[Row]]:
    """How many trades have each status that any has: `status` and `count`, the largest first."""
    return await read_lists(db, _by_status, keys, trades)


def _totals(trades: FromClause) -> Select[Any]:
    parent, pnl, duration = trades.c["_parent"], trades.c.pnl, trades.c.duration
    won, lost, counted = pnl > 0, pnl < 0, pnl.is_not(None)
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
            or_zero(func.sum(trades.c.size).filter(counted)).label("volume"),
            func.sum(duration).filter(counted).label("time"),
            func.count(duration).filter(counted).label("timed"),
        )
        .where(is_status(trades.c.status, "CLOSED"))
        .group_by(parent)
        .subquery("sums")
    )
    of = sums.c
    return select(
        *(part for part in of if part.name not in ("time", "timed")),
        quotient(of.wins, of.trades_count).label("win_rate"),
        quotient(of.gross_profit, of.gross_loss).label("profit_factor"),
        quotient(of.net_pnl, of.trades_count - of.excluded_trades).label("expectancy"),
        quotient(of.gross_profit, of.wins).label("average_win"),
        quotient(of.gross_loss, of.losses).label("average_loss"),
        quotient(of.time, of.timed, scale=0).label("average_duration"),
    )


def _by_status(trades: FromClause) -> Select[Any]:
    parent, status, number = trades.c["_parent"], trades.c.status, func.count().label("count")
    query = select(parent, status, number).group_by(parent, status)
    return query.order_by(number.desc(), status)


Part = tuple[TradeSet, int]
"""A set of trades, and how many of its groups are wanted."""


async def by_symbol(db: ViewerDatabase, keys: Sequence[str], part: Part) -> Mapping[str, list[Row]]:
    """The most traded symbols: rows named as the fields of SymbolStats."""
    trades, first = part
    return await read_lists(db, _by_symbol, keys, trades, first=first)


async def by_strategy(db: ViewerDatabase, keys: Sequence[str], part: Part) -> Mapping[str, list[Row]]:
    """The most used strategies: rows named as the fields of StrategyStats, none being one of them."""
    trades, first = part
    return await read_lists(db, _by_strategy, keys, trades, first=first)


async def exposure(db: ViewerDatabase, keys: Sequence[str], trades: TradeSet) -> Mapping[str, list[Row]]:
    """What is open: rows named as the fields of SymbolExposure, by symbol."""
    return await read_lists(db, _exposure, keys, trades)


def _by_symbol(trades: FromClause) -> Select[Any]:
    return _largest(trades, trades.c.symbol)


def _by_strategy(trades: FromClause) -> Select[Any]:
    return _largest(trades, trades.c.strategy_id)


def _largest(trades: FromClause, group: ColumnElement[Any]) -> Select[Any]:
    parent, pnl, number = trades.c["_parent"], trades.c.pnl, func.count()
    groups = (
        select(
            parent,
            group,
            number.label("trades_count"),
            or_zero(func.sum(pnl)).label("net_pnl"),
            quotient(func.count().filter(pnl > 0), number).label("win_rate"),
            func.row_number().over(partition_by=parent, order_by=(number.desc(), group)).label("place"),
        )
        .where(is_status(trades.c.status, "CLOSED"))
        .group_by(parent, group)
        .subquery("groups")
    )
    columns = [part for part in groups.c if part.name != "place"]
    return (
        select(*columns)
        .where(groups.c.place <= bindparam("first", type_=BigInteger))
        .order_by(groups.c.place)
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
