"""The equity curve: results by hour, day, week or month of a time zone, in as many points as asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zoneinfo import available_timezones

import asyncpg
from sqlalchemy import FromClause, Integer, Select, Text, bindparam, func, select

from graphql_api.domain.statistics.equity import results, running, starts
from graphql_api.domain.statistics.thinning import thinned
from graphql_api.domain.statistics.trade_set import TradeSet, read_lists
from graphql_api.relational.context import Reader, Row
from graphql_api.relational.errors import BadInputError

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


async def curve(db: Reader, keys: Sequence[str], drawing: Drawing) -> Mapping[str, list[Row]]:
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
