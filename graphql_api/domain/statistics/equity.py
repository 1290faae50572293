"""Equity: the running sum of results, its drawdown, and the curve of it over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zoneinfo import available_timezones

import asyncpg
from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import distinct_on

from graphql_api.domain.statistics.arithmetic import ZERO, quotient
from graphql_api.domain.statistics.trade_set import TradeSet, is_status, read, read_lists
from graphql_api.postgres import tables
from graphql_api.relational.context import Row, ViewerDatabase
from graphql_api.relational.errors import BadInputError

_NOTHING = {"max_drawdown": "0.00000000", "max_drawdown_pct": None}
_SO_FAR = (None, 0)


async def drawdown(db: ViewerDatabase, keys: Sequence[str], trades: TradeSet) -> Mapping[str, Row]:
    """One row for each parent: `max_drawdown`, and `max_drawdown_pct` where the start is known."""
    rows = await read(db, _drawdown, keys, trades)
    return dict.fromkeys(keys, _NOTHING) | {row["_parent"]: row for row in rows}


def results(trades: FromClause) -> CTE:
    """Closed trades that have a pnl. Read several times, so a statement holds them once."""
    columns = (trades.c[name] for name in ("_parent", "id", "session_id", "moment", "pnl"))
    counted = and_(is_status(trades.c.status, "CLOSED"), trades.c.pnl.is_not(None))
    return select(*columns).where(counted).cte("results")


def running(results: FromClause) -> FromClause:
    """Each result with the `peak` of the running sum, which begins at 0, and the `drawdown` below it."""
    parent = results.c["_parent"]
    order = (results.c.moment, results.c.id)
    cumulative = func.sum(results.c.pnl).over(partition_by=parent, order_by=order, rows=_SO_FAR)
    sums = select(*results.c, cumulative.label("cumulative")).subquery("sums")
    highest = func.max(sums.c.cumulative).over(
        partition_by=sums.c["_parent"], order_by=(sums.c.moment, sums.c.id), rows=_SO_FAR
    )
    peaks = select(*sums.c, func.greatest(highest, ZERO).label("peak")).subquery("peaks")
    return select(*peaks.c, (peaks.c.peak - peaks.c.cumulative).label("drawdown")).subquery("running")


def starts(results: FromClause) -> CTE:
    """The `balance` each parent's results start from; null if it is unknown.

    Of each account the initial balance of the session its first result is from, added up. One that is
    missing, NaN, 0 or negative makes the whole unknown.
    """
    parent = results.c["_parent"]
    by_session = (
        select(parent, results.c.session_id, func.min(results.c.moment).label("first"))
        .group_by(parent, results.c.session_id)
        .subquery("by_session")
    )
    # Looked up one by one: PostgreSQL takes them for many, and would read everybody's sessions to join them.
    sessions = tables.sessions.c
    session = (
        select(sessions.id, sessions.account_id, tables.finite(sessions.initial_balance).label("balance"))
        .where(sessions.id == by_session.c.session_id)
        .limit(literal_column("1", Integer))
        .lateral("session")
    )
    account = func.coalesce(session.c.account_id, session.c.id)  # a session without one stands alone
    firsts = (
        select(by_session.c["_parent"], session.c.balance)
        .select_from(by_session.outerjoin(session, true()))
        .ext(distinct_on(by_session.c["_parent"], account))
        .order_by(by_session.c["_parent"], account, by_session.c.first, by_session.c.session_id)
        .subquery("firsts")
    )
    known = func.bool_and(func.coalesce(firsts.c.balance > 0, false()))
    balance = case((known, func.sum(firsts.c.balance))).label("balance")
    starts = select(firsts.c["_parent"], balance).group_by(firsts.c["_parent"]).cte("starts")
    return starts.prefix_with("MATERIALIZED")  # or PostgreSQL would compute it again for each result


def _drawdown(trades: FromClause) -> Select[Any]:
    counted = results(trades)
    line, start = running(counted), starts(counted)
    parent, below_peak = line.c["_parent"], line.c.drawdown
    percent = quotient(below_peak * literal_column("100"), start.c.balance + line.c.peak)
    return (
        select(
            parent,
            func.max(below_peak).label("max_drawdown"),
            func.max(percent).label("max_drawdown_pct"),
        )
        .select_from(line.join(start, parent == start.c["_parent"]))
        .group_by(parent)
    )


_ROLES = 3  # the last, the deepest and the highest


def thinned(curve: FromClause, most: ColumnElement[int]) -> FromClause:
    """`curve`, if it has no more than `most` points; else these three of each of `most` / 3 windows.

    With room for less than three, there is one window, of which the last point stays, and the deepest. A kept
    point takes up what was left out before it, so that results still add up, and drawdowns are as deep.
    """
    points = _in_windows(curve, func.greatest(most // _ROLES, 1))
    parent, time, column = points.c["_parent"], points.c.time, points.c
    kept = or_(
        column.total <= most,
        column.from_last == 1,
        and_(column.from_deepest == 1, most >= 2),
        and_(column.from_highest == 1, most >= _ROLES),
    )
    # Counted from the end, each kept point begins a group that reaches back to the one before it.
    group = func.sum(cast(kept, Integer)).over(partition_by=parent, order_by=time.desc())
    grouped = select(*column, kept.label("kept"), group.label("group")).subquery("grouped").c
    return (
        select(
            grouped["_parent"],
            func.max(grouped.time).label("time"),
            func.sum(grouped.net_pnl).label("net_pnl"),
            func.max(grouped.cumulative_pnl).filter(grouped.kept).label("cumulative_pnl"),
            func.max(grouped.drawdown).label("drawdown"),
            cast(func.sum(grouped.trades_count), BigInteger).label("trades_count"),
        )
        .group_by(grouped["_parent"], grouped.group)
        .subquery("thinned")
    )


def _in_windows(curve: FromClause, windows: ColumnElement[int]) -> FromClause:
    """Each point with the `total` of them, and with its places in its window: one for each role."""
    parent, time = curve.c["_parent"], curve.c.time
    total = func.count().over(partition_by=parent).label("total")
    window = func.ntile(windows).over(partition_by=parent, order_by=time).label("window")
    points = select(*curve.c, total, window).subquery("in_windows")

    def place(*order: ColumnElement[Any]) -> ColumnElement[int]:
        return func.row_number().over(partition_by=(points.c["_parent"], points.c.window), order_by=order)

    return select(
        *points.c,
        place(points.c.time.desc()).label("from_last"),
        place(points.c.drawdown.desc(), points.c.time).label("from_deepest"),
        place(points.c.cumulative_pnl.desc(), points.c.time).label("from_highest"),
    ).subquery("placed")


MAX_POINTS = 2000


@dataclass(frozen=True, slots=True)
class Drawing:
    """A curve to draw. Raises BadInputError for an unknown zone or a number of points out of range."""

    trades: TradeSet
    interval: str
    timezone: str
    max_points: int

    def __post_init__(self) -> None:
        if self.timezone not in _timezones():
            raise _unknown_timezone()
        if not 1 <= self.max_points <= MAX_POINTS:
            raise BadInputError("maxPoints", f"must be between 1 and {MAX_POINTS}")


async def curve(db: ViewerDatabase, keys: Sequence[str], drawing: Drawing) -> Mapping[str, list[Row]]:
    """Each parent's curve: rows named as the fields of EquityPoint, the earliest first."""
    try:
        return await read_lists(
            db,
            _curve,
            keys,
            drawing.trades,
            interval=drawing.interval,
            timezone=drawing.timezone,
            max_points=drawing.max_points,
        )
    except asyncpg.InvalidParameterValueError:  # a zone that we know, and this PostgreSQL doesn't
        raise _unknown_timezone() from None


@lru_cache
def _timezones() -> frozenset[str]:
    return frozenset({"UTC"} | available_timezones())


def _unknown_timezone() -> BadInputError:
    return BadInputError("timezone", "must be a time zone's name, such as UTC or Europe/Berlin")


def _curve(trades: FromClause) -> Select[Any]:
    counted = results(trades)
    line, start = running(counted), starts(counted)
    points = thinned(_buckets(line), bindparam("max_points", type_=Integer))
    parent = points.c["_parent"]
    return (
        select(*points.c, (start.c.balance + points.c.cumulative_pnl).label("equity"))
        .select_from(points.join(start, parent == start.c["_parent"]))
        .order_by(parent, points.c.time)
    )


def _buckets(line: FromClause) -> FromClause:
    parent = line.c["_parent"]
    interval, timezone = bindparam("interval", type_=Text), bindparam("timezone", type_=Text)
    time = func.date_trunc(interval, line.c.moment, timezone, type_=line.c.moment.type).label("time")
    buckets = (
        select(
            parent,
            time,
            func.sum(line.c.pnl).label("net_pnl"),
            func.max(line.c.drawdown).label("drawdown"),
            func.count().label("trades_count"),
        )
        .group_by(parent, time)
        .subquery("buckets")
    )
    cumulative = func.sum(buckets.c.net_pnl).over(partition_by=buckets.c["_parent"], order_by=buckets.c.time)
    return select(*buckets.c, cumulative.label("cumulative_pnl")).subquery("drawn")
