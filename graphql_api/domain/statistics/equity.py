"""Equity: the running sum of results, its drawdown, and the curve of both over time.

A result is the pnl of a closed trade. Everything here takes results in one order: by the time at which they
count (TRADE_COUNTS_AT), and results of the same time by the trade's id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Select,
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
from graphql_api.domain.statistics.trade_set import (
    Aggregation,
    TradeSet,
    aggregate,
    aggregate_lists,
    is_status,
)
from graphql_api.domain.time_buckets import Interval, group_by_bucket, zone_parameters
from graphql_api.postgres import tables
from graphql_api.relational.context import Row, ViewerDatabase
from graphql_api.relational.errors import BadInputError
from graphql_api.time_zones import time_zone_names

MAX_POINTS = 2000

_NO_DRAWDOWN = {"max_drawdown": "0.00000000", "max_drawdown_pct": None}
_SO_FAR = (None, 0)


async def drawdown(db: ViewerDatabase, keys: Sequence[str], trades: TradeSet) -> Mapping[str, Row]:
    """Returns one row for each parent: `max_drawdown`, and `max_drawdown_pct` or null."""
    rows = await aggregate(db, _drawdown, keys, trades)
    return dict.fromkeys(keys, _NO_DRAWDOWN) | {row["_parent"]: row for row in rows}


@dataclass(frozen=True, slots=True)
class CurveRequest:
    """A curve of some trades. Raises BadInputError: an unknown zone, a number of points out of range."""

    trades: TradeSet
    interval: Interval
    timezone: str
    max_points: int

    def __post_init__(self) -> None:
        if self.timezone not in time_zone_names():
            raise BadInputError("timezone", "must be a time zone's name, such as UTC or Europe/Berlin")
        if not 1 <= self.max_points <= MAX_POINTS:
            raise BadInputError("maxPoints", f"must be between 1 and {MAX_POINTS}")


async def equity_curve(
    db: ViewerDatabase, keys: Sequence[str], request: CurveRequest
) -> Mapping[str, list[Row]]:
    """Returns each parent's curve: rows named as the fields of EquityPoint, the earliest first."""
    return await aggregate_lists(
        db,
        _curve_by(request.interval),
        keys,
        request.trades,
        max_points=request.max_points,
        **zone_parameters(request.timezone),
    )


def _running_sums(trades: FromClause) -> CTE:
    """Returns each result with the `peak` of the running sum, which begins at 0, and the `drawdown` below it.

    `place` numbers a parent's results from 1. It is a CTE, so that a statement that reads it several times
    computes it once.
    """
    columns = (trades.c[name] for name in ("_parent", "id", "session_id", "moment", "pnl"))
    has_result = and_(is_status(trades.c.status, "CLOSED"), trades.c.pnl.is_not(None))
    results = select(*columns).where(has_result).subquery("results")

    def so_far(aggregate: Any, rows: FromClause) -> Any:
        order = (rows.c.moment, rows.c.id)
        return aggregate.over(partition_by=rows.c["_parent"], order_by=order, rows=_SO_FAR)

    sums = select(
        *results.c,
        so_far(func.row_number(), results).label("place"),
        so_far(func.sum(results.c.pnl), results).label("cumulative"),
    ).subquery("sums")
    highest = so_far(func.max(sums.c.cumulative), sums)
    peaks = select(*sums.c, func.greatest(highest, ZERO).label("peak")).subquery("peaks")
    return select(*peaks.c, (peaks.c.peak - peaks.c.cumulative).label("drawdown")).cte("running")


def _starting_balances(running: CTE) -> CTE:
    """Returns the `balance` that each parent's results start from; null if it is unknown.

    That is, of each account, the initial balance of the session of its first result, added up. If one of them
    is missing, NaN, 0 or negative, the sum is unknown.
    """
    parent = running.c["_parent"]
    by_session = (
        select(parent, running.c.session_id, func.min(running.c.place).label("first"))
        .group_by(parent, running.c.session_id)
        .subquery("by_session")
    )
    # Looked up one by one: PostgreSQL estimates too many, and would read all tenants' sessions to join them.
    sessions = tables.sessions.c
    session = (
        select(sessions.id, sessions.account_id, tables.finite(sessions.initial_balance).label("balance"))
        .where(sessions.id == by_session.c.session_id)
        .limit(literal_column("1", Integer))
        .lateral("session")
    )
    account = func.coalesce(session.c.account_id, session.c.id)  # a session without an account counts as one
    firsts = (
        select(by_session.c["_parent"], session.c.balance)
        .select_from(by_session.outerjoin(session, true()))
        .ext(distinct_on(by_session.c["_parent"], account))
        .order_by(by_session.c["_parent"], account, by_session.c.first)
        .subquery("firsts")
    )
    known = func.bool_and(func.coalesce(firsts.c.balance > 0, false()))
    balance = case((known, func.sum(firsts.c.balance))).label("balance")
    starts = select(firsts.c["_parent"], balance).group_by(firsts.c["_parent"]).cte("starts")
    return starts.prefix_with("MATERIALIZED")  # otherwise PostgreSQL would compute it again for each result


def _drawdown(trades: FromClause) -> Select[Any]:
    running = _running_sums(trades)
    start = _starting_balances(running)
    parent, below_peak = running.c["_parent"], running.c.drawdown
    percent = quotient(below_peak * literal_column("100"), start.c.balance + running.c.peak)
    return (
        select(
            parent,
            func.max(below_peak).label("max_drawdown"),
            func.max(percent).label("max_drawdown_pct"),
        )
        .select_from(running.join(start, parent == start.c["_parent"]))
        .group_by(parent)
    )


@lru_cache(maxsize=len(Interval))
def _curve_by(interval: Interval) -> Aggregation:
    def curve(trades: FromClause) -> Select[Any]:
        running = _running_sums(trades)
        start = _starting_balances(running)
        points = _thinned(_points(running, interval), bindparam("max_points", type_=Integer))
        parent = points.c["_parent"]
        return (
            select(*points.c, (start.c.balance + points.c.cumulative_pnl).label("equity"))
            .select_from(points.join(start, parent == start.c["_parent"]))
            .order_by(parent, points.c.time)
        )

    return curve


def _points(running: CTE, interval: Interval) -> FromClause:
    """Returns the points of the whole curve: one for each bucket that has a result."""
    sums = select(
        running.c["_parent"],
        func.sum(running.c.pnl).label("net_pnl"),
        func.max(running.c.drawdown).label("drawdown"),
        func.count().label("trades_count"),
    ).group_by(running.c["_parent"])
    buckets = group_by_bucket(sums, interval, running.c.moment)
    cumulative = func.sum(buckets.c.net_pnl).over(partition_by=buckets.c["_parent"], order_by=buckets.c.time)
    return select(*buckets.c, cumulative.label("cumulative_pnl")).subquery("points")


_ROLES = 3  # the points kept of a window: the last one, the deepest drawdown and the highest sum


def _thinned(points: FromClause, most: ColumnElement[int]) -> FromClause:
    """Returns `points`, if they are at most `most`; else three points (_ROLES) of each of `most / 3` windows.

    If `most` is less than three, there is one window, of which the last point and, for 2, the deepest are
    kept. A kept point includes the results and drawdowns of the points left out before it, so that results
    still add up, and drawdowns are as deep.
    """
    placed = _placed_in_windows(points, func.greatest(most // _ROLES, 1)).c
    kept = or_(
        placed.total <= most,
        placed.from_last == 1,
        and_(placed.from_deepest == 1, most >= 2),
        and_(placed.from_highest == 1, most >= _ROLES),
    )
    # Counted from the end, each kept point begins a group that extends back to the kept point before it.
    group = func.sum(cast(kept, Integer)).over(partition_by=placed["_parent"], order_by=placed.time.desc())
    grouped = select(*placed, kept.label("kept"), group.label("group")).subquery("grouped").c
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


def _placed_in_windows(points: FromClause, windows: ColumnElement[int]) -> FromClause:
    """Returns each point with the `total` of its parent's points, and its rank in its window by role."""
    parent, time = points.c["_parent"], points.c.time
    total = func.count().over(partition_by=parent).label("total")
    window = func.ntile(windows).over(partition_by=parent, order_by=time).label("window")
    windowed = select(*points.c, total, window).subquery("windowed")

    def place(*order: ColumnElement[Any]) -> ColumnElement[int]:
        return func.row_number().over(partition_by=(windowed.c["_parent"], windowed.c.window), order_by=order)

    return select(
        *windowed.c,
        place(windowed.c.time.desc()).label("from_last"),
        place(windowed.c.drawdown.desc(), windowed.c.time).label("from_deepest"),
        place(windowed.c.cumulative_pnl.desc(), windowed.c.time).label("from_highest"),
    ).subquery("placed")
