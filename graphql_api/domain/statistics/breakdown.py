"""Closed trades by symbol and by strategy, and what is open by symbol."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, FromClause, Select, bindparam, func, select

from graphql_api.domain.statistics.arithmetic import or_zero, quotient
from graphql_api.domain.statistics.trade_set import TradeSet, is_status, read_lists
from graphql_api.relational.context import Reader, Row

Part = tuple[TradeSet, int]
"""A set of trades, and how many of its groups are wanted."""


async def by_symbol(db: Reader, keys: Sequence[str], part: Part) -> Mapping[str, list[Row]]:
    """The most traded symbols: rows named as the fields of SymbolStats."""
    trades, first = part
    return await read_lists(db, _by_symbol, keys, trades, first=first)


async def by_strategy(db: Reader, keys: Sequence[str], part: Part) -> Mapping[str, list[Row]]:
    """The most used strategies: rows named as the fields of StrategyStats, none being one of them."""
    trades, first = part
    return await read_lists(db, _by_strategy, keys, trades, first=first)


async def exposure(db: Reader, keys: Sequence[str], trades: TradeSet) -> Mapping[str, list[Row]]:
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
