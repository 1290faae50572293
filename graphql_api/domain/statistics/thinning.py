"""Fewer points for a curve, without losing what it is looked at for."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, FromClause, Integer, and_, cast, func, or_, select

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
